"""`engine=vllm`: offline vLLM, in this process; `engines.start` puts it into a child, whose end gives the memory back.

Prompts go in as token ids, so that what was audited is what runs. Texts, stops and limits are those of `Tokens`, as for
`engine=transformers`. On a CPU vLLM is a build of its own: `make setup-vllm`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from cai_bootstrap.config import VllmConfig
from cai_bootstrap.engines.engine import STOP_ASKED_EVERY, Generation, GenerationRequest, OnDone, place_of_stop
from cai_bootstrap.engines.tokens import Tokens, eos_token_ids
from cai_bootstrap.records import FinishReason

_CPU_BATCHED_TOKENS = 2048
"""Prompt tokens in one step, where the context is not longer."""
_MAX_SEED = 2**63 - 1
_QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    # In this very process, which is a child already: it dies with its parent, and nothing polls while another works.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}


@dataclass
class _Row:
    """A request on its way. Leading white space may take it several rounds: a stop in it is none."""

    index: int
    request: GenerationRequest
    prompt: list[int]
    tokens: list[int] = field(default_factory=list)
    """Of the rounds that ended."""
    logprob: float = 0.0


class VllmEngine:
    """A model that vLLM runs."""

    def __init__(
        self,
        folder: Path,
        *,
        device: str,
        dtype: str,
        batch_size: int,
        threads: int,
        own: VllmConfig,
    ) -> None:
        on_cpu = device == "cpu"
        # Read when vLLM is imported. It takes one thread where OMP_NUM_THREADS does not say otherwise.
        os.environ |= _QUIET
        if on_cpu:
            os.environ |= {
                "OMP_NUM_THREADS": str(threads or 1),
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                "VLLM_CPU_KVCACHE_SPACE": str(max(1, round(own.kv_cache_gib))),
            }
        import vllm

        from cai_bootstrap.engines.forced import Forced
        from cai_bootstrap.engines.nucleus import Nucleus

        config = transformers.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        longest = int(config.get_text_config().max_position_embeddings)
        self.tokens = Tokens(folder, min(longest, own.context or longest))
        generation = folder / "generation_config.json"
        configured = transformers.GenerationConfig.from_pretrained(str(folder)).eos_token_id if generation.exists() else None
        self._eos_ids = eos_token_ids(configured, self.tokens.tokenizer)
        self._version, self._dtype, self._device, self._batch_size = vllm.__version__, dtype, device, batch_size
        self._quantization = own.quantization
        self._llm = vllm.LLM(
            model=str(folder),
            dtype=dtype,
            quantization=None if own.quantization == "none" else own.quantization,
            max_model_len=self.tokens.context,
            max_num_seqs=batch_size,
            enable_prefix_caching=True,
            disable_log_stats=True,
            trust_remote_code=False,
            logits_processors=[Forced, Nucleus],
            seed=0,
            **(
                {
                    # Compiling takes minutes on a CPU, which a stage does not last long enough for.
                    "enforce_eager": True,
                    # A prompt in parts rewinds its request's generator, which a CPU's cannot: each one whole.
                    "enable_chunked_prefill": False,
                    "max_num_batched_tokens": max(self.tokens.context, _CPU_BATCHED_TOKENS),
                }
                if on_cpu
                else {"gpu_memory_utilization": own.memory_share}
            ),
        )
        # What it settled on: vLLM leaves it out for some models, whatever it is asked for.
        self._prefix_caching = bool(self._llm.llm_engine.vllm_config.cache_config.enable_prefix_caching)
        self._num_requests = 0

    @property
    def description(self) -> dict[str, str | int | float]:
        """What ran, for the manifest."""
        return {
            "engine": "vllm",
            "vllm": self._version,
            "dtype": self._dtype,
            "quantization": self._quantization,
            "prefix_caching": self._prefix_caching,
            "device": self._device,
            "batch_size": self._batch_size,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "cpu": torch.backends.cpu.get_cpu_capability(),
        }

    def encode(self, text: str) -> list[int]:
        """See `Tokens`."""
        return self.tokens.encode(text)

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        """Continue each prompt; see the protocol."""
        rows = [_Row(i, r, p) for i, (r, p) in enumerate(zip(requests, self.tokens.prompts(requests), strict=True))]
        results: dict[int, Generation] = {}
        going = {self._add(row): row for row in rows}
        engine = self._llm.llm_engine
        try:
            while going:
                for output in engine.step():
                    row = going.get(output.request_id)
                    if row is None:  # its rest was not wanted
                        continue
                    found = self._ended(row, output)
                    if found is None and not output.finished:
                        continue
                    del going[output.request_id]
                    if found is None:  # all white space so far
                        going[self._add(row)] = row
                        continue
                    if not output.finished:
                        engine.abort_request([output.request_id])
                    results[row.index] = found
                    if on_done is not None:
                        on_done(len(results))
        finally:
            if going:
                engine.abort_request(list(going))
        return [results[i] for i in range(len(requests))]

    def choice_logprobs(
        self, prompts: Sequence[str], choices: Sequence[str], on_done: OnDone | None = None
    ) -> list[tuple[float, ...]]:
        """Log-probability of each choice's first token after each prompt: one step, its prefix from the cache."""
        firsts = self.tokens.choices(choices)
        sequences = [self.tokens.prompt(prompt) for prompt in prompts]
        for ids, prompt in zip(sequences, prompts, strict=True):
            self.tokens.require_fit(len(ids) + 1, prompt)
        found = self._run([(ids, {"max_tokens": 1, "logprob_token_ids": firsts}) for ids in sequences], on_done)
        return [tuple(output.outputs[0].logprobs[0][token].logprob for token in firsts) for output in found]

    def completion_logprobs(self, pairs: Sequence[tuple[str, str]], on_done: OnDone | None = None) -> list[tuple[float, int]]:
        """Sum of the completion tokens' log-probabilities after the prompt, and their number: a step each, see `forced`."""
        from cai_bootstrap.engines.forced import TOKENS

        prompts = [self.tokens.prompt(prompt) for prompt, _ in pairs]
        completions = [self.tokens.encode_continuation(text) for _, text in pairs]
        for ids, own, (prompt, _) in zip(prompts, completions, pairs, strict=True):
            self.tokens.require_fit(len(ids) + len(own), prompt)
        asked = [
            (ids, {"max_tokens": len(own), "extra_args": {TOKENS: own}, "logprobs": 0, "ignore_eos": True})
            for ids, own in zip(prompts, completions, strict=True)
            if own
        ]
        found = iter(self._run(asked, on_done))
        return [(float(next(found).outputs[0].cumulative_logprob), len(own)) if own else (0.0, 0) for own in completions]

    def close(self) -> None:
        """Drop the model."""
        del self._llm

    def _add(self, row: _Row) -> str:
        """Send a request's next round on its way; returns its id."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        from cai_bootstrap.engines.nucleus import TOP_K_TOP_P

        request = row.request
        asked = request.stop_when is not None
        drawn: dict[str, Any] = {"top_k": request.top_k, "top_p": request.top_p}
        if self._device == "cpu":  # see `nucleus`; on a GPU vLLM has kernels for it
            drawn = {"extra_args": {TOP_K_TOP_P: (request.top_k, request.top_p)}} if request.temperature else {}
        settings = SamplingParams(
            temperature=request.temperature,
            **drawn,
            seed=(request.seed + len(row.tokens)) % _MAX_SEED,
            max_tokens=request.max_tokens - len(row.tokens),
            stop=list(request.stop) or None,
            stop_token_ids=sorted(self._eos_ids),
            skip_special_tokens=False,
            spaces_between_special_tokens=False,
            logprobs=0,
            output_kind=RequestOutputKind.CUMULATIVE if asked else RequestOutputKind.FINAL_ONLY,
            stream_interval=STOP_ASKED_EVERY if asked else None,
        )
        return self._send(row.prompt + row.tokens, settings)

    def _send(self, ids: list[int], settings: Any) -> str:
        self._num_requests += 1
        id_ = str(self._num_requests)
        self._llm.llm_engine.add_request(id_, {"prompt_token_ids": ids}, settings)  # what it returns is its inner id
        return id_

    def _ended(self, row: _Row, output: Any) -> Generation | None:
        """What a row came to; None when it goes on, for which `row` then knows what it has."""
        written = output.outputs[0]
        tokens = [*row.tokens, *written.token_ids]
        logprob = row.logprob + float(written.cumulative_logprob)
        finish: FinishReason
        if not output.finished:
            text, stop_when = self.tokens.decode(tokens), row.request.stop_when
            if stop_when is None or not stop_when(text):
                return None
            finish = "stop"
        elif written.finish_reason == "length":
            text, finish = self.tokens.decode(tokens), "length"
        elif tokens and tokens[-1] in self._eos_ids and not isinstance(written.stop_reason, str):
            text, finish = self.tokens.decode(tokens[:-1]), "eos"
        else:
            text, finish = self.tokens.decode(tokens), "stop"
            at = place_of_stop(text, row.request.stop)
            if at is None and len(tokens) < row.request.max_tokens:
                row.tokens, row.logprob = tokens, logprob
                return None
            text, finish = (text, "length") if at is None else (text[:at], "stop")
        return Generation(text=text, token_ids=tuple(tokens), finish=finish, logprob=logprob, num_prompt_tokens=len(row.prompt))

    def _run(self, asked: Sequence[tuple[list[int], dict[str, Any]]], on_done: OnDone | None) -> list[Any]:
        """vLLM's outputs for (prompt, settings), in order."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        found: dict[int, Any] = {}
        common: dict[str, Any] = {"temperature": 0.0, "detokenize": False, "output_kind": RequestOutputKind.FINAL_ONLY}
        going = {self._send(ids, SamplingParams(**common, **own)): index for index, (ids, own) in enumerate(asked)}
        while len(found) < len(asked):
            for output in self._llm.llm_engine.step():
                found[going[output.request_id]] = output
                if on_done is not None:
                    on_done(len(found))
        return [found[index] for index in range(len(asked))]
