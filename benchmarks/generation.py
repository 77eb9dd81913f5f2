"""Few-shot answers in fp32: this package's decoding loop against `transformers.generate` and vLLM at their best batch size.

    python -m benchmarks.generation [--model DIR] [--prompts 128] [--runs 5] [--peers .venv-peers]

The prompts are those of stage 1: sixteen committed shots, then an instruction that the base model wrote. Rates are finished
responses per second, prefill included. All must give the same texts. `generate` takes its batches one after the other, so its
rate is taken on every fourth prompt of the list in order of length. Without the peers' environment vLLM is left out, and
the result says so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from pathlib import Path

from benchmarks import limits, pairing
from benchmarks.peers.transformers_generate import Generator
from benchmarks.peers.vllm_client import VllmProcess

DATA = Path(__file__).resolve().parent / "data" / "instructions.jsonl"
BATCHES = (8, 16, 32)
VLLM_BATCHES = (32, 64)
"""Each one is a process of its own, and loads for a minute."""
MAX_TOKENS = 32


def main() -> None:
    """Measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, default=None, help="a model folder (default: the embedded base model)")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"), help="the environment that peers/setup.sh made")
    options = parser.parse_args()
    from cai_bootstrap import templates
    from cai_bootstrap.engines.engine import GenerationRequest
    from cai_bootstrap.engines.measure import measure, usable_cores
    from cai_bootstrap.engines.transformers import TransformersEngine
    from cai_bootstrap.stages.stage import load_seeds

    model, threads = options.model or limits.base_model(), usable_cores()
    shots = [(question, answer) for question, answer in load_seeds("explicit", None)["shots"]["a"]]
    instructions = [json.loads(line)["instruction"] for line in DATA.read_text().splitlines()][: options.prompts]
    prompts, stop = [templates.few_shot(shots, text) for text in instructions], list(templates.RESPONSE_STOPS)
    engine = TransformersEngine(
        model, device="cpu", dtype="float32", batch_size=int(measure("cpu")["batch_size"]), threads=threads
    )
    peer = Generator(model, threads)
    texts: dict[str, dict[str, str]] = {}

    def ours() -> float:
        begin = time.perf_counter()
        requests = [
            GenerationRequest(prompt=prompt, max_tokens=MAX_TOKENS, stop=templates.RESPONSE_STOPS) for prompt in prompts
        ]
        answers = [found.text for found in engine.generate(requests)]
        texts["cai_bootstrap"] = dict(zip(prompts, answers, strict=True))
        return len(prompts) / (time.perf_counter() - begin)

    fourth = sorted(prompts, key=len)[::4]

    def theirs(batch_size: int) -> float:
        found, seconds = peer.run(fourth, MAX_TOKENS, stop, batch_size)
        texts["generate"] = dict(zip(fourth, found, strict=True))
        return len(fourth) / seconds

    trials = {"generate": {size: theirs(size) for size in BATCHES}}
    best = {"generate": max(BATCHES, key=lambda size: trials["generate"][size])}
    ways = {"cai_bootstrap": ours, "generate": lambda: theirs(best["generate"])}
    python = options.peers.absolute() / "bin" / "python"
    with contextlib.ExitStack() as stack:
        if python.exists():
            ids = [engine.encode(prompt) for prompt in prompts]

            def vllm(process: VllmProcess) -> float:
                found, seconds = process.run(ids, MAX_TOKENS, stop)
                texts["vllm"] = dict(zip(prompts, found, strict=True))
                return len(prompts) / seconds

            trials["vllm"] = {}
            for size in VLLM_BATCHES:
                with VllmProcess(python, model, threads, size) as process:
                    vllm(process)  # the first run warms up
                    trials["vllm"][size] = vllm(process)
            best["vllm"] = max(VLLM_BATCHES, key=lambda size: trials["vllm"][size])
            chosen = stack.enter_context(VllmProcess(python, model, threads, best["vllm"]))
            ways["vllm"] = lambda: vllm(chosen)
        rates = pairing.alternate(ways, options.runs)
    same = {
        name: f"{sum(text == texts['cai_bootstrap'][prompt] for prompt, text in found.items())} of {len(found)}"
        for name, found in texts.items()
    }
    pairing.save(
        "generation",
        {
            "unit": "responses/s",
            "num_prompts": len(prompts),
            "num_runs": options.runs,
            "peer_rate_by_batch": trials,
            "peer_batch": best,
            "rates": pairing.summary(rates),
            "ratio": {name: pairing.ratio(rates, "cai_bootstrap", name) for name in best},
            "same_texts": same,
            "left_out": [] if python.exists() else ["vllm"],
        },
    )


if __name__ == "__main__":
    main()
