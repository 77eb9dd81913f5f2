"""The end of a run: the table on the screen, and the same as `report.txt` beside the run's pointers."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from cai_bootstrap.config import Config
from cai_bootstrap.records import GateResult
from cai_bootstrap.report import tables
from cai_bootstrap.report.curriculum import keep_curriculum
from cai_bootstrap.report.ledger import drift_ledger
from cai_bootstrap.report.status import gate_word, next_command
from cai_bootstrap.stages import CURRICULUM
from cai_bootstrap.steps.decide import eval_records
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.files import write_atomic
from cai_bootstrap.store.run import Run

_KEPT = re.compile(r"kept(-\d+)?")
"""The steps that choose, a round each; the pilot's is another."""


class Outcome(Protocol):
    """What a stage came to, as the pipeline fills it in."""

    arms: dict[str, Artifact]
    gap: Artifact | None
    pairs: Artifact | None
    model: Artifact | None
    trained: Artifact | None
    gate: Artifact | None


def print_outcome(
    config: Config, run: Run, outcome: Outcome, *, suite: str, skipped: bool, until: str, seconds: float, quiet: bool = False
) -> None:
    """Print the stage's table, and keep it as `report.txt` and `report.md` in the run's folder of the stage.

    The baseline has a table for each suite: `report-<suite>.txt`. `quiet` keeps it and prints nothing.
    """
    name = config.stage.name
    entry = run.stage(name) or {"steps": {}, "warnings": []}
    warnings = list(dict.fromkeys([*(run.stage("baseline") or {"warnings": []})["warnings"], *entry["warnings"]]))
    artifacts = {
        label: _shown(artifact.path, run.root)
        for label, artifact in (("pairs", outcome.pairs), ("model", outcome.model), ("gate", outcome.gate))
        if artifact is not None
    }
    artifacts["run"] = _shown(run.folder, run.root)
    minutes = {
        f"{stage}/{step}": artifact.manifest["seconds"] / 60
        for stage in dict.fromkeys(("baseline", name))
        for step in (run.stage(stage) or {"steps": {}})["steps"]
        if (artifact := run.artifact(stage, step)) is not None
    }
    minutes = {step: value for step, value in minutes.items() if value >= 0.05}
    gate = None if outcome.gate is None else GateResult.from_row(outcome.gate.json("gate.json"))
    report = tables.Report(
        suite=suite,
        arms={arm: eval_records(artifact) for arm, artifact in outcome.arms.items()},
        trained=None if outcome.trained is None else eval_records(outcome.trained),
        gate=gate,
        gap="" if outcome.gap is None else outcome.gap.json("gate.json")["checks"][0]["reason"],
        artifacts=artifacts,
        next_command=next_command(run.root, run.name),
        minutes=minutes,
        call_minutes=seconds / 60,
        warnings=warnings,
        judging=_judging(outcome.gate),
        adherence=_adherence(run, name),
        ledger=drift_ledger(run),
        scripted=config.engine.is_scripted,
    )
    folder, stem = run.folder / name, f"report-{suite}" if name == "baseline" else "report"
    write_atomic(folder / f"{stem}.txt", tables.render_text(report).encode())
    write_atomic(folder / f"{stem}.md", tables.as_markdown(report).encode())
    keep_curriculum(run)
    if quiet:
        return
    if sys.stdout.isatty():
        Console().print(tables.result_table(report))
    else:
        print(tables.render_text(report))
    if skipped:
        print(f"stage {name} was skipped: the baseline shows no gap that it could close")
    if until != "gate":
        print(f"stopped after {until}, as asked")


def _judging(gate: Artifact | None) -> dict[str, Any]:
    """What the gate of a stage that teaches to judge knows by what is wrong with an answer."""
    if gate is None or "judging.json" not in gate.manifest["files"]:
        return {}
    found: dict[str, Any] = gate.json("judging.json")["by_corruption"]
    return found


def _adherence(run: Run, stage: str) -> dict[str, Any]:
    """What the choice among revisions counted by principle, in the last round; empty where there are no principles."""
    rounds = [step for step in (run.stage(stage) or {"steps": {}})["steps"] if _KEPT.fullmatch(step)]
    kept = run.artifact(stage, rounds[-1]) if rounds else None
    return {} if kept is None or "adherence.json" not in kept.manifest["files"] else dict(kept.json("adherence.json"))


def finished_before(config: Config, run: Run) -> str:
    """One line in place of the table of a stage of which everything was found done."""
    name = config.stage.name
    entry = run.stage(name) or {"steps": {}, "gate": None, "skipped": False}
    gate = "" if name == CURRICULUM[0] else f", gate: {gate_word(entry)}"
    return (
        f"run={run.name} stage={name} was finished before: nothing was computed, {len(set(run.reused))} steps found{gate}; "
        f"its table is in {_shown(run.folder / name, run.root)}"
    )


def describe_power(power: dict[str, Any]) -> str:
    """One line on what this suite can tell, before any training."""
    found = power["smallest_difference"]
    texts = [
        f"{100 * found[name]:.1f} points at p < {level}"
        for name, level in (("0.05", "0.05"), ("gate", "the gate's level"))
        if found[name] is not None
    ]
    return (
        f"power: with {power['total']} items and {100 * power['discordant_share']:.0f} % discordant, exact McNemar finds "
        f"a difference of {' or '.join(texts) if texts else 'nothing under 100 points'} with 80 % probability"
    )


def _shown(path: Path, root: Path) -> str:
    """A path as the user would type it."""
    return str(path if root.is_absolute() else path.relative_to(root) if path.is_relative_to(root) else path)
