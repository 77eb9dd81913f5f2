"""The decisions of a stage: is there a gap worth training, and does the trained model pass its gate. Both are pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cai_bootstrap.config import GateConfig
from cai_bootstrap.errors import UserError
from cai_bootstrap.evals import statistics
from cai_bootstrap.evals.statistics import check_of, p_text, percent, points
from cai_bootstrap.records import EvalRecord, GateResult, PairedTest

GAP_ALPHA = 0.05
"""Level of the baseline's test for a gap."""
_NOTHING_LEFT = 0.95
"""Strict rate from which a stage with known labels has nothing left to teach."""


def evaluate_gate(
    stage: str,
    gate: GateConfig,
    trained: Sequence[EvalRecord],
    base: Mapping[str, Sequence[EvalRecord]],
    warnings: Sequence[str] = (),
    retained: Mapping[str, tuple[Sequence[EvalRecord], Sequence[EvalRecord]]] | None = None,
) -> GateResult:
    """The gate's result: passed only when every check is. An override of a failed gate is recorded, it never makes it pass.

    Checks, all on the same items: the trained model's strict rate reaches `gate.min_strict`; it beats the base model's
    cued content (difference above 0 and exact McNemar p below `gate.max_p_value`); it is not inferior to the base
    model's few-shot content (lower end of the paired 95 % interval above −`gate.noninferiority_margin`); and on each
    ancestor's suite it loses at most `gate.max_loss` of its parent's strict rate, and not more than `gate.loss_margin` with
    95 % confidence. Rates and differences are shares. `base` maps the arms `raw`, `cued` and `fewshot` to their records,
    `retained` the ancestors' suites to (the parent's, the trained model's).
    UserError when an arm is missing or holds other items than the trained arm; `raw` may hold a draw of them.
    """
    for arm in ("cued", "fewshot"):
        if arm not in base:
            raise UserError(f"stage {stage}: base arms {sorted(base)} lack {arm!r}: evaluate that arm of the baseline")
    for arm, records in base.items():  # also for arms that no check reads: the table prints them side by side
        drawn = {record.item_id for record in records} if arm == "raw" else None
        beside = trained if drawn is None else [record for record in trained if record.item_id in drawn]
        statistics.compare(f"stage {stage}: trained and base {arm}", beside, "strict", records, "content")
    checks = [
        _reaches(trained, gate.min_strict),
        _beats_cued(trained, base["cued"], gate.max_p_value),
        _not_below_fewshot(trained, base["fewshot"], gate.noninferiority_margin),
        *(_retains(suite, before, after, gate) for suite, (before, after) in sorted((retained or {}).items())),
    ]
    passed = all(check["passed"] for check in checks)
    return GateResult(
        stage=stage,
        passed=passed,
        checks=checks,
        override=None if passed else gate.override,
        warnings=list(warnings),
    )


def has_gap(
    cued: Sequence[EvalRecord], fewshot: Sequence[EvalRecord], *, labels_known: bool = False
) -> tuple[bool, PairedTest, str]:
    """Whether training can gain something: the base model's few-shot content beats its own cued strict rate (exact
    McNemar p < 0.05 on the same items). Returns the decision, the test (first: few-shot), and a sentence that says why.

    Where a stage constructs its tasks, `labels_known`, what the model can be shown does not bound what it can learn: then
    there is a gap unless its cued strict rate may already be 95 %. Without a gap the stage is skipped. UserError when the
    arms hold different items.
    """
    test = statistics.compare("few-shot content vs cued strict", fewshot, "content", cued, "strict")
    few_shot_rate, cued_rate = statistics.rate(fewshot, "content"), statistics.rate(cued, "strict")
    if labels_known:
        gap = cued_rate.high < _NOTHING_LEFT
        needed = f"cued strict surely below {100 * _NOTHING_LEFT:.0f} %, as right answers are known by construction"
    else:
        gap = test.difference > 0 and test.p_value < GAP_ALPHA
        needed = f"few-shot above cued with p < {GAP_ALPHA}"
    decided = "There is a gap to train" if gap else "No gap to train, the stage is skipped"
    reason = (
        f"{decided}: few-shot content {percent(few_shot_rate)} against cued strict {percent(cued_rate)}, difference "
        f"{points(test)}, exact McNemar p {p_text(test.p_value)} on {test.total} items, where a gap needs {needed}."
    )
    return gap, test, reason


def _reaches(trained: Sequence[EvalRecord], threshold: float) -> dict[str, Any]:
    rate = statistics.rate(trained, "strict")
    passed = rate.value >= threshold
    relation = "reaches" if passed else "is below"
    return {
        "name": "trained strict",
        "value": rate.value,
        "low": rate.low,
        "high": rate.high,
        "threshold": threshold,
        "passed": passed,
        "reason": f"Trained strict {percent(rate)} ({rate.successes} of {rate.total}) {relation} {100 * threshold:.1f} %.",
    }


def _beats_cued(trained: Sequence[EvalRecord], cued: Sequence[EvalRecord], threshold: float) -> dict[str, Any]:
    test = statistics.compare("trained strict vs cued content", trained, "strict", cued, "content")
    passed = test.difference > 0 and test.p_value < threshold
    relation = "beats" if passed else "does not beat"
    reason = (
        f"Trained strict {relation} base cued content: difference {points(test)}, exact McNemar p {p_text(test.p_value)} "
        f"({test.only_first} against {test.only_second} of {test.total} items), needed is a difference above 0 with "
        f"p < {threshold:g}."
    )
    return check_of(test.name, test, 0.0, passed, reason, p_value=test.p_value, max_p_value=threshold)


def _not_below_fewshot(trained: Sequence[EvalRecord], fewshot: Sequence[EvalRecord], margin: float) -> dict[str, Any]:
    test = statistics.compare("trained strict vs few-shot content", trained, "strict", fewshot, "content")
    passed = test.low > -margin
    relation = "is not below" if passed else "may be below"
    reason = (
        f"Trained strict {relation} base few-shot content: difference {points(test)}, needed is a lower end above "
        f"{-100 * margin + 0.0:+.1f} points."
    )
    return check_of(test.name, test, -margin, passed, reason)


def _retains(suite: str, before: Sequence[EvalRecord], after: Sequence[EvalRecord], gate: GateConfig) -> dict[str, Any]:
    test = statistics.compare(f"{suite}: trained strict vs parent strict", after, "strict", before, "strict")
    passed = test.difference >= -gate.max_loss and test.low > -gate.loss_margin
    relation = "keeps" if passed else "may have lost"
    reason = (
        f"The trained model {relation} what stage {suite} taught: strict {percent(statistics.rate(after, 'strict'))} "
        f"against its parent's {percent(statistics.rate(before, 'strict'))}, difference {points(test)}, needed is at least "
        f"{-100 * gate.max_loss:+.1f} with a lower end above {-100 * gate.loss_margin:+.1f} points."
    )
    return check_of(f"retention of {suite}", test, -gate.max_loss, passed, reason)
