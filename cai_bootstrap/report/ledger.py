"""The drift ledger: what each stage of a run has changed, from the base model on, in one table."""

from __future__ import annotations

from typing import Any

from cai_bootstrap import stages
from cai_bootstrap.evals import statistics
from cai_bootstrap.evals.statistics import percent
from cai_bootstrap.lineage import eval_step, outdated
from cai_bootstrap.records import Rate
from cai_bootstrap.steps.decide import eval_records
from cai_bootstrap.store.run import Run

_MEASURES = (
    ("KL from the base, nats/token", "kl_per_token"),
    ("tokens a response", "tokens"),
    ("ended by itself", "ended"),
    ("declined, all harmless", "declines"),
)


def drift_ledger(run: Run) -> tuple[list[str], list[list[str]]]:
    """(columns, rows): a column for each trained stage, a row for each measure and for the strict rate on each suite.

    Every figure has its 95 % interval. Stages that were trained before one of their ancestors was made anew are left out. No
    rows before the first stage was measured.
    """
    columns, told = ["after stage"], {label: [label] for label, _ in _MEASURES}
    anew = outdated(run.root, run.name)
    for name in stages.CURRICULUM[1:]:
        if name in anew:
            continue  # its parent is not the column before
        steps: dict[str, str] = (run.stage(name) or {"steps": {}})["steps"]
        measured = [step for step in steps if step.startswith("drift")]
        artifact = run.artifact(name, measured[-1]) if measured else None
        if artifact is None:
            continue
        columns.append(name)
        found = artifact.json("drift.json")
        for label, key in _MEASURES:
            told[label].append(_cell(key, found[key]))
        own, suffix = stages.load(name).suite, measured[-1].removeprefix("drift")
        for suite in dict.fromkeys(stages.load(other).suite for other in stages.CURRICULUM[1:]):
            evaluated = run.artifact(name, eval_step(suite, own, suffix)) if eval_step(suite, own, suffix) in steps else None
            if evaluated is not None:
                label = f"strict on {suite}"
                row = told.setdefault(label, [label])
                row += ["–"] * (len(columns) - 1 - len(row))  # stages before it, which were not measured on it
                row.append(percent(statistics.rate(eval_records(evaluated), "strict")))
    if len(columns) == 1:
        return [], []
    return columns, [row + ["–"] * (len(columns) - len(row)) for row in told.values()]


def _cell(key: str, value: dict[str, Any]) -> str:
    if key in ("ended", "declines"):
        return percent(Rate.from_row(value))
    digits = 3 if key == "kl_per_token" else 1
    return f"{value['value']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
