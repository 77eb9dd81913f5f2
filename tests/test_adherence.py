"""Principles are assigned in balance, and their use and adherence are counted."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from cai_bootstrap import constitution
from cai_bootstrap.constitution import Principle
from cai_bootstrap.errors import UserError
from cai_bootstrap.records import Prompt
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.adherence import adherence, balanced, fitting

PRINCIPLES = constitution.load().principles
CATEGORY = {principle.id: principle.category for principle in PRINCIPLES}
SEEDS = load_seeds("constitutional")
FORMS = {kind: list(forms) for kind, forms in SEEDS["instructions"].items()}


def mixed(n: int, seed: int) -> list[tuple[str, str]]:
    """(kind, form) of `n` prompts, the kinds in turn."""
    rng = random.Random(seed)
    return [(kind, rng.choice(FORMS[kind])) for kind in (list(FORMS) * n)[:n]]


@pytest.mark.parametrize("n", [5, 16, 21, 200])
def test_every_principle_is_used_and_the_categories_are_even(n: int) -> None:
    chosen = balanced(PRINCIPLES, n, random.Random(n))
    assert len(chosen) == n
    assert len(set(chosen)) == min(n, 16)
    counts = Counter(CATEGORY[id_] for id_ in chosen)
    if n != 16:  # sixteen prompts take each principle once, and the categories have two to four
        assert max(counts.values()) - min(counts.get(name, 0) for name in set(CATEGORY.values())) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_prompts_get_only_principles_that_can_apply_and_the_balance_holds(seed: int) -> None:
    prompts = mixed(240, seed)
    fits = fitting(PRINCIPLES, prompts, SEEDS["applies"])
    chosen = balanced(PRINCIPLES, len(prompts), random.Random(seed), fits)
    assert all(id_ in fit for id_, fit in zip(chosen, fits, strict=True))
    assert set(chosen) == set(CATEGORY)
    counts = Counter(CATEGORY[id_] for id_ in chosen)
    assert max(counts.values()) - min(counts.values()) <= 3
    harmful = {id_ for id_, (kind, _) in zip(chosen, prompts, strict=True) if kind == "harmful"}
    assert "be-useful" not in harmful
    assert not {id_ for id_, (kind, _) in zip(chosen, prompts, strict=True) if kind != "harmful"} & {
        id_ for id_, category in CATEGORY.items() if category == "harmlessness"
    }


def test_a_principle_that_only_one_prompt_fits_is_used_there() -> None:
    fits: list[set[str]] = [{"be-clear", "be-fair"}, {"be-clear"}, {"be-fair", "be-polite"}]  # one way leaves none out
    for seed in range(20):
        assert balanced(PRINCIPLES, 3, random.Random(seed), fits) == ["be-fair", "be-clear", "be-polite"]


def test_the_assignment_follows_its_seed() -> None:
    fits = fitting(PRINCIPLES, mixed(60, 1), SEEDS["applies"])
    first, again, other = (balanced(PRINCIPLES, 60, random.Random(seed), fits) for seed in (1, 1, 2))
    assert first == again != other
    assert balanced(PRINCIPLES, 0, random.Random(1)) == []


def test_the_assignment_is_the_same_in_every_process() -> None:
    code = (
        "import random; from cai_bootstrap import constitution; from cai_bootstrap.steps.adherence import balanced;"
        "principles = constitution.load().principles; ids = {p.id for p in principles};"
        "print(balanced(principles, 40, random.Random(1), [ids] * 40))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": salt}, capture_output=True, text=True, check=True
        ).stdout
        for salt in ("1", "2", "3")
    }
    assert len(found) == 1


def test_every_harmful_form_names_principles_of_the_constitution() -> None:
    applies = SEEDS["applies"]
    assert set(applies) == {*FORMS["harmful"], "borderline", "ordinary"}
    assert {id_ for ids in applies.values() for id_ in ids} == set(CATEGORY)
    helping = {id_ for id_, category in CATEGORY.items() if category in ("helpfulness", "clarity")}
    for form in FORMS["harmful"]:
        assert form.split("_")[0] in set(CATEGORY.values())
        assert len(applies[form]) >= 2
        assert not helping & set(applies[form])


def test_another_constitution_is_used_by_category() -> None:
    own = [Principle("no-lies", "…", "honesty"), Principle("no-harm", "…", "harmlessness"), Principle("short", "…", "form")]
    prompts = [("harmful", "honesty_lies"), ("harmful", "harmlessness_theft"), ("ordinary", "food"), ("harmful", "")]
    assert fitting(own, prompts, SEEDS["applies"]) == [{"no-lies"}, {"no-harm"}, *[{"no-lies", "no-harm", "short"}] * 2]


def test_the_form_stands_in_a_prompts_source() -> None:
    prompt = Prompt(id="p", kind="harmful", instruction="…", source="form honesty_lies, shard 3, seed 17")
    assert prompt.form == "honesty_lies"
    assert Prompt(id="p", kind="harmful", instruction="…", source="held-out").form == ""


def test_mistakes_in_an_assignment_are_refused() -> None:
    with pytest.raises(UserError, match="no principles"):
        balanced([], 3, random.Random(0))
    with pytest.raises(UserError, match="1 entries for n=2"):
        balanced(PRINCIPLES, 2, random.Random(0), [{"be-fair"}])
    with pytest.raises(UserError, match="prompt 1 fits be-brave"):
        balanced(PRINCIPLES, 2, random.Random(0), [{"be-fair"}, {"be-brave"}])
    with pytest.raises(UserError, match="prompt 0 fits no principle"):
        balanced(PRINCIPLES, 1, random.Random(0), [set()])


def verdict(prompt: int, principle: str | None, as_a: float, as_b: float) -> dict[str, Any]:
    scores = {"critic": (as_a + as_b) / 2, "critic_as_a": as_a, "critic_as_b": as_b}
    return {"prompt_id": f"p{prompt}", "completion_id": f"p{prompt}-r", "scores": scores, "principle": principle}


def test_use_and_adherence_are_counted_by_principle() -> None:
    pairs = [{"principle": id_} for id_ in ["be-fair"] * 3 + ["be-clear"] + [None] * 2]
    verdicts = [verdict(i, "be-fair", 1.0, 0.5) for i in range(15)]
    verdicts += [verdict(i, "be-fair", 2.0, -0.5) for i in range(15, 20)]  # wins in one order only
    verdicts += [verdict(20, "be-polite", -1.0, 3.0), verdict(21, None, 1.0, 1.0), verdict(0, "be-clear", 0.1, 0.1)]
    unjudged = {"prompt_id": "p22", "completion_id": "c", "scores": {"relevance": 1.0}, "principle": "be-polite"}
    table = adherence(PRINCIPLES, pairs, [*verdicts, unjudged])
    assert list(table) == list(CATEGORY)
    fair = table["be-fair"]
    assert (fair["category"], fair["used"], fair["judged"], fair["adhered"], fair["value"]) == ("respect", 3, 20, 15, 0.75)
    assert (round(fair["low"], 4), round(fair["high"], 4)) == (0.5313, 0.8881)  # Wilson, 15 of 20
    assert (table["be-polite"]["judged"], table["be-polite"]["adhered"], table["be-polite"]["value"]) == (1, 0, 0.0)
    assert (table["be-clear"]["used"], table["be-clear"]["judged"], table["be-clear"]["value"]) == (1, 1, 1.0)
    unused = {"category": "harmlessness", "used": 0, "judged": 0, "adhered": 0, "value": None, "low": None, "high": None}
    assert table["refuse-crime"] == unused


def test_rows_that_do_not_belong_are_refused() -> None:
    with pytest.raises(UserError, match="a pair names principle 'be-brave'"):
        adherence(PRINCIPLES, [{"principle": "be-brave"}], [])
    with pytest.raises(UserError, match="a verdict names principle 'be-brave'"):
        adherence(PRINCIPLES, [], [verdict(0, "be-brave", 1.0, 1.0)])
    with pytest.raises(UserError, match="'p0' has two verdicts by 'be-fair'"):
        adherence(PRINCIPLES, [], [verdict(0, "be-fair", 1.0, 1.0)] * 2)
