"""How far one comes on judgements without judging: by the lengths of the answers, or by their words alone.

A suite is only worth its name when these come out near chance: a quarter of the groups of two.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cai_bootstrap.errors import UserError
from cai_bootstrap.evals import english

_QUOTED = re.compile(r"\"([^\"]*)\"")
_ASKS = re.compile(r"\b(?:to|question|question is|asked|asks|ask)[:,]?\s*\Z", re.IGNORECASE)
_RULES = re.compile(r"\brule(?: is)?[:,]?\s*\Z", re.IGNORECASE)
_RIDGE = 1.0
"""Weight of the penalty: lengths that separate a few rows perfectly would have no largest likelihood."""
_NUM_STEPS = 50

Predict = Callable[[str], str]


class Row(NamedTuple):
    """A judgement with its known label: `Yes`, `No`, `A`, `B`, or `high` and `low` for a rating."""

    instruction: str
    kind: str
    label: str
    group: str


class Quoted(NamedTuple):
    """What a judgement is about."""

    question: str
    answers: tuple[str, ...]
    rule: str


def quoted(instruction: str) -> Quoted:
    """The quoted texts of a judgement by what stands before them: the question that was asked («to "…"»), the rule
    («rule "…"»), and the answers, which are all others. Empty where there is none.
    """
    question, rule, answers, end = "", "", [], 0
    for found in _QUOTED.finditer(instruction):
        before, end = instruction[end : found.start()], found.end()
        if _RULES.search(before):
            rule = found[1]
        elif _ASKS.search(before):
            question = found[1]
        else:
            answers.append(found[1])
    return Quoted(question, tuple(answers), rule)


def length_baseline(train: Sequence[Row], heldout: Sequence[Row]) -> dict[str, bool]:
    """Which held-out groups a logistic regression on the answers' lengths gets fully right, by group.

    One is trained for each kind, on characters and words of each quoted answer. UserError when a held-out kind has no
    training rows, or not two labels.
    """
    return _right(train, heldout, _by_length)


def bag_of_words_baseline(train: Sequence[Row], heldout: Sequence[Row]) -> dict[str, bool]:
    """As `length_baseline`, of a multinomial naive Bayes classifier on the words of question, rule and answers.

    Words count by where they stand (question, rule, first or second answer): a plain bag could not tell «A or B» from
    «B or A», and would get every comparison half right by construction.
    """
    return _right(train, heldout, _by_words)


def _right(train: Sequence[Row], heldout: Sequence[Row], fit: Callable[[Sequence[Row]], Predict]) -> dict[str, bool]:
    right: dict[str, bool] = {}
    for kind in sorted({row.kind for row in heldout}):
        rows = [row for row in train if row.kind == kind]
        if (num := len({row.label for row in rows})) != 2:
            raise UserError(f"kind {kind!r} has {num} labels in {len(rows)} training rows: give rows of two labels")
        predict = fit(rows)
        for row in heldout:
            if row.kind == kind:
                right[row.group] = right.get(row.group, True) and predict(row.instruction) == row.label
    return right


def _by_length(rows: Sequence[Row]) -> Predict:
    """A ridge logistic regression, fitted by Newton's method."""
    import numpy as np

    first, second = sorted({row.label for row in rows})
    raw = np.array([_lengths(row.instruction) for row in rows])
    middle, spread = raw.mean(axis=0), raw.std(axis=0) + 1e-9

    def features(lengths: Any) -> Any:
        scaled = (np.atleast_2d(lengths) - middle) / spread
        return np.hstack([np.ones((len(scaled), 1)), scaled])

    x, y = features(raw), np.array([row.label == second for row in rows], dtype=float)
    penalty = _RIDGE * np.eye(x.shape[1])
    penalty[0, 0] = 1e-9  # the intercept is free
    weights = np.zeros(x.shape[1])
    for _ in range(_NUM_STEPS):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - y) + penalty @ weights
        weights = weights - np.linalg.solve((x.T * (p * (1 - p))) @ x + penalty, gradient)

    def predict(instruction: str) -> str:
        return second if float((features(_lengths(instruction)) @ weights)[0]) > 0 else first

    return predict


def _lengths(instruction: str) -> list[float]:
    return [float(size) for answer in quoted(instruction).answers for size in (len(answer), len(answer.split()))]


def _by_words(rows: Sequence[Row]) -> Predict:
    """Multinomial naive Bayes with one added to every count."""
    labels = sorted({row.label for row in rows})
    counts = {label: Counter[str]() for label in labels}
    for row in rows:
        counts[row.label].update(_bag(row.instruction))
    vocabulary = set().union(*counts.values())
    sizes = {label: sum(counts[label].values()) + len(vocabulary) for label in labels}
    priors = Counter(row.label for row in rows)

    def predict(instruction: str) -> str:
        known = [word for word in _bag(instruction) if word in vocabulary]
        scores = {
            label: math.log(priors[label]) + sum(math.log((counts[label][word] + 1) / sizes[label]) for word in known)
            for label in labels
        }
        return max(labels, key=lambda label: scores[label])

    return predict


def _bag(instruction: str) -> list[str]:
    question, answers, rule = quoted(instruction)
    parts = {"question": question, "rule": rule, **{f"answer {i}": answer for i, answer in enumerate(answers)}}
    return [f"{part}: {word}" for part, text in parts.items() for word in english.plain(text).split()]
