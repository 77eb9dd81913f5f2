"""What pairs reject: the base model's own habits, and hard negatives made from other answers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cai_bootstrap import templates
from cai_bootstrap.evals import english, forms, messages
from cai_bootstrap.records import Prompt, form_of
from cai_bootstrap.steps.duplicates import content_words
from cai_bootstrap.steps.filter import unfit_text
from cai_bootstrap.steps.judge import answer_key
from cai_bootstrap.steps.kinds import WRITTEN, asks_for, body

MAX_TRIES = 20
"""Draws for a negative that differs from the chosen answer."""


_MIN_SENTENCE = 4
"""Words from which an answer is a sentence."""


class Answer(NamedTuple):
    """A selected answer, as much of it as negatives are made from: all of them are in memory at once."""

    prompt_id: str
    kind: str
    instruction: str
    text: str
    score: float
    wrong: tuple[tuple[str, str, bool], ...] = ()
    """(text, what is wrong with it, whether EOS is taught after it): what a step before made to be rejected."""
    form: str = ""
    """The list that its instruction was made from; of a message, its sort."""

    @classmethod
    def of(cls, row: dict[str, Any]) -> Answer:
        """A kept, constructed or revised row as an answer."""
        wrong = tuple((text, reason, eos) for text, reason, eos in row.get("wrong", ()))
        form = form_of(row.get("instruction_source", ""))
        return cls(row["prompt_id"], row["kind"], row["instruction"], row["text"], row["score"], wrong, form)


class Written(NamedTuple):
    """What the model wrote to be rejected."""

    text: str
    finish: str
    seed: int


def is_worse(made: Written, answer: Answer) -> bool:
    """Whether what the model writes by itself is surely worse than the chosen answer, so that it may be rejected.

    It does not end, or has not the form that was asked for. A trained parent often writes as good an answer as the chosen
    one: rejecting that would teach nothing but noise.
    """
    if made.finish != "eos":
        return True
    if answer.wrong:
        return False  # what is wrong with such tasks is known already
    text = made.text.strip()
    if unfit_text(text, Prompt(id=answer.prompt_id, kind=answer.kind, instruction=answer.instruction, source="")):
        return True
    return answer.kind in WRITTEN and bool(forms.on_type(answer.instruction, text))


class Sources:
    """What rejected answers are made from. Other rows are drawn by place, never searched: a search per pair is quadratic."""

    def __init__(
        self,
        rows: Sequence[Answer],
        zero_shot: dict[str, Written],
        run_on: dict[str, Written],
        refusals: Sequence[str],
    ) -> None:
        self.rows, self.zero_shot, self.run_on, self.refusals = rows, zero_shot, run_on, refusals
        self.num_kinds = len({row.kind for row in rows})
        self._by_size: dict[tuple[str, int], list[Answer]] = {}
        self._replies: dict[str, list[Answer]] = {}
        for row in rows:
            self._by_size.setdefault((row.kind, len(row.text.split())), []).append(row)
            if asks_for(row.kind) == "respond":
                self._replies.setdefault(row.form, []).append(row)

    def of_another_kind(self, kind: str, rng: random.Random) -> Answer:
        """A row of another kind, or any where there is only one."""
        row = rng.choice(self.rows)
        while self.num_kinds > 1 and row.kind == kind:
            row = rng.choice(self.rows)
        return row

    def like(self, row: Answer, rng: random.Random) -> Answer | None:
        """A row of the same kind with another answer, at most a word longer or shorter; None when some draws find none."""
        size, key = len(row.text.split()), answer_key(row.text, row.instruction)
        alike = [self._by_size.get((row.kind, near), []) for near in (size - 1, size, size + 1)]
        weights = list(map(len, alike))
        for _ in range(MAX_TRIES):
            other = rng.choice(rng.choices(alike, weights)[0])  # never empty: `row` itself is in one of them
            if other.text != row.text and answer_key(other.text, other.instruction) != key:
                return other
        return None

    def to_another_sort(self, sort: str, rng: random.Random) -> Answer | None:
        """A reply to a message of a sort whose replies do not fit this one, all such sorts alike; None where there is none."""
        others = [replies for other, replies in self._replies.items() if messages.differ(sort, other)]
        return rng.choice(rng.choice(others)) if others else None


Negative = tuple[str, bool, str]
"""(text, whether EOS is taught after it, where it came from)."""


def _zero_shot(row: Answer, sources: Sources, rng: random.Random) -> Negative:
    made = sources.zero_shot[row.prompt_id]
    return made.text.rstrip(), made.finish == "eos", f"zero-shot, seed {made.seed}"


def _off_topic(row: Answer, sources: Sources, rng: random.Random) -> Negative:
    other = sources.of_another_kind(row.kind, rng)
    return templates.response(other.text), True, f"answer to {other.prompt_id}"


def _factual(row: Answer, sources: Sources, rng: random.Random) -> Negative:
    """Another number in place of a number, or another answer of the same kind and nearly the same length."""
    number = re.search(r"\d+", row.text)
    if number:
        value = int(number.group())
        changed = value + rng.choice([d for d in (-3, -2, -1, 1, 2, 3) if value + d >= 0])
        text = row.text[: number.start()] + str(changed) + row.text[number.end() :]
        return templates.response(text), True, f"number {value} → {changed}"
    return _twin(row, sources, rng)


def _twin(row: Answer, sources: Sources, rng: random.Random) -> Negative:
    """What answers another instruction of the same kind: of the right type, about something else, and said already."""
    other = sources.like(row, rng)
    if other is None:
        return _off_topic(row, sources, rng)
    return templates.response(other.text), True, f"answer to {other.prompt_id} of the same kind"


def _misplaced(row: Answer, sources: Sources, rng: random.Random) -> Negative:
    """A good reply to a message of another sort: «That's wonderful!» to bad news."""
    other = sources.to_another_sort(row.form, rng)
    if other is None:
        return _off_topic(row, sources, rng)
    return templates.response(other.text), True, f"reply to {other.prompt_id}, {other.form}"


def _rambling(row: Answer, sources: Sources, rng: random.Random) -> Negative:
    made = sources.run_on[row.prompt_id]
    text = templates.response(row.text) + made.text.rstrip()
    return text, made.finish == "eos", f"run-on, seed {made.seed}"


def _broken_format(row: Answer, sources: Sources, rng: random.Random) -> Negative:
    text, instruction = row.text, row.instruction
    broken = rng.choice(
        [
            f" {instruction}\nResponse: {text}",
            f" {text}\nInstruction: {rng.choice(sources.rows).instruction}",
            f"\n\n{text}\n\n{text}",
            f" Response: Response: {text}",
            f" {instruction} {instruction}",
        ]
    )
    return broken, True, "format broken on purpose"


def _refusal(row: Answer, sources: Sources, rng: random.Random) -> Negative:
    return templates.response(rng.choice(sources.refusals)), True, "refusal sampled from the base model"


def _echo(row: Answer, sources: Sources, rng: random.Random) -> Negative:
    """A word of the instruction in place of an answer («Complete the pair: knife and» → «knife»), the message itself, or in
    place of a sentence one that says nothing («A rose is a rose.»)."""
    told, asked = body(row.kind, row.instruction), asks_for(row.kind)
    if asked == "respond":
        return templates.response(told), True, "the message itself"
    said = set(english.words(row.text))
    words = [word for word in re.findall(r"[A-Za-z]+|\d+", told) if content_words(word)]
    if asked != "generate":
        words = [word for word in words if not said & set(english.words(word))]
    if not words:
        return _off_topic(row, sources, rng)
    if asked == "generate" and len(row.text.split()) >= _MIN_SENTENCE:
        return templates.response(_tautology(words[-1].lower())), True, "a tautology"
    end = "." if row.text.endswith(".") else ""
    return templates.response(words[-1] + end), True, "a word of the instruction"


def _tautology(word: str) -> str:
    if word.endswith("s") and english.singular(word) != word:
        return f"{word.capitalize()} are {word}."
    article = "an" if word[0] in "aeiou" else "a"
    return f"{article.capitalize()} {word} is {article} {word}."


def _wrong(row: Answer, sources: Sources, rng: random.Random) -> Negative:
    text, reason, eos = rng.choice(row.wrong)
    return templates.response(text), eos, reason


NEGATIVES: dict[str, Callable[[Answer, Sources, random.Random], Negative]] = {
    "zero_shot": _zero_shot,
    "off_topic": _off_topic,
    "factual": _factual,
    "twin": _twin,
    "misplaced": _misplaced,
    "rambling": _rambling,
    "broken_format": _broken_format,
    "refusal": _refusal,
    "echo": _echo,
    "wrong": _wrong,
}
