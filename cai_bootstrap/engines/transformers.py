"""`engine=transformers`: a safetensors model loaded by transformers, with this package's own decoding loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from cai_bootstrap.engines import attention
from cai_bootstrap.engines.decoding import Decoder, forward_prefix, pad, shared_prefix_length
from cai_bootstrap.engines.engine import Generation, GenerationRequest, OnDone
from cai_bootstrap.engines.head import OutputLayer, unsupported_scales
from cai_bootstrap.engines.packed import pack_layers
from cai_bootstrap.engines.tokens import Tokens, eos_token_ids
from cai_bootstrap.errors import UserError

_SCORE_TOKENS = 1024
"""Tokens scored in one forward pass: activations stay in the cache, which is a fifth faster than with 4,096."""


def load_model(folder: Path, *, device: str, dtype: str, attention_name: str) -> PreTrainedModel:
    """The model in `folder` in evaluation mode; safetensors only, no remote code."""
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a child must not draw on the terminal
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        str(folder),
        dtype=getattr(torch, dtype),
        attn_implementation=attention_name,
        use_safetensors=True,
        trust_remote_code=False,
        # Straight to a GPU: a large model need not fit the main memory as well.
        **({} if device == "cpu" else {"device_map": {"": device}}),
    )
    model.train(False)
    return model


_HEAD_ROWS = 128
"""Rows in one pass over the vocabulary: the product is at full speed, and a tile still fits the cache."""


class TransformersEngine:
    """A model in this process. Use `engines.start` to get one in a child."""

    TOKENS: type[Tokens] = Tokens

    def __init__(self, folder: Path, *, device: str, dtype: str, batch_size: int, threads: int) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.model = load_model(folder, device=device, dtype=dtype, attention_name=attention.NAME)
        config = self.model.config.get_text_config()
        scaled = unsupported_scales(config)
        if scaled:
            raise UserError(
                f"model type {config.model_type!r} scales its logits ({', '.join(scaled)}), which engine=transformers "
                "does not apply: use a model without it, such as model=gemma-3-270m"
            )
        self.batch_size = batch_size
        self.tokens = self.TOKENS(folder, int(config.max_position_embeddings))
        self.model.requires_grad_(False)
        self.head = OutputLayer(self.model)
        output_embeddings = self.model.get_output_embeddings()  # type: ignore[no-untyped-call]
        self.num_packed = pack_layers(self.model, output_embeddings, differentiable=False) + self.head.is_packed
        ends = eos_token_ids(getattr(self.model.generation_config, "eos_token_id", None), self.tokens.tokenizer)
        self.decoder = Decoder(self.model, self.head, self.tokens, ends)
        self.dtype = dtype

    @property
    def description(self) -> dict[str, str | int | float]:
        """What ran, for the manifest."""
        return {
            "engine": "transformers",
            "dtype": self.dtype,
            "device": str(self.model.device),
            "batch_size": self.batch_size,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "num_packed_layers": self.num_packed,
            "num_head_passes": self.head.num_passes,
        }

    def encode(self, text: str) -> list[int]:
        """See `Tokens`."""
        return self.tokens.encode(text)

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        """Continue each prompt; see the protocol."""
        return self.decoder.run(self.tokens.prompts(requests), requests, self.batch_size, on_done)

    @torch.inference_mode()
    def choice_logprobs(
        self, prompts: Sequence[str], choices: Sequence[str], on_done: OnDone | None = None
    ) -> list[tuple[float, ...]]:
        """Log-probability of each choice's first token after each prompt."""
        wanted = torch.tensor(self.tokens.choices(choices), device=self.model.device)
        results: dict[int, tuple[float, ...]] = {}
        sequences = [self.tokens.prompt(prompt) for prompt in prompts]
        for ids, prompt in zip(sequences, prompts, strict=True):
            self.tokens.require_fit(len(ids), prompt)
        for indices, hidden, lengths in self._forward(sequences, on_done):
            last = hidden[torch.arange(len(indices), device=hidden.device), lengths - 1]
            logprobs = self.head.token_logprobs(last, wanted.expand(len(last), -1))
            for index, row in zip(indices, logprobs.tolist(), strict=True):
                results[index] = tuple(row)
        return [results[i] for i in range(len(prompts))]

    @torch.inference_mode()
    def completion_logprobs(self, pairs: Sequence[tuple[str, str]], on_done: OnDone | None = None) -> list[tuple[float, int]]:
        """Sum of the completion tokens' log-probabilities after the prompt, and their number."""
        completions = [self.tokens.encode_continuation(completion) for _, completion in pairs]
        prompts = [self.tokens.prompt(prompt) for prompt, _ in pairs]
        full = [p + c for p, c in zip(prompts, completions, strict=True)]
        for sequence, (prompt, _) in zip(full, pairs, strict=True):
            self.tokens.require_fit(len(sequence), prompt)
        # The hidden state that predicts a completion's first token must be among the row's own.
        limit = min((len(p) for p in prompts), default=1) - 1
        results: dict[int, tuple[float, int]] = {}
        for indices, hidden, lengths in self._forward(full, on_done, limit):
            own = [completions[index] for index in indices]
            states = torch.cat([row[end - len(ids) - 1 : end - 1] for row, end, ids in zip(hidden, lengths, own, strict=True)])
            labels = torch.tensor([i for ids in own for i in ids], dtype=torch.long, device=states.device)
            # All rows of the batch in one pass over the vocabulary, in parts that bound its memory.
            picked = torch.cat(
                [
                    self.head.token_logprobs(states[at : at + _HEAD_ROWS], labels[at : at + _HEAD_ROWS, None])[:, 0]
                    for at in range(0, len(states), _HEAD_ROWS)
                ]
                or [states.new_zeros(0)]
            )
            for index, part in zip(indices, torch.split(picked, [len(ids) for ids in own]), strict=True):
                results[index] = (float(part.sum()), len(part))
        return [results[i] for i in range(len(pairs))]

    def close(self) -> None:
        """Drop the model."""
        del self.model, self.head, self.decoder

    def _forward(
        self, sequences: list[list[int]], on_done: OnDone | None, prefix_limit: int | None = None
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Yield (indices, last hidden states (rows, width, hidden), own lengths) in batches of like length."""
        if not sequences:
            return
        prefix = shared_prefix_length(sequences)
        prefix = prefix if prefix_limit is None else min(prefix, prefix_limit)
        cache = forward_prefix(self.model, sequences[0][:prefix], self.decoder.num_layers)
        order = sorted(range(len(sequences)), key=lambda i: (-len(sequences[i]), i))
        device, done = self.model.device, 0
        while order:
            width = len(sequences[order[0]]) - prefix
            count = max(1, min(_SCORE_TOKENS // width, len(order)))
            indices, order = order[:count], order[count:]
            rows = [sequences[i][prefix:] for i in indices]
            cache.reserve(count, width)
            slots = torch.arange(count, device=device)
            ids = pad(rows, 0, device)
            positions = cache.begin(slots, torch.zeros_like(slots), width)
            output = self.model.base_model(input_ids=ids, position_ids=positions, use_cache=False, slot_cache=cache)
            yield indices, output.last_hidden_state, torch.tensor([len(r) for r in rows], device=device)
            done += count
            if on_done is not None:
                on_done(done)
