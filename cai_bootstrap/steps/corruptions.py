"""What is wrong with an answer, made on purpose: the corruptions that judgements of stage 4 are about."""

from __future__ import annotations

import random
from collections.abc import Callable

from cai_bootstrap.steps.kinds import asks_for
from cai_bootstrap.steps.negatives import NEGATIVES, Answer, Sources

_CUT = (0.3, 0.6)
"""Shares of an answer's words that are left where it breaks off and has no word to break off at."""
_NEVER_LAST = frozenset("a an the of in on at to for with from by and or but that which its their his her your is are".split())
"""Words that a sentence never ends in."""
_FEW_WORDS = 4
"""Shorter answers that break off leave nothing."""
_FILLERS = ("well", "so", "you know", "and then", "or was it", "anyway", "I mean", "and so on", "well now", "who knows")
_MARKS = ("[ ]", "##", "???", ") (", "< >", "//", "1)", "***", "[1]", ";;", "--", "{ }")


def _negative(kind: str) -> Callable[[Answer, Sources, random.Random], str]:
    """As the rejected answers of that kind are made."""

    def make(answer: Answer, sources: Sources, rng: random.Random) -> str:
        text, _, origin = NEGATIVES[kind](answer, sources, rng)
        # Where a kind has nothing to work with it gives an answer to something else.
        fell_back = kind != "off_topic" and origin.startswith("answer to") and not origin.endswith("of the same kind")
        return "" if fell_back else text.strip()

    return make


def _wrong_fact(answer: Answer, sources: Sources, rng: random.Random) -> str:
    return _negative("factual")(answer, sources, rng) if asks_for(answer.kind) in ("answer", "complete") else ""


def _incomplete(answer: Answer, sources: Sources, rng: random.Random) -> str:
    words = answer.text.split()
    if len(words) < _FEW_WORDS:
        return ""
    # Else «It bears a hard, twisted house», the beginning of a sentence, may be as good an answer as the whole.
    ends = [i for i, word in enumerate(words[:-1], 1) if word.lower() in _NEVER_LAST]
    return " ".join(words[: rng.choice(ends) if ends else max(1, int(rng.choice(_CUT) * len(words)))])


def _rambling(answer: Answer, sources: Sources, rng: random.Random) -> str:
    """The answer's first word, then pieces of other answers with fillers between them."""
    pieces = [answer.text.split()[0]]
    for _ in range(rng.randint(2, 3)):
        words = rng.choice(sources.rows).text.rstrip(".!?").split()
        start = rng.randrange(max(1, len(words) - 2))
        pieces += [rng.choice(_FILLERS), " ".join(words[start : start + 3]).lower()]
    return ", ".join(pieces).rstrip(",") + rng.choice((".", "?", " ..."))


def _broken_format(answer: Answer, sources: Sources, rng: random.Random) -> str:
    """Words torn apart, with stray marks between them."""
    pieces = []
    for word in answer.text.rstrip(".!?").split():
        cut = rng.randint(1, max(1, len(word) - 1))
        pieces += [rng.choice(_MARKS), f"{word[:cut]} {word[cut:]}" if rng.random() < 0.5 else word]
    return " ".join([*pieces, rng.choice(_MARKS)])


CORRUPTIONS: dict[str, Callable[[Answer, Sources, random.Random], str]] = {
    "wrong_fact": _wrong_fact,
    "off_topic": _negative("off_topic"),
    "echo": _negative("echo"),
    "refusal": _negative("refusal"),
    "incomplete": _incomplete,
    "rambling": _rambling,
    "broken_format": _broken_format,
}
"""By its name what makes an answer wrong in that way; empty where the answer does not lend itself to it."""
