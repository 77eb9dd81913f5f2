"""A LoRA DPO step: this package's trainer against TRL's own, tuned, on the same pairs, batches and settings.

    python -m benchmarks.training [--model DIR] [--pairs 48] [--runs 5]

Rates are pairs per second inside `train()`: loading and the reference pass are shown apart. The work that is needed at
least, in floating-point operations of a pair with p prompt, c chosen and r rejected tokens, LoRA on a frozen model with B
body and H output-layer weights: forward 2·B·(p+c+r) + 2·H·(c+r), backward to the inputs the same again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import isolated, limits, pairing
from benchmarks.peers import trl_dpo

DATA = Path(__file__).resolve().parent / "data" / "pairs.jsonl"


def ours(model: Path, rows: list[dict[str, Any]], config: dict[str, Any], threads: int) -> dict[str, Any]:
    """Seconds and losses of this package's trainer."""
    import time

    from cai_bootstrap.training.trainer import Training

    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        training = Training(
            model_folder=model, rows=rows, config=config, checkpoint_folder=Path(folder), seed=1, threads=threads,
            device="cpu", dtype="float32",
        )  # fmt: skip
        built = time.perf_counter()
        training.compute_prefix()
        computed = time.perf_counter()
        training.score_reference()
        scored = time.perf_counter()
        facts, losses = training.run()
    return {
        "build_s": built - begin,
        "prefix_s": computed - built,
        "reference_s": scored - computed,
        "train_s": facts["seconds"],
        "losses": [row["loss"] for row in losses],
    }


def needed_gflop(model: Path, rows: list[dict[str, Any]]) -> float:
    """Mean of the formula above over the pairs, in 1e9 operations, forward and backward."""
    from transformers import AutoTokenizer

    body, head = limits.weights(model)
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    total = 0.0
    for row in rows:
        prompt, chosen, rejected = (len(tokenizer(row[key]).input_ids) for key in ("prompt", "chosen", "rejected"))
        total += 2 * (2 * body * (prompt + chosen + rejected) + 2 * head * (chosen + rejected))
    return total / len(rows) / 1e9


def main() -> None:
    """Measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, default=None, help="a model folder (default: the embedded base model)")
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    from cai_bootstrap.__main__ import compose_job
    from cai_bootstrap.config import to_dict
    from cai_bootstrap.engines.measure import usable_cores

    model = options.model or limits.base_model()
    rows = [json.loads(line) for line in DATA.read_text().splitlines()][: options.pairs]
    config, threads = (
        to_dict(compose_job("explicit", ["train.num_epochs=1", "train.quantization=none"], "").train),
        usable_cores(),
    )
    details: dict[str, list[dict[str, Any]]] = {"cai_bootstrap": [], "trl": []}

    def way(name: str, function: Any) -> Any:
        def run() -> float:
            found = isolated.call(function, model, rows, config, threads)
            details[name].append(found)
            return len(rows) / float(found["train_s"])

        return run

    rates = pairing.alternate(
        {"cai_bootstrap": way("cai_bootstrap", ours), "trl": way("trl", trl_dpo.train)}, options.runs, False
    )
    gflops = isolated.call(limits.matrix_gflops, threads)
    needed = needed_gflop(model, rows)
    limit = gflops / needed
    medians = pairing.summary(rates)
    pairing.save(
        "training",
        {
            "unit": "pairs/s",
            "num_pairs": len(rows),
            "num_runs": options.runs,
            "rates": medians,
            "ratio": pairing.ratio(rates, "cai_bootstrap", "trl"),
            "needed_gflop_per_pair": needed,
            "matrix_gflops": gflops,
            "limit": limit,
            "share_of_limit": {name: values["median"] / limit for name, values in medians.items()},
            "details": details,
        },
    )


if __name__ == "__main__":
    main()
