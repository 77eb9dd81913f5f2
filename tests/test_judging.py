"""The evaluation stage's own checks: a judge has to beat what lengths and words alone give away."""

from __future__ import annotations

import random
from typing import Any

import pytest
from outcomes import outcome

from cai_bootstrap.errors import UserError
from cai_bootstrap.evals.judging import judging
from cai_bootstrap.evals.tasks import load_suite
from cai_bootstrap.records import EvalRecord, HeldOutItem
from cai_bootstrap.report.tables import Report, render_text
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.judgements import Case, questions

DEV = load_suite("evaluation", "dev")


def pairs(bad: str = "") -> list[dict[str, Any]]:
    """Judgements of the committed cases of conduct, asked in every way; all bad answers are `bad` where it is given."""
    rng, made = random.Random(2), []
    for corruption, cases in load_seeds("evaluation")["conduct"].items():
        for number, (question, good, worse) in enumerate(cases):
            case = Case(question, good, bad or worse, corruption)
            kinds = ("correct", "helpful", "principle", "rate", "compare")
            for each in questions(case, rng, group=f"{corruption}-{number}", kinds=kinds):
                made.append({**each._asdict(), "chosen": f"{each.right} {question}"})
    return made


def records(right: int) -> list[EvalRecord]:
    """Outcomes of a model that judges `right` of every ten groups rightly."""
    groups: dict[str, HeldOutItem] = {}
    for item in DEV:
        groups.setdefault(item.group, item)
    return [
        outcome(group, kind=item.kind, family=item.family, content=True, strict=n % 10 < right)
        for n, (group, item) in enumerate(groups.items())
    ]


def test_a_judge_beats_both_classifiers_and_is_told_by_corruption() -> None:
    report = judging(records(10), pairs(), DEV)
    assert [check["name"] for check in report["checks"]] == [
        "trained strict vs lengths alone",
        "trained strict vs words alone",
    ]
    assert all(check["passed"] and check["low"] > 0 for check in report["checks"])
    found = report["by_corruption"]
    assert {"wrong_fact", "rude", "compare_rude"} & set(found) == {"wrong_fact", "rude"}
    assert sum(rates["trained"]["total"] for rates in found.values()) == len(records(10))
    assert all(set(rates) == {"trained", "lengths alone", "words alone"} for rates in found.values())


def test_a_model_that_judges_like_a_classifier_does_not_pass() -> None:
    report = judging(records(2), pairs(), DEV)
    assert not any(check["passed"] for check in report["checks"])
    assert all("may be no better than a classifier" in check["reason"] for check in report["checks"])


def test_what_the_pairs_give_away_makes_the_classifier_better() -> None:
    """The words baseline learns from the pairs: those that always show the same bad answer teach it nothing of the suite."""
    told, dull = (judging(records(5), given, DEV)["checks"][1]["value"] for given in (pairs(), pairs("A stone.")))
    assert told != dull


def test_groups_that_are_not_in_the_suite_are_refused() -> None:
    with pytest.raises(UserError, match="none of the 10 items"):
        judging(records(5), pairs(), DEV[:10])


def test_the_table_shows_every_corruption_with_its_interval() -> None:
    found = judging(records(7), pairs(), DEV)["by_corruption"]
    text = render_text(
        Report(
            suite="evaluation",
            arms={},
            trained=records(7),
            gate=None,
            artifacts={},
            next_command="",
            minutes={},
            call_minutes=0,
            warnings=[],
            judging=found,
        )
    )
    line = next(line for line in text.splitlines() if line.startswith("wrong_fact"))
    assert line.count("[") == 3
    assert "words alone [95 %]" in text
