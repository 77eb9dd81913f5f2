"""Training the upper half of the layers on states that the lower half computed once, against training all layers.

    python -m benchmarks.frozen [--pairs 48] [--epochs 2] [--runs 3]

Seconds from the built trainer to the adapter: the lower layers' pass, the reference pass, and all epochs. Both ways train the
same pairs in the same batches. It says what a pass costs, not what it teaches: `docs/log.md` has that.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks import isolated, limits, pairing
from benchmarks.training import DATA, ours

SHARES = {"upper half": 0.5, "all layers": 0.0}


def main() -> None:
    """Measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    from cai_bootstrap.__main__ import compose_job
    from cai_bootstrap.config import to_dict
    from cai_bootstrap.engines.measure import usable_cores

    model, threads = limits.base_model(), usable_cores()
    rows = [json.loads(line) for line in DATA.read_text().splitlines()][: options.pairs]
    details: dict[str, list[dict[str, Any]]] = {name: [] for name in SHARES}

    def way(name: str, share: float) -> Any:
        changes = ["train.quantization=none", f"train.num_epochs={options.epochs}", f"train.lora.frozen_share={share}"]
        config = to_dict(compose_job("explicit", changes, "").train)

        def run() -> float:
            found = isolated.call(ours, model, rows, config, threads)
            details[name].append(found)
            num_pairs: float = len(rows) * options.epochs
            return num_pairs / float(found["prefix_s"] + found["reference_s"] + found["train_s"])

        return run

    rates = pairing.alternate({name: way(name, share) for name, share in SHARES.items()}, options.runs, False)
    pairing.save(
        "frozen",
        {
            "unit": "pairs/s",
            "num_pairs": len(rows),
            "num_epochs": options.epochs,
            "num_runs": options.runs,
            "rates": pairing.summary(rates),
            "ratio": pairing.ratio(rates, *SHARES),
            "details": details,
        },
    )


if __name__ == "__main__":
    main()
