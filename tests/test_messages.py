"""Which sort a message is of, and that replies are written after worked examples of their sort."""

from __future__ import annotations

import pytest

from cai_bootstrap.evals.messages import FORMS, sort_of
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.generate import ByKind, shots_of
from cai_bootstrap.steps.kinds import body

SEEDS = [("explicit", "respond"), ("implicit", "opener")]


@pytest.mark.parametrize(
    ("message", "supposed", "sort"),
    [
        ("Thanks for the cake!", "greeting", "thanks"),
        ("Good evening, Mr Hill.", "greeting", "greeting"),
        ("Have a nice evening!", "greeting", "farewell"),
        ("Sorry that I broke your cup.", "bad_news", "apology"),
        ("How was your holiday?", "good_news", "how_are_you"),
        ("May I sit down?", "offers", "offers"),
        ("I wonder why the sea is salty.", "needs", "wonder"),
        ("I passed my exam!", "good_news", "good_news"),
        ("I have lost my purse.", "good_news", ""),
        ("I am happy.", "bad_news", ""),
        ("I have lost my purse.", "bad_news", "bad_news"),
        ("You are a good sport.", "greeting", ""),
        ("It is dark in here.", "needs", "needs"),
        ("Is it dark in here?", "needs", ""),
        ("You are a good sport.", "riddle", "riddle"),
    ],
)
def test_words_tell_the_sort_of_a_message(message: str, supposed: str, sort: str) -> None:
    assert sort_of(message, supposed) == sort


@pytest.mark.parametrize(("pool", "kind"), SEEDS)
def test_the_seeds_and_worked_examples_of_a_form_are_of_its_sort(pool: str, kind: str) -> None:
    seeds = load_seeds(pool)
    forms = seeds["instructions"][kind]
    assert set(forms) <= set(FORMS)
    texts = {form: [*forms[form], *(asked for asked, _ in seeds["examples"][f"{kind} {form}"])] for form in forms}
    wrong = [(form, text) for form, of in texts.items() for text in of if sort_of(body(kind, text), form) != form]
    assert wrong == []


@pytest.mark.parametrize(("pool", "kind"), SEEDS)
def test_a_forms_replies_share_few_openings_and_none_is_said_twice(pool: str, kind: str) -> None:
    examples = {name: given_ for name, given_ in load_seeds(pool)["examples"].items() if name.startswith(f"{kind} ")}
    replies = [reply for of in examples.values() for _, reply in of]
    assert len(set(replies)) == len(replies)
    for name, of in examples.items():
        openings = {" ".join(reply.split()[:2]) for _, reply in of}
        assert len(of) >= 10, name
        assert name.endswith(("wonder", "how_are_you", "needs")) or len(openings) <= 5, (name, openings)


def test_worked_examples_of_the_form_come_before_those_of_the_kind() -> None:
    shots = {"a": [["Q", "A"]]}
    examples: ByKind = {
        "respond": [["M", "R"], ["N", "S"]],
        "respond thanks": [["Thanks!", "Welcome."], ["Thank you.", "Bye."]],
    }
    of_form = shots_of("respond", shots, examples, True, "thanks")
    assert of_form == {
        "forwards": [["Thanks!", "Welcome."], ["Thank you.", "Bye."]],
        "backwards": [["Thank you.", "Bye."], ["Thanks!", "Welcome."]],
    }
    assert shots_of("respond", shots, examples, True, "offers") == {**shots_of("respond", shots, examples), "own": []}
