"""Few-shot answers in fp32: this package's decoding loop against `transformers.generate` at its best batch size.

    python -m benchmarks.generation [--model DIR] [--prompts 128] [--runs 5]

The prompts are those of stage 1: sixteen committed shots, then an instruction that the base model wrote. Rates are finished
responses per second, prefill included. Both must give the same texts.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks import limits, pairing
from benchmarks.peers.transformers_generate import Generator

DATA = Path(__file__).resolve().parent / "data" / "instructions.jsonl"
BATCHES = (16, 32, 64)
MAX_TOKENS = 32


def main() -> None:
    """Measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, default=None, help="a model folder (default: the embedded base model)")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--runs", type=int, default=5)
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
    texts: dict[str, Any] = {}

    def ours() -> float:
        begin = time.perf_counter()
        requests = [
            GenerationRequest(prompt=prompt, max_tokens=MAX_TOKENS, stop=templates.RESPONSE_STOPS) for prompt in prompts
        ]
        texts["cai_bootstrap"] = [found.text for found in engine.generate(requests)]
        return len(prompts) / (time.perf_counter() - begin)

    def theirs(batch_size: int) -> float:
        texts["generate"], seconds = peer.run(prompts, MAX_TOKENS, stop, batch_size)
        return len(prompts) / seconds

    trials = {size: theirs(size) for size in BATCHES}
    best = max(trials, key=lambda size: trials[size])
    rates = pairing.alternate({"cai_bootstrap": ours, "generate": lambda: theirs(best)}, options.runs)
    same = sum(one == other for one, other in zip(texts["cai_bootstrap"], texts["generate"], strict=True))
    pairing.save(
        "generation",
        {
            "unit": "responses/s",
            "num_prompts": len(prompts),
            "num_runs": options.runs,
            "peer_rate_by_batch": trials,
            "peer_batch": best,
            "rates": pairing.summary(rates),
            "ratio": pairing.ratio(rates, "cai_bootstrap", "generate"),
            "same_texts": same,
        },
    )


if __name__ == "__main__":
    main()
