"""The two decisions: is there a gap worth training, and is the gate passed. Both are recorded, whichever way they go."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from cai_bootstrap.config import GateConfig
from cai_bootstrap.evals import statistics, tasks
from cai_bootstrap.evals.judging import judging
from cai_bootstrap.evals.safety import safety
from cai_bootstrap.records import EvalRecord, GateResult
from cai_bootstrap.steps.gate import evaluate_gate, has_gap
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step


def eval_records(artifact: Artifact) -> list[EvalRecord]:
    """The outcomes of an evaluated arm."""
    return [EvalRecord.from_row(row) for row in artifact.rows()]


def better_shots(arms: dict[str, Artifact]) -> str:
    """Name of the few-shot arm with the higher content rate; the first one when they are equal."""
    return max(sorted(arms), key=lambda name: sum(record.content for record in eval_records(arms[name])))


@step(version=3)
def decide_gap(work: Work, *, cued: Artifact, **fewshot: Artifact) -> None:
    """`gate.json` of the baseline: whether the suite leaves something to train, and what a trained model must differ by
    to be told apart (`power`: the smallest difference that exact McNemar finds with 80 % probability).
    """
    best = better_shots(fewshot)
    base, examples = eval_records(cued), eval_records(fewshot[best])
    gap, test, sentence = has_gap(base, examples, labels_known=bool(work.settings["labels_known"]))
    discordant = (test.only_first + test.only_second) / test.total
    levels = {"0.05": 0.05, "gate": float(work.settings["max_p_value"])}
    found = {name: statistics.smallest_detectable(test.total, max(discordant, 0.05), alpha) for name, alpha in levels.items()}
    power = {name: value if math.isfinite(value) else None for name, value in found.items()}
    check: dict[str, Any] = {
        "name": "gap",
        "value": test.difference,
        "low": test.low,
        "high": test.high,
        "threshold": 0.0,
        "passed": gap,
        "reason": sentence,
    }
    result = GateResult(stage="baseline", passed=True, checks=[check])
    work.write_json("gate.json", result.to_row())
    work.write_json("power.json", {"total": test.total, "discordant_share": discordant, "smallest_difference": power})
    work.write_json("shots.json", {"better": best})


@step(version=2)
def decide_gate(
    work: Work,
    *,
    stage: str,
    warnings: list[str],
    trained: Artifact,
    **others: Artifact,
) -> None:
    """`gate.json` of a stage: its GateResult. `others` are the arms, and by suite what the parent (`before_…`) and the
    trained model (`after_…`) came to on the ancestors' suites.
    """
    result, _ = _decided(work, stage, warnings, trained, others)
    work.write_json("gate.json", result.to_row())


@step(version=2)
def decide_safety_gate(
    work: Work,
    *,
    stage: str,
    warnings: list[str],
    trained: Artifact,
    **others: Artifact,
) -> None:
    """As `decide_gate`, with the checks of `evals.safety` against the parent (the base model, cued, where it is the parent).

    The whole report is in `safety.json`.
    """
    result, base = _decided(work, stage, warnings, trained, others)
    report = safety(eval_records(trained), base.get("parent", base["cued"]), work.settings["max_over_refusal"])
    result = _with_checks(result, report["checks"], work.settings["override"])
    work.write_json("gate.json", result.to_row())
    work.write_json("safety.json", report)


@step(version=2)
def decide_judging_gate(
    work: Work,
    *,
    stage: str,
    warnings: list[str],
    trained: Artifact,
    pairs: Artifact,
    **others: Artifact,
) -> None:
    """As `decide_gate`, with the checks of `evals.judging` against classifiers that are trained on the `pairs`.

    The whole report is in `judging.json`.
    """
    import pyarrow.parquet

    result, _ = _decided(work, stage, warnings, trained, others)
    taught = pyarrow.parquet.read_table(pairs.path / "pairs.parquet", columns=["instruction", "kind", "chosen", "group"])
    suite = tasks.load_suite(trained.manifest["values"]["suite"], trained.manifest["values"]["split"])
    report = judging(eval_records(trained), taught.to_pylist(), suite)
    result = _with_checks(result, report["checks"], work.settings["override"])
    work.write_json("gate.json", result.to_row())
    work.write_json("judging.json", report)


def _with_checks(result: GateResult, more: list[dict[str, Any]], override: str | None) -> GateResult:
    """The result with further checks, which can make it fail."""
    checks = [*result.checks, *more]
    passed = all(check["passed"] for check in checks)
    return dataclasses.replace(result, checks=checks, passed=passed, override=None if passed else override)


def _decided(
    work: Work, stage: str, warnings: list[str], trained: Artifact, others: dict[str, Artifact]
) -> tuple[GateResult, dict[str, list[EvalRecord]]]:
    """The result of the checks that every stage has, and the records of the arms."""
    arms: list[str] = ["cued", "fewshot", "raw", "parent"]
    base = {name: eval_records(others[name]) for name in arms if name in others}
    suites = [name.removeprefix("before_") for name in others if name.startswith("before_")]
    retained: dict[str, tuple[list[EvalRecord], list[EvalRecord]]] = {}
    for suite in suites:
        before, after = (eval_records(others[f"{when}_{suite}"]) for when in ("before", "after"))
        # Of an ancestor's suite often only a draw is evaluated: what both answered is compared.
        common = {record.item_id for record in before} & {record.item_id for record in after}
        kept = [[record for record in records if record.item_id in common] for records in (before, after)]
        retained[suite] = (kept[0], kept[1])
    return evaluate_gate(stage, GateConfig(**work.settings), eval_records(trained), base, warnings, retained), base
