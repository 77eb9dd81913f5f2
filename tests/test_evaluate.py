"""What only several outputs together can tell: groups of items, and outputs that repeat each other."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from cai_bootstrap.evals import tasks
from cai_bootstrap.records import EvalRecord, HeldOutItem
from cai_bootstrap.steps.evaluate import draw, settle


def item(number: int, group: str = "") -> HeldOutItem:
    return HeldOutItem(
        id=f"i{number}",
        suite="explicit",
        split="dev",
        kind="answer",
        family="f",
        instruction=f"What is number {number}?",
        verifier="any_of",
        arguments={"accepted": ["yes"]},
        group=group,
    )


def record(number: int, answer: str = "Yes.", *, strict: bool = True) -> EvalRecord:
    return tasks.score(item(number), "cued", f"p{number}", f" {answer}", "eos" if strict else "length", 3)


def test_a_group_is_right_where_all_of_it_is() -> None:
    items = [item(1, "a"), item(2), item(3, "a"), item(4, "b"), item(5, "b"), item(6, "c"), item(7, "c")]
    records = [record(1), record(2), record(3), record(4), record(5, "No."), record(6), record(7, strict=False)]
    found = {each.item_id: each for each in settle("explicit", items, records)}
    assert list(found) == ["a", "i2", "b", "c"]
    assert {name: (each.content, each.strict) for name, each in found.items()} == {
        "a": (True, True),
        "i2": (True, True),
        "b": (False, False),
        "c": (True, False),
    }
    assert found["i2"] == records[1]
    assert found["b"].reason == records[4].reason != ""
    assert found["b"].answer.split("\n---\n") == ["Yes.", "No."]
    assert (found["c"].finish, found["c"].num_tokens) == ("length", 6)


def test_repeated_outputs_fail_in_a_suite_that_asks_for_different_ones() -> None:
    right = record(1)
    answers = [
        "Why do rivers flow into the sea?",
        "Why do the rivers flow into the sea?",
        "Which bird sings at night?",
        "Why do rivers flow into the sea?",
    ]
    records = [dataclasses.replace(right, item_id=f"i{n}", answer=answer) for n, answer in enumerate(answers)]
    records[3] = dataclasses.replace(records[3], content=False, strict=False, reason="off topic")
    items = [item(n) for n in range(4)]
    assert settle("explicit", items, records) == records
    settled = settle("generation", items, records)
    assert [each.content for each in settled] == [True, False, True, False]
    assert (settled[1].strict, settled[1].reason) == (False, "nearly another item's answer")
    assert settled[3].reason == "off topic"


def test_a_wrong_output_does_not_take_a_right_ones_place() -> None:
    wrong = dataclasses.replace(record(1), answer="Which bird sings at night?", content=False, strict=False)
    right = dataclasses.replace(record(2), answer="Which bird sings at night?")
    assert [each.content for each in settle("generation", [item(1), item(2)], [wrong, right])] == [False, True]


def test_groups_are_drawn_whole() -> None:
    items = [item(number, f"g{number // 2}") for number in range(40)]
    drawn = draw(items, 10)
    assert len(drawn) == 10
    assert all(sum(each.group == other.group for other in drawn) == 2 for each in drawn)


@pytest.mark.parametrize("suite", list(tasks.SUITE_SHA256))
def test_what_is_drawn_of_fewer_is_among_what_is_drawn_of_more(suite: str) -> None:
    items = tasks.load_suite(suite, "test")
    draws = [{each.id for each in draw(items, count)} for count in (20, 33, 60, 100, 150, 0)]
    for fewer, more in itertools.pairwise(draws):
        assert fewer < more
