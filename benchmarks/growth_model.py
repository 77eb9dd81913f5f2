"""Time for a pair and memory as a real stage 1 grows: the real base model, the same root, more instructions each time.

    python -m benchmarks.growth_model paths.root=FOLDER [--instructions 185 370 740]

Each size is a run of the command of its own, to the gate; the first one prepares and measures the base model too. A pair's
seconds are those of the steps that work pair by pair, from the instructions to the adapter.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import isolated, pairing

_FIXED = ("calibration", "model", "eval-outputs", "eval", "gate", "drift")
"""Steps of the stage that are as long for any number of pairs."""


def grow(root: Path, num_instructions: int, words: list[str]) -> dict[str, Any]:
    """One run: pairs, seconds in all and by step, and the memory of its largest process."""
    from cai_bootstrap.store.run import Run

    name = f"growth-{num_instructions}"
    words = [*words, f"run={name}", f"stage.instructions.num_instructions={num_instructions}", "stage.pairs.min_pairs=50"]
    begin = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", "cai_bootstrap", "stage=1", *words], check=False).returncode
    if code not in (0, 1):  # a gate that was not passed is a result
        raise SystemExit(f"the run with {num_instructions} instructions ended with code {code}")
    seconds = time.perf_counter() - begin
    at_most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    with Run(root, name) as run:
        stage = run.stage("explicit")
        assert stage is not None
        steps = {step: artifact for step in stage["steps"] if (artifact := run.artifact("explicit", step)) is not None}
        baseline = run.stage("baseline") or {"steps": {}}
        before = [run.artifact("baseline", step) for step in baseline["steps"]]
    by_step = {step: artifact.manifest["seconds"] for step, artifact in steps.items()}
    num_pairs = int(steps["pairs"].json("statistics.json")["num_pairs"])
    growing = sum(taken for step, taken in by_step.items() if step not in _FIXED and not step.endswith("pilot"))
    return {
        "num_instructions": num_instructions,
        "num_pairs": num_pairs,
        "seconds": seconds,
        "seconds_of_the_baseline": sum(artifact.manifest["seconds"] for artifact in before if artifact is not None),
        "seconds_by_step": by_step,
        "seconds_per_pair": growing / num_pairs,
        "gate": steps["gate"].json("gate.json"),
        "mib_at_most": at_most,
    }


def main() -> None:
    """Measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("words", nargs="*", help="words of a run; paths.root= is needed")
    parser.add_argument("--instructions", type=int, nargs="+", default=[185, 370, 740])
    options = parser.parse_args()
    roots = [word.removeprefix("paths.root=") for word in options.words if word.startswith("paths.root=")]
    if not roots:
        raise SystemExit("paths.root= is missing: name the folder of the runs, which may be resumed")
    sizes = [isolated.call(grow, Path(roots[0]), size, options.words) for size in options.instructions]
    pairing.save("growth_model", {"by_size": sizes})


if __name__ == "__main__":
    main()
