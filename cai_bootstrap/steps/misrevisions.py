"""Wrong revisions of a flawed sentence: what a preference pair rejects."""

from __future__ import annotations

import random

from cai_bootstrap.steps.flawed import Flawed, capitalised
from cai_bootstrap.steps.flaws import FLAWS, flawed, other_dodge
from cai_bootstrap.steps.unclear import padded

_NUM_TRIES = 12
_KEPT = ("unchanged", "other_flaw")
"""Kinds that come first when one side has too many."""


def negatives(made: Flawed, rng: random.Random) -> list[tuple[str, str]]:
    """Wrong revisions as (text, kind), each wrong by `made.problem`, none twice, as many longer than the right one as shorter.

    Kinds: `unchanged` (the draft), `other_flaw` (this flaw fixed, another put in; of an answer: dodged in another way),
    `content_lost`, `padded` (longer by filler), `echo` (the whole instruction), `request` (only what was asked for, repeated).
    """
    found: dict[str, str] = {}
    for text, kind in _candidates(made, rng):
        if text and text != made.revised and made.problem(text):
            found.setdefault(text, kind)
    size = len(made.revised)
    longer = [entry for entry in found.items() if len(entry[0]) > size]
    shorter = [entry for entry in found.items() if len(entry[0]) < size]
    for side in (longer, shorter):
        rng.shuffle(side)
        side.sort(key=lambda entry: entry[1] not in _KEPT)  # stable: chance orders the rest
    num = min(len(longer), len(shorter))
    same = [entry for entry in found.items() if len(entry[0]) == size]
    return [*same, *longer[:num], *shorter[:num]]


def _candidates(made: Flawed, rng: random.Random) -> list[tuple[str, str]]:
    """Texts that may be wrong revisions, the draft first."""
    texts = [(made.draft, "unchanged")]
    if made.kind == "helpful":
        texts += [(other_dodge(made.draft, rng), "other_flaw") for _ in range(3)]
        texts += [(padded(made.draft, rng)[0], "padded"), (padded(padded(made.draft, rng)[0], rng)[0], "padded")]
    else:
        texts += [(_with_another_flaw(made, rng), "other_flaw") for _ in range(2)]
        texts += [(padded(made.revised, rng)[0], "padded") for _ in range(2)]
    texts += [(text, "content_lost") for text in _cut_short(made.revised)]
    request = made.request if made.kind == "helpful" else f"{capitalised(made.request)}."
    return [*texts, (made.instruction, "echo"), (request, "request")]


def _with_another_flaw(made: Flawed, rng: random.Random) -> str:
    """The right revision with a flaw of another family, "" where none could be put in."""
    if made.revised.isupper():
        words = made.revised.split()  # begun and not ended
        return " ".join([*words[:2], *(word.lower() for word in words[2:])])
    for _ in range(_NUM_TRIES):
        family = rng.choice([family for family in FLAWS["fix"] if family != made.family])
        other = flawed("fix", family, made.revised, rng)
        if other is not None and other.revised == made.revised:  # one in the wrong tense says when, too
            return other.draft
    return ""


def _cut_short(sentence: str) -> list[str]:
    """The sentence without its second half and without its first, as sentences."""
    words, mark = sentence[:-1].split(), sentence[-1]
    half = max(1, len(words) // 2)
    head, tail = " ".join(words[:half]).rstrip(","), " ".join(words[half:])
    return [f"{head}{mark}", f"{capitalised(tail)}{mark}"] if len(words) > 1 else []
