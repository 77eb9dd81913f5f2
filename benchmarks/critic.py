"""Verdicts of the critic in both orders: one prefix-shared batch against one `generate` call for each verdict batch.

    python -m benchmarks.critic [--model DIR] [--verdicts 64] [--runs 5]

A verdict is two prompts (A against B, B against A) and the next-token log-probabilities of « A» and « B». The peer asks
`generate` for one token with scores, at its best batch size. Both must give the same margins.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import limits, pairing
from benchmarks.peers.transformers_generate import Generator

DATA = Path(__file__).resolve().parent / "data" / "pairs.jsonl"
BATCHES = (16, 32)


def prompts_of(num_verdicts: int) -> list[str]:
    """Both orders of real pairs, each under a principle of the constitution."""
    from cai_bootstrap import constitution, templates

    principles = [text for _, text in constitution.load().in_order()]
    rows = [json.loads(line) for line in DATA.read_text().splitlines()]
    prompts = []
    for number in range(num_verdicts):
        row = rows[number % len(rows)]
        answers = row["chosen"].strip(), row["rejected"].strip().split("\n")[0]
        for first, second in (answers, answers[::-1]):
            prompts.append(templates.critic(principles[number % len(principles)], row["instruction"], first, second))
    return prompts


def main() -> None:
    """Measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, default=None, help="a model folder (default: the embedded base model)")
    parser.add_argument("--verdicts", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    from cai_bootstrap import templates
    from cai_bootstrap.engines.measure import usable_cores
    from cai_bootstrap.engines.transformers import TransformersEngine

    model, threads = options.model or limits.base_model(), usable_cores()
    prompts = prompts_of(options.verdicts)
    engine = TransformersEngine(model, device="cpu", dtype="float32", batch_size=64, threads=threads)
    peer = Generator(model, threads)
    wanted = [engine.tokens.encode_continuation(choice)[0] for choice in templates.CHOICES]
    margins: dict[str, list[float]] = {}

    def ours() -> float:
        begin = time.perf_counter()
        scores = engine.choice_logprobs(prompts, templates.CHOICES)
        margins["cai_bootstrap"] = [a - b for a, b in scores]
        return int(options.verdicts) / (time.perf_counter() - begin)

    def theirs(batch_size: int) -> float:
        begin, found = time.perf_counter(), []
        for at in range(0, len(prompts), batch_size):
            batch = peer.tokenizer(prompts[at : at + batch_size], return_tensors="pt", padding=True)
            given: Any = peer.model.generate(
                **batch, max_new_tokens=1, do_sample=False, output_scores=True, return_dict_in_generate=True
            )
            logprobs = torch.log_softmax(given.scores[0], dim=-1)[:, wanted]
            found += (logprobs[:, 0] - logprobs[:, 1]).tolist()
        margins["generate"] = found
        return int(options.verdicts) / (time.perf_counter() - begin)

    trials = {size: theirs(size) for size in BATCHES}
    best = max(trials, key=lambda size: trials[size])
    rates = pairing.alternate({"cai_bootstrap": ours, "generate": lambda: theirs(best)}, options.runs)
    difference = max(abs(one - other) for one, other in zip(margins["cai_bootstrap"], margins["generate"], strict=True))
    pairing.save(
        "critic",
        {
            "unit": "verdicts/s",
            "num_verdicts": options.verdicts,
            "num_runs": options.runs,
            "peer_rate_by_batch": trials,
            "peer_batch": best,
            "rates": pairing.summary(rates),
            "ratio": pairing.ratio(rates, "cai_bootstrap", "generate"),
            "largest_margin_difference": difference,
        },
    )


if __name__ == "__main__":
    main()
