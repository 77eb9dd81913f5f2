"""Jobs against the first of them: figures that can be worked out by hand."""

from __future__ import annotations

import pytest
from outcomes import outcome

from cai_bootstrap.errors import UserError
from cai_bootstrap.evals import tasks
from cai_bootstrap.evals.comparison import compare_with_first
from cai_bootstrap.records import EvalRecord
from cai_bootstrap.steps.evaluate import settle


def outcomes(right: range | list[int], items: range = range(20)) -> list[EvalRecord]:
    """Items of which those in `right` are strictly right."""
    return [outcome(f"i{index}", content=True, strict=index in right) for index in items]


def test_each_job_is_compared_with_the_first_on_the_same_items() -> None:
    # The second wins six items and loses none: p = 2/2^6. The third wins one and loses three: p = 2·(1+4)/2^4.
    found = compare_with_first(
        {"explicit": {"a": outcomes(range(10)), "b": outcomes(range(16)), "c": outcomes([*range(7), 19])}}
    )["explicit"]
    first, second, third = found.values()
    assert (first.rate.successes, first.rate.total) == (10, 20)
    assert (round(first.rate.low, 3), round(first.rate.high, 3)) == (0.299, 0.701)
    assert (first.reference, first.test, first.adjusted) == (None, None, None)
    assert second.test is not None
    assert (second.test.only_first, second.test.only_second) == (6, 0)
    assert second.test.difference == pytest.approx(0.3)
    assert second.test.p_value == pytest.approx(0.03125)
    assert second.adjusted == pytest.approx(0.0625)  # the smaller of two: times two
    assert third.test is not None
    assert (third.test.only_first, third.test.only_second) == (1, 3)
    assert third.test.difference == pytest.approx(-0.1)
    assert third.test.p_value == pytest.approx(0.625)
    assert third.adjusted == pytest.approx(0.625)
    assert {second.reference, third.reference} == {"a"}


def test_the_rows_of_all_stages_are_adjusted_together() -> None:
    jobs = {"a": outcomes(range(10)), "b": outcomes(range(16))}
    alone = compare_with_first({"explicit": jobs})["explicit"]["b"]
    same = {"a": outcomes(range(10)), "b": outcomes(range(10))}
    both = compare_with_first({"explicit": jobs, "implicit": same})
    assert alone.adjusted == pytest.approx(0.03125)
    assert both["explicit"]["b"].adjusted == pytest.approx(0.0625)
    assert both["implicit"]["b"].adjusted == pytest.approx(1.0)


def test_jobs_with_other_items_are_compared_on_those_that_both_have() -> None:
    whole, draw, other = outcomes(range(10)), outcomes(range(16), range(5, 15)), outcomes([], range(30, 40))
    found = compare_with_first({"explicit": {"whole": whole, "draw": draw, "other": other}})["explicit"]
    assert found["draw"].rate.total == 10
    assert found["draw"].test is not None
    assert (found["draw"].test.total, found["draw"].test.only_first, found["draw"].test.only_second) == (10, 5, 0)
    assert (found["other"].reference, found["other"].test, found["other"].adjusted) == ("whole", None, None)


def test_the_units_are_those_of_the_gate() -> None:
    items = [item for item in tasks.load_suite("evaluation", "dev") if item.group][:40]
    scored = [tasks.score(item, "trained", "p", f" {item.arguments.get('label', 'x')}.", "eos", 2) for item in items]
    units = settle("evaluation", items, scored)
    found = compare_with_first({"evaluation": {"a": units, "b": units}})["evaluation"]["b"]
    assert found.rate.total == len({item.group for item in items}) < len(items)
    assert found.test is not None
    assert found.test.total == found.rate.total


def test_no_jobs_no_rows_and_no_item_twice() -> None:
    assert compare_with_first({}) == {}
    with pytest.raises(UserError, match="occurs twice"):
        compare_with_first({"explicit": {"a": [*outcomes(range(1)), *outcomes(range(1))]}})
