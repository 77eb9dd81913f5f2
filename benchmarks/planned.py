"""What a plan says of the demo's curriculum against what a finished run took, by kind of step and by stage.

    python -m benchmarks.planned ROOT [machine=two_cores …]

ROOT holds a finished run; of a step that was made several times the one counts that was made with the planned settings, and of
these the last. Its steps may be of an earlier version: they are found by their names.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_SMALL_MIN = 0.2


def manifests(root: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Of every stage and step what was made, the oldest first."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for folder in (root / "data" / "store", root / "checkpoints"):
        for path in folder.glob("*/*/manifest.json"):
            manifest = json.loads(path.read_text(encoding="utf-8"))
            found[manifest["stage"], manifest["name"]].append(manifest)
    return {key: sorted(each, key=lambda manifest: str(manifest["created_at"])) for key, each in found.items()}


def compare(root: Path, overrides: list[str]) -> Iterable[tuple[str, str, float, float]]:
    """(kind of step, stage, planned seconds, measured seconds) of each step that the run made."""
    from cai_bootstrap import planning, stages
    from cai_bootstrap.__main__ import compose_job
    from cai_bootstrap.report import plan

    nowhere = root / "no such folder"  # so that nothing is found done
    configs = [compose_job(name, [f"paths.root={nowhere}", *overrides], "", planned=True) for name in stages.CURRICULUM]
    made = manifests(root)
    for row in plan.planned_rows(planning.walk(configs), planning.known_machines()):
        facts, key = row.step.facts, (row.step.stage, row.step.name)
        if key not in made or row.forecast.seconds is None:
            continue
        same = [one for one in made[key] if one["settings"] == json.loads(json.dumps(facts["settings"]))]
        kind = facts["function"].rpartition(".")[2] + (f", {facts['values']['arm']}" if "arm" in facts["values"] else "")
        yield kind, row.step.stage, row.forecast.seconds, (same or made[key])[-1]["seconds"]


def as_table(title: str, sums: Mapping[str, list[float]]) -> list[str]:
    """Markdown: minutes planned and measured, and their ratio."""
    lines = [f"| {title} | planned, min. | measured, min. | ratio |", "|---|---|---|---|"]
    for name, (planned, measured) in sums.items():
        lines.append(f"| {name} | {planned / 60:.1f} | {measured / 60:.1f} | {planned / measured:.2f} |")
    return lines


def main() -> None:
    """Compare and print."""
    root, overrides = Path(sys.argv[1]), sys.argv[2:] or ["machine=two_cores"]
    kinds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    by_stage: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for kind, stage, planned, measured in compare(root, overrides):
        for sums in (kinds[kind], by_stage[stage], by_stage["in all"]):
            sums[0] += planned
            sums[1] += measured
    by_stage["in all"] = by_stage.pop("in all")
    large = {kind: sums for kind, sums in sorted(kinds.items(), key=lambda entry: -entry[1][1]) if sums[1] > 60 * _SMALL_MIN}
    print("\n".join([*as_table("stage", by_stage), "", *as_table("kind of step", large)]))


if __name__ == "__main__":
    main()
