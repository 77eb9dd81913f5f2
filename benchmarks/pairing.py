"""Two ways of doing the same work, timed in turn in one run: A B, B A, A B … Ratios hold where seconds do not."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def alternate(ways: Mapping[str, Callable[[], float]], num_runs: int, warm_up: bool = True) -> dict[str, list[float]]:
    """Rates of each way, one per run, in turn and in alternating order. `warm_up` makes one uncounted round first."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1 if warm_up else 0, num_runs):
        names = list(ways) if number % 2 == 0 else list(ways)[::-1]
        for name in names:
            rate = ways[name]()
            print(f"  {name}: {rate:.3f}/s{'' if number >= 0 else ' (warm-up)'}", file=sys.stderr, flush=True)
            if number >= 0:
                rates[name].append(rate)
    return rates


def ratio(rates: Mapping[str, list[float]], name: str, peer: str) -> dict[str, float]:
    """Median of the paired ratios name/peer, with the smallest and the largest."""
    ratios = [one / other for one, other in zip(rates[name], rates[peer], strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def summary(rates: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median, smallest and largest rate of each way."""
    return {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values)} for name, values in rates.items()
    }


def save(name: str, result: dict[str, Any]) -> None:
    """Write `results/NAME.json`, with the machine and the versions, and print it."""
    import torch
    import transformers

    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine, **result}, indent=2) + "\n")
    print(json.dumps(result, indent=2))
