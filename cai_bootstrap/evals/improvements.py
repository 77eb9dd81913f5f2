"""Verifiers of revisions: whether a text is a better one than the draft, in the way that was asked for.

A revision is right when the flaw is gone, what the flaw hid is there, and the rest is still said. It is measured against
right revisions written by hand («goals»): an answer need not be one of them, only near one. Length decides nothing: a
shorter text fails by what it lost, a longer one by what it added.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Sequence

from cai_bootstrap.evals import english

_MIN_KEPT = 0.75
"""Share of a goal's content words that must be said. Short sentences have up to four, of which one may be put in another word
(«large» for «big»); two lost ones out of four make another sentence."""
_MIN_NEAR = 0.7
"""Share of the words that answer and goal have in common in the same order, as 2·common / (both lengths): 0.8 when one
word in five is another or two come to five, 0.3 to 0.6 for garbled sentences."""
_MIN_BESIDE = 0.75
"""The like share of pairs of neighbouring words, which stays high when a whole part moves («today» to the front)."""
_MISSPELT = 0.72
"""Likeness (difflib) from which a new word is a lost one spelt wrongly: «sofa» and «sofaa» 0.89, «sofa» and «couch» 0.2."""

_THE = "the"
_OWNERS = frozenset("my your his her our their".split())
_NEGATED = {"cant": "can not", "cannot": "can not", "wont": "will not", "shant": "shall not"} | {
    f"{word}nt": f"{word} not" for word in "is are was were do does did has have had could would should must need".split()
}
"""Contractions without apostrophes, as `english.plain` writes them."""
_SHORT = (
    (re.compile(r"\b(it|he|she|that|there|what|where|who|here)['’]s\b", re.IGNORECASE), r"\1 is"),
    (re.compile(r"(?<=\w)['’]re\b"), " are"),
    (re.compile(r"(?<=\w)['’]ll\b"), " will"),
    (re.compile(r"(?<=\w)['’]ve\b"), " have"),
    (re.compile(r"\bI['’]m\b"), "I am"),
)
SMALL_WORDS = frozenset(
    "the and or but so if in on at to of for with by from as that this it he she they we you i his her their our my your is "
    "are was were be been am do does did has have had will would can could not no there then when who which what because very "
    "really him them us me just too also please".split()
)
"""Words that carry little of what a sentence says; they count for the order, not for what must be kept."""
FILLERS = (
    "um", "uh", "er", "basically", "you know", "i mean", "sort of", "kind of", "to be honest", "so to speak",
    "as a matter of fact", "more or less", "at the end of the day", "needless to say", "to tell the truth", "the thing is",
)  # fmt: skip
"""What says nothing. A revision may not bring one in, however short it is."""
_NOT = frozenset(("no", "not", "never"))
_ENDINGS = ("ies", "ied", "ing", "es", "ed", "s", "e", "y")
_LEAD_IN = re.compile(
    r"\A(?:(?:sure|ok|okay|of course|certainly|yes)[.,!:]\s+)?"
    r"(?:(?:here is|here's|this is) [^:\"]{0,40}:\s*|(?:the )?(?:(?:revised|corrected|correct|fixed|better|clearer|new)"
    r"(?: sentence| version| answer| text)?|revision|correction)(?: is)?:\s*)?",
    re.IGNORECASE,
)
_QUOTES = "\"'“”‘’«» \t\n"


def revised(
    answer: str,
    instruction: str,
    *,
    draft: str,
    goals: Sequence[str],
    gone: Sequence[str] = (),
    exact: Sequence[str] = (),
) -> str:
    """Right when the answer is near one of `goals` and better than `draft`.

    As many of its sentences are read as the goal has. None of `gone`, the flaws, may be said any more, every one of `exact`
    must stand there letter for letter, and the draft unchanged or the instruction repeated is never right. Of one goal every
    word that the draft lacks must be said, three quarters of the content words kept, and most words be in its order.
    """
    return applied(answer, instruction, draft=draft, goals=goals, gone=gone, exact=exact)


def applied(
    answer: str,
    instruction: str,
    *,
    draft: str,
    goals: Sequence[str],
    gone: Sequence[str] = (),
    exact: Sequence[str] = (),
    begins: str = "",
    ends: str = "",
) -> str:
    """As `revised`, for a change of form: the answer must also begin with the words `begins` and end in the mark `ends`.

    What ends in a question mark must have a question's form too: «You are tired?» asks nothing new.
    """
    reasons = []
    for goal in goals:
        text = _opening(answer, len(english.sentences(goal)))
        reasons.append(
            _no_revision(text, instruction, draft, writing_counts=bool(exact or ends))
            or _out_of_form(text, begins, ends)
            or _still_flawed(text, gone, exact)
            or _departs(text, goal, draft)
        )
    return "" if "" in reasons else reasons[0]


def _opening(answer: str, num_sentences: int) -> str:
    """The first sentences as they stand, without a lead-in («Here is the sentence:») and the quotes around them."""
    text = _LEAD_IN.sub("", answer.strip().lstrip(_QUOTES), count=1).strip(_QUOTES)
    return " ".join(english.sentences(text)[:num_sentences]).strip(_QUOTES)


def _no_revision(text: str, instruction: str, draft: str, writing_counts: bool) -> str:
    """Why the text is none at all; empty when it may be one. `writing_counts`: capitals and marks are what is asked for."""
    said = english.plain(text)
    if not said:
        return "empty"
    if english.is_loop(text):
        return "loops"
    frame = english.plain(instruction.split('"')[0])
    if (frame and f"{said} ".startswith(f"{frame} ")) or said == english.plain(instruction):
        return "echo"
    same = text.strip(_QUOTES) == draft.strip(_QUOTES) if writing_counts else said == english.plain(draft)
    return "unchanged" if same else ""


def _out_of_form(text: str, begins: str, ends: str) -> str:
    """Why the text has not the form that was asked for; empty when it has."""
    said, first = english.plain(text).split(), english.plain(begins).split()
    if said[: len(first)] != first:
        return f"does not begin with {begins}"
    if not text.endswith(ends):
        return f"does not end in {ends}"
    asks = said[0] in english.QUESTION_AUXILIARIES or not english.QUESTION_WORDS.isdisjoint(said[:3])
    return "not in the form of a question" if ends == "?" and not asks else ""


def _still_flawed(text: str, gone: Sequence[str], exact: Sequence[str]) -> str:
    """What is wrong with the text still; empty when nothing is."""
    said, written = english.plain(text).split(), " ".join(text.split())
    for flaw in gone:
        if english.find(english.plain(flaw).split(), said):
            return f"still says {flaw}"
    return next((f"does not write {piece}" for piece in exact if piece not in written), "")


def _departs(text: str, goal: str, draft: str) -> str:
    """Why the text is not near the goal; empty when it is."""
    said, wanted, had = _tokens(text), _tokens(goal), _tokens(draft)
    missing = min(Counter(wanted) - Counter(had) - Counter(said), default="")
    if missing:
        return f"does not say {missing}"
    if _NOT.isdisjoint(said) != _NOT.isdisjoint(wanted):
        return "says the opposite"
    return _worsens(text, goal) or _loses(said, wanted) or _strays(said, wanted, had)


def _worsens(text: str, goal: str) -> str:
    """A flaw that the text has and the goal has not: filler, a word doubled, an article dropped."""
    said, wanted = english.plain(text).split(), english.plain(goal).split()
    for filler in FILLERS:
        if english.find(filler.split(), said) and not english.find(filler.split(), wanted):
            return f"adds the filler {filler}"
    if any(a == b for a, b in itertools.pairwise(said)) and not any(a == b for a, b in itertools.pairwise(wanted)):
        return "doubles a word"
    for before, article, noun in zip(wanted, wanted[1:], wanted[2:], strict=False):
        if article in ("a", "an") and english.find([before, noun], said):
            return f"drops {article}"
    return ""


def _loses(said: Sequence[str], wanted: Sequence[str]) -> str:
    """What of the goal's content the text loses, spells wrongly or repeats. A word may be lost to another one only."""
    counts, content = (Counter(_stem(word) for word in words if word not in SMALL_WORDS) for words in (said, wanted))
    lost, added, num_new = content - counts, counts - content, (Counter(said) - Counter(wanted)).total()
    for word, other in itertools.product(lost, added):
        if difflib.SequenceMatcher(None, word, other).ratio() >= _MISSPELT:
            return f"says {other} for {word}"
    if lost.total() > min((1 - _MIN_KEPT) * content.total(), num_new):
        return f"does not keep {next(iter(lost))}"
    return next((f"repeats {stem}" for stem in content if counts[stem] > content[stem]), "")


def _strays(said: Sequence[str], wanted: Sequence[str], had: Sequence[str]) -> str:
    """Whether the words stand in another order than the goal's, or among many others; empty when they do not."""
    ours, theirs, draft = ([_stem(word) for word in words] for words in (said, wanted, had))
    pairs, goal = Counter(itertools.pairwise(ours)), Counter(itertools.pairwise(theirs))
    beside = 2 * (pairs & goal).total() / max(1, pairs.total() + goal.total())
    in_order = _in_order(ours, theirs)
    near = 2 * in_order / (len(ours) + len(theirs))
    if Counter(draft) == Counter(theirs) and in_order < len(theirs):  # the order, if anything, is what was wrong
        near = 0.0
    return "" if near >= _MIN_NEAR or beside >= _MIN_BESIDE else "in another order, or much else"


def _tokens(text: str) -> list[str]:
    """Words in lower case, contractions in full, one word for all articles and owners («my», «her»)."""
    for short, long in _SHORT:
        text = short.sub(long, text)
    words = itertools.chain.from_iterable(_NEGATED.get(word, word).split() for word in english.plain(text).split())
    return [_THE if word in english.ARTICLES or word in _OWNERS else word for word in words]


def _stem(word: str) -> str:
    """`word` without an inflected ending. Both sides go through it, so odd results do no harm."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def _in_order(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """The length of the longest sequence of words that both have in the same order."""
    row = [0] * (len(theirs) + 1)
    for word in ours:
        above = row
        row = [0]
        for i, other in enumerate(theirs, start=1):
            row.append(above[i - 1] + 1 if word == other else max(above[i], row[-1]))
    return row[-1]
