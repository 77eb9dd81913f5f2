"""Judge questions from a good and a corrupted answer, and how far one comes on them without judging."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest

from cai_bootstrap.constitution import load
from cai_bootstrap.errors import UserError
from cai_bootstrap.evals.baselines import Row, bag_of_words_baseline, length_baseline, quoted
from cai_bootstrap.evals.verifiers import VERIFIERS
from cai_bootstrap.steps.judgements import (
    KINDS,
    PHRASINGS,
    PRINCIPLES,
    RULES,
    Case,
    even_lengths,
    kinds_for,
    preference,
    questions,
)

BEES = Case("What do bees make?", "Honey.", "Sand and old bricks.", "wrong_fact")


def test_every_phrasing_gives_its_question_answers_and_rule_back() -> None:
    for kind, phrasings in PHRASINGS.items():
        assert len(set(phrasings)) == len(phrasings) >= 4
        for phrasing in phrasings:
            text = phrasing.format(question="What?", answer="This.", rule="Be kind.", first="One.", second="Two.")
            answers = ("One.", "Two.") if kind in ("compare", "prefer") else ("This.",)
            assert quoted(text) == ("What?", answers, "Be kind." if kind in ("principle", "prefer") else "")


@pytest.mark.parametrize("corruption", RULES)
def test_labels_balance_and_groups_are_of_two(corruption: str) -> None:
    made = questions(BEES._replace(corruption=corruption), random.Random(3), group="g")
    assert {judgement.kind for judgement in made} == set(kinds_for(corruption))
    groups = defaultdict(list)
    for judgement in made:
        groups[judgement.group].append(judgement)
        assert judgement.right != judgement.wrong
        assert judgement.group == f"g-{judgement.kind}"
        assert "\n" not in judgement.instruction
    for first, second in groups.values():
        assert first.instruction != second.instruction
        right = (first.right, second.right)
        match first.kind:
            case "compare" | "prefer":
                assert right == ("A.", "B.")
                assert (
                    quoted(first.instruction).answers == quoted(second.instruction).answers[::-1] == (BEES.good, BEES.corrupted)
                )
            case "rate":
                assert first.right in ("4.", "5.")
                assert second.right in ("1.", "2.")
            case "principle":
                assert right == ("No.", "Yes.")
                assert quoted(first.instruction).rule == RULES[corruption]
            case _:
                assert right == ("Yes.", "No.")
        if first.kind in ("principle", "prefer"):
            assert quoted(first.instruction).rule == RULES[corruption]
        if first.kind not in ("compare", "prefer"):
            assert quoted(first.instruction).answers == (BEES.good,)
            assert quoted(second.instruction).answers == (BEES.corrupted,)


def test_the_right_texts_are_right_and_the_wrong_ones_wrong() -> None:
    for judgement in questions(BEES, random.Random(1), group=""):
        for text, right in ((judgement.right, True), (judgement.wrong, False)):
            if judgement.kind == "rate":
                bounds = {"at_least": 4} if judgement.right in ("4.", "5.") else {"at_most": 2}
                reason = VERIFIERS["rating"](text, judgement.instruction, **bounds)
            else:
                among = ["A", "B"] if judgement.right in ("A.", "B.") else ["Yes", "No"]
                reason = VERIFIERS["label"](text, judgement.instruction, label=judgement.right.strip("."), among=among)
            assert (reason == "") == right


def test_a_rule_is_stated_in_few_words_or_as_the_constitution_has_it() -> None:
    principles = {principle.id: principle.text for principle in load().principles}
    assert set(PRINCIPLES) == set(RULES)
    assert set(PRINCIPLES.values()) <= set(principles)
    rng, rude = random.Random(2), BEES._replace(corruption="rude")
    asked = [j for _ in range(20) for j in questions(rude, rng, group="", kinds=["prefer"], principles=principles)]
    assert {quoted(judgement.instruction).rule for judgement in asked} == {RULES["rude"], principles["be-polite"]}
    assert preference(RULES["rude"], *BEES[:3]) in {
        judgement.instruction for _ in range(60) for judgement in questions(rude, rng, group="", kinds=["prefer"])
    }


def test_phrasings_and_ratings_vary_and_follow_the_seed() -> None:
    def draw(seed: int) -> list[tuple[str, str]]:
        rng = random.Random(seed)
        return [(judgement.instruction, judgement.right) for _ in range(80) for judgement in questions(BEES, rng, group="")]

    assert draw(5) == draw(5) != draw(6)
    assert len({text for text, _ in draw(5)}) == 2 * sum(map(len, PHRASINGS.values()))
    assert {right for _, right in draw(5)} == {"Yes.", "No.", "A.", "B.", "1.", "2.", "4.", "5."}


def test_texts_are_put_on_one_line_and_quotes_become_single() -> None:
    case = Case('Which animal\nsays "oink"?', "A  pig.", "\n\nA cow.\n\nA cow.", "broken_format")
    for judgement in questions(case, random.Random(0), group=""):
        assert quoted(judgement.instruction).question == "Which animal says 'oink'?"
        assert set(quoted(judgement.instruction).answers) <= {"A pig.", "A cow. A cow."}


@pytest.mark.parametrize("case", [BEES._replace(corrupted=" \n"), BEES._replace(good=""), BEES._replace(corrupted="honey. ")])
def test_a_case_without_a_right_label_makes_no_questions(case: Case) -> None:
    assert questions(case, random.Random(0), group="") == []


def test_unknown_corruptions_and_kinds_are_refused() -> None:
    with pytest.raises(KeyError):
        questions(BEES._replace(corruption="typo"), random.Random(0), group="")
    with pytest.raises(KeyError):
        questions(BEES, random.Random(0), group="", kinds=["fun"])
    assert [j.kind for j in questions(BEES, random.Random(0), group="", kinds=["rate"])] == ["rate", "rate"]
    assert kinds_for("wrong_fact") == KINDS
    assert kinds_for("rambling") == ("principle", "rate", "compare", "prefer")


def test_even_lengths_drops_the_surplus_only() -> None:
    longer = [Case(f"q{i}", "a long answer", "short", "refusal") for i in range(9)]
    shorter = [Case(f"r{i}", "short", "a long answer", "rambling") for i in range(4)]
    same = [Case("s", "same", "size", "off_topic")]
    cases = [*longer, *same, *shorter]
    kept = even_lengths(cases, random.Random(0))
    assert Counter(case.question[0] for case in kept) == {"q": 4, "r": 4, "s": 1}
    assert kept == [case for case in cases if case in kept]
    assert even_lengths([], random.Random(0)) == []


def rows(num: int, good: str, bad: str) -> list[Row]:
    """Comparisons in both orders and judgements of both answers, each about another thing."""
    made, rng = [], random.Random(4)
    for i in range(num):
        case = Case(f"What is thing {i}?", f"{good} {i}", f"{bad} {i}", "wrong_fact")
        for judgement in questions(case, rng, group=str(i), kinds=("correct", "compare")):
            made.append(Row(judgement.instruction, judgement.kind, judgement.right.strip("."), judgement.group))
    return made


def test_baselines_find_what_lengths_and_words_give_away() -> None:
    long, words = rows(40, "a long and winding answer with", "so"), rows(40, "red one", "big one")
    same = rows(40, "one", "two")
    for baseline, told in ((length_baseline, long), (bag_of_words_baseline, words)):
        assert baseline(told[:80], told[80:]) == {row.group: True for row in told[80:]}
    right = length_baseline(same[:80], same[80:])
    assert len(right) == 40
    assert sum(right.values()) < 20


def test_a_baseline_without_two_labels_to_learn_is_refused() -> None:
    told = rows(4, "one", "two")
    with pytest.raises(UserError, match="0 labels"):
        length_baseline([row for row in told if row.kind == "compare"], told)
    with pytest.raises(UserError, match="1 labels"):
        bag_of_words_baseline([row for row in told if row.label in ("Yes", "A")], told)
