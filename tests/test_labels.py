"""The verifiers of judgements: labels and ratings, said plainly and in other words, left open, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_bootstrap.evals import verifiers
from cai_bootstrap.evals.labels import label, rating

CORRECT = 'Is "Honey." a correct answer to "What do bees make?"?'
BETTER = 'Which is the better answer to "What do bees make?", A: "Honey." or B: "Sand."?'
RATE = 'From 1 for bad to 5 for good, how good is "Honey." as an answer to "What do bees make?"?'
ASKED = {"Yes": (CORRECT, ["Yes", "No"]), "No": (CORRECT, ["Yes", "No"]), "A": (BETTER, ["A", "B"]), "B": (BETTER, ["A", "B"])}

SAID = [
    ("Yes", "Yes."),
    ("Yes", " yes "),
    ("Yes", "**Yes**"),
    ("Yes", "Yes, it is a correct answer."),
    ("Yes", "Yes it is"),
    ("Yes", "Yes, because bees make honey, no sand."),
    ("Yes", "Well, yes."),
    ("Yes", "I think yes."),
    ("Yes", "The answer is: yes"),
    ("Yes", "Answer: Yes"),
    ("Yes", "It is."),
    ("Yes", "Yes. No bee makes sand."),
    ("Yes", f"{CORRECT} Yes."),
    ("Yes", f"Yes. {CORRECT} No."),
    ("No", "No"),
    ("No", "Nope."),
    ("No", "No, it is not."),
    ("No", "No it isn't, yes would be wrong."),
    ("No", "It isn't."),
    ("No", "That is not."),
    ("No", "No\nThe bees are busy."),
    ("A", "A"),
    ("A", "a."),
    ("A", "A."),
    ("A", "(A)"),
    ("A", "A) Honey."),
    ("A", "Answer A."),
    ("A", "Option A is better."),
    ("A", "The better answer is A."),
    ("A", 'The better answer to "What do bees make?" is A: "Honey."'),
    ("A", "A: Honey."),
    ("A", "A is better than B."),
    ("A", "A, not B."),
    ("A", "A because B is wrong."),
    ("A", "I would choose A, since bees make honey."),
    ("A", f"A. {BETTER}"),
    ("B", "B"),
    ("B", "It's B."),
    ("B", "B is the better answer."),
    ("B", "My answer is B, for A is not true."),
]
NOT_SAID = [
    ("Yes", "", "empty"),
    ("Yes", "...", "empty"),
    ("Yes", CORRECT, "echo"),
    ("Yes", "Honey.", "no label"),
    ("Yes", "It is honey.", "no label"),
    ("Yes", "I do not know.", "refuses"),
    ("Yes", "Yes, but I can't answer that.", "refuses"),
    ("No", "No, I cannot say.", "refuses"),
    ("Yes", "Yes and no.", "no as well"),
    ("Yes", "Yes or no?", "no as well"),
    ("Yes", "Yes, no.", "no as well"),
    ("Yes", "Yes/No", "no as well"),
    ("Yes", "Yes. No.", "no as well"),
    ("Yes", "Yes\nNo\nYes", "no as well"),
    ("Yes", "No. Yes.", "says No"),
    ("Yes", "Yes yes yes yes", "loops"),
    ("No", "No bee makes sand.", "no label"),
    ("No", "No one knows.", "no label"),
    ("No", "Yes, it is not wrong.", "says Yes"),
    ("No", "Note that bees make honey.", "no label"),
    ("Yes", "Yesterday they made honey.", "no label"),
    ("Yes", "The bees say yes.", "no label"),
    ("A", "A bee makes honey.", "no label"),
    ("A", "A good answer.", "no label"),
    ("A", "An answer.", "no label"),
    ("A", "Honey.", "no label"),
    ("A", "A or B", "B as well"),
    ("A", "A and B are both good.", "B as well"),
    ("A", "A, B", "B as well"),
    ("A", "A: Honey. B: Sand.", "B as well"),
    ("A", 'A: "Honey." or B: "Sand."?', "B as well"),
    ("A", "A is good or B", "B as well"),
    ("A", "A is as good as B.", "leaves it open"),
    ("A", "Both A and B.", "no label"),
    ("A", "Neither.", "no label"),
    ("A", BETTER, "echo"),
    ("A", "A-flat is a note.", "no label"),
    ("B", "A: Honey.", "says A"),
    ("B", "Because of the bees.", "no label"),
    ("B", "Bees make honey.", "no label"),
]
RATED = [
    (4, "4"),
    (4, "4."),
    (4, "Four"),
    (4, "4/5"),
    (4, "4 out of 5 stars."),
    (4, "I would give it a 4."),
    (4, "I'd rate this answer 4 points, as it is right."),
    (4, "Rating: 4"),
    (4, "4 because bees make honey."),
    (4, f"{RATE} 4"),
    (4, "4\nThe children play."),
    (4.5, "4.5"),
    (1, "1"),
    (2, "a two."),
    (5, "5 - it is right"),
]
NOT_RATED = [
    "",
    RATE,
    "Honey.",
    "I do not know.",
    "good",
    "1 to 5",
    "From 1 to 5",
    "1 for bad to 5 for good",
    "4 or 2",
    "5, 4, 3, 2, 1",
    "5. 1.",
    "1. Honey. 2. Sand.",
    "6",
    "0",
    "100",
    "4 bees make honey.",
    "One says honey.",
    "There are 4 bees.",
    "5 5 5 5",
]


@pytest.mark.parametrize(("right", "answer"), SAID)
def test_a_label_is_read_in_many_ways(right: str, answer: str) -> None:
    instruction, among = ASKED[right]
    assert label(answer, instruction, label=right, among=among) == ""
    other = next(name for name in among if name != right)
    assert label(answer, instruction, label=other, among=among) == f"says {right}"


@pytest.mark.parametrize(("right", "answer", "reason"), NOT_SAID)
def test_what_is_no_label_or_another_one(right: str, answer: str, reason: str) -> None:
    instruction, among = ASKED[right]
    assert reason.lower() in label(answer, instruction, label=right, among=among).lower()


@pytest.mark.parametrize(("value", "answer"), RATED)
def test_a_rating_is_read_in_many_ways(value: float, answer: str) -> None:
    assert rating(answer, RATE, at_least=value) == rating(answer, RATE, at_most=value) == ""
    assert "too low" in rating(answer, RATE, at_least=value + 0.5)
    assert "too high" in rating(answer, RATE, at_most=value - 0.5)


@pytest.mark.parametrize("answer", NOT_RATED)
def test_what_is_no_rating(answer: str) -> None:
    assert rating(answer, RATE) != ""


@given(st.text(max_size=40), st.sampled_from(["", "A", "Yes", "No,", "4", "4 or", '"B']))
def test_no_text_breaks_them(text: str, start: str) -> None:
    assert isinstance(label(f"{start} {text}", BETTER, label="A", among=["A", "B"]), str)
    assert isinstance(label(f"{start} {text}", CORRECT, label="No", among=["Yes", "No"]), str)
    assert isinstance(rating(f"{start} {text}", RATE, at_least=4), str)


def test_they_are_registered() -> None:
    assert verifiers.VERIFIERS["label"] is label
    assert verifiers.VERIFIERS["rating"] is rating
