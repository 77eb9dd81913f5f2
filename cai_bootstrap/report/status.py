"""Every run on disk: its stages, gates and strict rates, and the command to run next. Reads only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cai_bootstrap.errors import CorruptArtifact, MissingArtifact, UserError
from cai_bootstrap.lineage import gate_of, outdated, parent_run
from cai_bootstrap.records import GateResult
from cai_bootstrap.stages import CURRICULUM
from cai_bootstrap.store.artifacts import SCRIPTED
from cai_bootstrap.store.run import read_run, run_names

GATE_FILE = "gate.json"
STRICT_CHECK = "trained strict"
"""The gate's check that carries the strict rate with its interval."""
_COLUMNS = ("run", "stage", "steps", "last step", "gate", "strict [95 %]", "needed")


def status(root: Path, *, run: str | None = None, as_json: bool = False) -> str:
    """The state of every run under `root`, or of the one named, as a table with what to run next, or as JSON.

    Rates are shares in JSON and per cent in the table. UserError for a named run that does not exist. A run or gate
    that cannot be read is shown with the reason (`error`) and does not hide the others.
    """
    names = run_names(root)
    if run is not None:
        if run not in names:
            raise UserError(f"run={run} does not exist under {root}: runs are {', '.join(names) or 'none yet'}")
        names = [run]
    runs = [_describe_run(root, name) for name in names]
    if as_json:
        return json.dumps({"root": str(root.resolve()), "runs": runs}, indent=2, ensure_ascii=False)
    if not runs:
        return f"no runs under {root.resolve()} yet; start one with: {_command(root, 'default', CURRICULUM[1])}"
    return _as_text(runs)


def next_command(root: Path, run: str) -> str:
    """The command to run next for one run."""
    return str(_describe_run(root, run)["next"])


def _describe_run(root: Path, name: str) -> dict[str, Any]:
    try:
        state = read_run(root, name)
    except CorruptArtifact as error:
        return {"name": name, "created_at": None, "stages": [], "next": None, "error": str(error)}
    assert state is not None  # its run.json was just listed
    order = {stage: number for number, stage in enumerate(CURRICULUM)}
    held = sorted(state["stages"].items(), key=lambda entry: order.get(entry[0], len(order)))
    stages = [_describe_stage(root, stage, entry) for stage, entry in held]
    anew = outdated(root, name)
    for stage in stages:
        stage["outdated_by"] = anew.get(stage["stage"])
    return {
        "name": name,
        "created_at": state.get("created_at"),
        "stages": stages,
        "next": _next(root, name, stages),
        "error": None,
    }


def _describe_stage(root: Path, stage: str, entry: dict[str, Any]) -> dict[str, Any]:
    gate, checks, error, scripted = entry.get("gate"), [], None, False
    warnings = list(entry.get("warnings", []))
    if gate is not None:
        try:
            artifact = gate_of(root, stage, entry)
            if artifact is None:
                error = "the gate's artifact is gone: run the stage again"
            else:
                scripted = artifact.is_scripted
                result = GateResult.from_row(artifact.json(GATE_FILE))
                checks = result.checks
                warnings = list(dict.fromkeys([*warnings, *result.warnings]))
        except (CorruptArtifact, MissingArtifact) as problem:
            error = str(problem)
        except (TypeError, ValueError) as problem:
            error = f"{GATE_FILE} is no gate's result ({problem}): run the stage again"
    strict = next((check for check in checks if check["name"] == STRICT_CHECK), None)
    return {
        "stage": stage,
        "steps": list(entry["steps"]),
        "skipped": bool(entry.get("skipped")),
        "gate": gate,
        "strict": None if strict is None else {key: strict[key] for key in ("value", "low", "high", "threshold")},
        "checks": checks,
        "scripted": scripted,
        "warnings": warnings,
        "overrides": list(entry.get("overrides", [])),
        "error": error,
    }


def _next(root: Path, run: str, stages: Sequence[dict[str, Any]]) -> str:
    """What to do next with a run, as a command, with a reason where it is not simply the next stage."""
    held = {stage["stage"]: stage for stage in stages}
    scripted = any(stage["scripted"] for stage in stages)
    for name in CURRICULUM:
        command = _command(root, run, name, scripted=scripted)
        if name not in held:
            if any(parent_run(root, run, later) != run for later in held if _is_before(name, later)):
                continue  # the run's first stage has its parent from another run
            # Stage 0 runs with the stage after it, which is what people want.
            return command if name != CURRICULUM[0] else _command(root, run, CURRICULUM[1], scripted=scripted)
        stage = held[name]
        gate = stage["gate"]
        if stage["error"] is not None or not (gate or stage["skipped"]):
            return command
        if stage["outdated_by"] is not None:
            return f"{command}  (it was trained before {stage['outdated_by']} was made anew)"
        if gate and not (gate["passed"] or gate.get("override") or stage["skipped"]):
            return f"{command} stage.max_rounds=2  (the gate was not passed: add data and train again)"
    trained = next((name for name in reversed(CURRICULUM[1:]) if name in held and not held[name]["skipped"]), None)
    if trained is None:
        return "nothing: the base model has no gap that a stage could close"
    if scripted:
        return "nothing: all done, and a scripted model is not exported"
    return f"{_command(root, run, trained, verb='export DIR ')}  (all done)"


def _is_before(stage: str, other: str) -> bool:
    return other in CURRICULUM and CURRICULUM.index(stage) < CURRICULUM.index(other)


def _command(root: Path, run: str, stage: str, verb: str = "", scripted: bool = False) -> str:
    command = f"python -m cai_bootstrap {verb}stage={stage}{' engine=scripted model=tiny-random' if scripted else ''}"
    if run != "default":
        command += f" run={run}"
    return command if root.resolve() == Path.cwd() else f"{command} paths.root={root}"


def _as_text(runs: Sequence[dict[str, Any]]) -> str:
    rows = [_row(run, stage) for run in runs for stage in run["stages"]]
    lines = table(_COLUMNS, rows) if rows else []
    for run in runs:
        for stage in run["stages"]:
            lines += [f"warning: {run['name']}/{stage['stage']}: {text}" for text in stage["warnings"]]
            if stage["error"]:
                lines.append(f"error: {run['name']}/{stage['stage']}: {stage['error']}")
        if run["error"]:
            lines.append(f"error: {run['name']}: {run['error']}")
        else:
            lines.append(f"next for {run['name']}: {run['next']}")
    return "\n".join(lines)


def _row(run: dict[str, Any], stage: dict[str, Any]) -> tuple[str, ...]:
    strict, steps = stage["strict"], stage["steps"]
    rate = needed = "–"
    if strict is not None:
        rate = f"{_percent(strict['value'])} [{_percent(strict['low'])}, {_percent(strict['high'])}]"
        needed = _percent(strict["threshold"])
    last = steps[-1] if steps else "–"
    return (run["name"], stage["stage"], str(len(steps)), last, _gate_word(stage), rate, needed)


def _gate_word(stage: Mapping[str, Any]) -> str:
    word = f"{gate_word(stage)} ({SCRIPTED})" if stage["scripted"] else gate_word(stage)
    return f"{word}, {outdated_word(stage['outdated_by'])}" if stage["outdated_by"] else word


def outdated_word(anew: str) -> str:
    """What a table says of a stage that was trained before `anew` was made again."""
    return f"of an earlier {anew}"


def gate_word(stage: Mapping[str, Any]) -> str:
    """How a stage's gate stands, from its entry in `run.json`, in a word or two, with what it was ever overridden for."""
    gate = stage["gate"]
    now = gate.get("override") if gate else None
    before = [reason for reason in stage.get("overrides", []) if reason != now]
    if stage["skipped"]:
        word = "skipped (no gap)"
    elif gate is None:
        word = "not yet"
    elif gate["passed"]:
        word = "passed"
    else:
        word = f"FAILED, overridden: {now}" if now else "FAILED"
    return f"{word}, overridden before: {'; '.join(before)}" if before else word


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a plain table: a header, a rule, the rows, in columns as wide as their longest cell."""
    widths = [max(len(row[index]) for row in (columns, *rows)) for index in range(len(columns))]
    ruled = (columns, ["-" * width for width in widths], *rows)
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in ruled]
