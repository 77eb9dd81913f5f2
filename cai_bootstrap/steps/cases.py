"""Cases to judge: a question, a good answer and one with a known fault, out of what stages kept and of committed ones.

A small model's own answers to questions are right about half of the time. So the committed cases are what tells right from
wrong; kept answers give what does not depend on it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cai_bootstrap.evals import english
from cai_bootstrap.steps import judgements
from cai_bootstrap.steps.corruptions import CORRUPTIONS
from cai_bootstrap.steps.judgements import Case
from cai_bootstrap.steps.negatives import Answer, Sources

_OF_CONDUCT = ("principle", "prefer")
"""Kinds of judge questions that name a rule: the only ones in which conduct is asked for."""


class Asked(NamedTuple):
    """A case, what is recorded of the answer in it, and the kinds of questions that may be asked of it."""

    row: dict[str, Any]
    case: Case
    kinds: tuple[str, ...]


class WorkedCase(NamedTuple):
    """A committed case: a question, and in a few words and as a sentence a right answer and a wrong one; and an echo."""

    question: str
    short: str
    long: str
    wrong_short: str
    wrong_long: str
    echo: str


def of_answers(
    rows: Sequence[dict[str, Any]], sources: Sources, num_per_answer: int, kinds: Collection[str], rng: random.Random
) -> Iterator[Asked]:
    """Each kept answer with up to `num_per_answer` of its corruptions, whose kinds come in turn; of `kinds` what fits these."""
    turns = itertools.cycle(CORRUPTIONS)
    for row, answer in zip(rows, sources.rows, strict=True):
        made = 0
        for corruption in itertools.islice(turns, len(CORRUPTIONS)):
            text = CORRUPTIONS[corruption](answer, sources, rng)
            if text and english.plain(text) != english.plain(answer.text):
                fitting = tuple(kind for kind in judgements.kinds_for(corruption) if kind in kinds)
                yield Asked(row, Case(answer.instruction, answer.text, text, corruption), fitting)
                made += 1
            if made == num_per_answer:
                break


def of_conduct(cases: Mapping[str, Sequence[Sequence[str]]]) -> Iterator[Asked]:
    """The committed cases by rule, [question, good answer, bad one]: no corruption of an honest answer shows them."""
    for corruption, principle in judgements.PRINCIPLES.items():
        for number, (question, good, bad) in enumerate(cases.get(corruption, ())):
            row = _committed(f"conduct-{corruption}-{number}", principle)
            yield Asked(row, Case(question, good, bad, corruption), (_OF_CONDUCT[number % len(_OF_CONDUCT)],))


def of_worked(
    worked: Sequence[Sequence[str]], refusals: Sequence[str], num_per_case: int, rng: random.Random
) -> Iterator[Asked]:
    """The committed cases, each with `num_per_case` different faults, which come in turn; answers of both lengths."""
    cases = [WorkedCase(*fields) for fields in worked]
    answers = [
        Answer(f"worked-{number}", "answer", case.question, rng.choice((case.short, case.long)), 0.0)
        for number, case in enumerate(cases)
    ]
    sources = Sources(rows=answers, zero_shot={}, run_on={}, refusals=refusals)
    turns = itertools.cycle(CORRUPTIONS)
    for number, case in enumerate(cases):
        for corruption in itertools.islice(turns, min(num_per_case, len(CORRUPTIONS))):
            good = rng.choice((case.short, case.long))
            bad = _FAULTS[corruption](case, sources, rng)
            if english.plain(bad) not in map(english.plain, ("", case.short, case.long)):
                row = _committed(f"worked-{number}", None)
                yield Asked(row, Case(case.question, good, bad, corruption), judgements.kinds_for(corruption))


def as_answers(worked: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """The right sentences of the committed cases, as rows of kept answers to their questions."""
    cases = [WorkedCase(*fields) for fields in worked]
    return [
        {**_committed(f"worked-{number}", None), "kind": "answer", "instruction": case.question, "text": case.long}
        for number, case in enumerate(cases)
    ]


def as_texts(sentences: Sequence[str]) -> list[dict[str, Any]]:
    """Committed sentences as rows of kept answers that nobody asked for."""
    return [
        {**_committed(f"sentence-{number}", None), "kind": "generate", "instruction": "", "text": sentence}
        for number, sentence in enumerate(sentences)
    ]


def _other_answer(case: WorkedCase, sources: Sources, rng: random.Random) -> str:
    other = rng.choice(sources.rows)
    return other.text if other.instruction != case.question else ""


def _corrupted(name: str) -> Callable[[WorkedCase, Sources, random.Random], str]:
    def make(case: WorkedCase, sources: Sources, rng: random.Random) -> str:
        return CORRUPTIONS[name](Answer("", "answer", case.question, case.long, 0.0), sources, rng)

    return make


_FAULTS: dict[str, Callable[[WorkedCase, Sources, random.Random], str]] = {
    **{name: _corrupted(name) for name in ("incomplete", "rambling", "broken_format")},
    "wrong_fact": lambda case, _, rng: rng.choice((case.wrong_short, case.wrong_long)),
    "echo": lambda case, _, rng: case.echo,
    "off_topic": _other_answer,
    "refusal": lambda _, sources, rng: rng.choice(sources.refusals),
}


def _committed(prompt_id: str, principle: str | None) -> dict[str, Any]:
    """What a kept answer would record, of a committed text."""
    return {
        "prompt_id": prompt_id,
        "instruction_source": "worked example",
        "selection": "worked example",
        "score": 0.0,
        "scores": {},
        "principle": principle,
        "completion_seed": None,
        "rendered_prompt": None,
    }
