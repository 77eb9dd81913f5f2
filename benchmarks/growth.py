"""Time and memory of the data path as it grows, with the tests' scripted engine in place of a model.

    PYTHONPATH=tests python -m benchmarks.growth [--sizes 1000 2000 4000 8000 16000]

What a model would take is not in it: what is left must grow with the number of pairs and no faster.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from benchmarks import isolated, pairing


def make(num_pairs: int) -> dict[str, Any]:
    """Pairs, seconds by step, and how much memory the process held at most, before and after."""
    _bootstrap(100)  # imports
    before = _memory_mib()
    found = _bootstrap(num_pairs)
    return {**found, "mib_before": before, "mib_at_most": _memory_mib()}


def _bootstrap(num_pairs: int) -> dict[str, Any]:
    from data_path import KNOWN, ONE_FORM, SEEDS, some_model
    from scripted import ScriptedEngine, ScriptedSession

    from cai_bootstrap import stages
    from cai_bootstrap.__main__ import compose_job
    from cai_bootstrap.lineage import Parent
    from cai_bootstrap.pipeline import Outcome, bootstrap
    from cai_bootstrap.store.run import Run

    # The scripted model answers well enough that nearly every instruction becomes a pair.
    words = [f"stage.instructions.num_instructions={num_pairs}", f"stage.pairs.min_pairs={num_pairs // 2}"]
    config = compose_job("explicit", words, "")
    with tempfile.TemporaryDirectory() as folder:
        seeds = Path(folder, "seeds.yaml")
        seeds.write_text(json.dumps({**SEEDS, "instructions": ONE_FORM}))
        config = dataclasses.replace(config, stage=dataclasses.replace(config.stage, seeds=str(seeds)))
        outcome = Outcome()
        with Run(Path(folder), "growth") as run:
            base = some_model(run)
            begin = time.perf_counter()
            engine = ScriptedEngine(KNOWN)
            engine.calls = deque(maxlen=1)  # its memory of them is the test's, not the data path's
            bootstrap(run, ScriptedSession(engine), config, stages.load("explicit"), Parent(base), outcome, "pairs", 1)
            seconds = time.perf_counter() - begin
            assert outcome.pairs is not None
            made = int(outcome.pairs.json("statistics.json")["num_pairs"])
            steps = {name: run.artifact("explicit", name) for name in run.computed}
        by_step = {name: artifact.manifest["seconds"] for name, artifact in steps.items() if artifact is not None}
    return {
        "num_pairs": made,
        "seconds": seconds,
        "ms_per_pair": 1000 * seconds / made,
        # Without what is as long for any number: calibration, locks, manifests.
        "ms_per_pair_in_steps": 1000 * sum(taken for name, taken in by_step.items() if name != "calibration") / made,
        "seconds_by_step": by_step,
    }


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 4000, 8000, 16000])
    parser.add_argument("--repeats", type=int, default=3, help="the median by time per pair counts")
    options = parser.parse_args()
    # Round by round, so that a slow minute of the machine does not fall on one size.
    rounds = [[isolated.call(make, size) for size in options.sizes] for _ in range(options.repeats)]
    by_size = []
    for runs in zip(*rounds, strict=True):
        runs_in_order = sorted(runs, key=lambda run: run["ms_per_pair_in_steps"])
        spread = [run["ms_per_pair_in_steps"] for run in runs_in_order]
        by_size.append({**runs_in_order[len(runs) // 2], "ms_per_pair_in_steps_of_all": spread})
    pairing.save("growth", {"by_size": by_size})


if __name__ == "__main__":
    main()
