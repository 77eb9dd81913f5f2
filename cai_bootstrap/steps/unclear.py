"""Ways to make a sound sentence unclear: said twice, with filler, mixed up, corrected in the middle, in too many words.

Pure: the given `random.Random` decides everything. A family returns None where the sentence does not lend itself.
"""

from __future__ import annotations

import itertools
import random
import re

from cai_bootstrap.evals import english
from cai_bootstrap.steps.feedback import PAIRS, is_statement
from cai_bootstrap.steps.flawed import Flaw, Flawed, asked, decapitalised

_STARTERS = ("Well, um, ", "Basically, ", "To be honest, ", "You know, ", "I mean, ", "Um, ", "To tell the truth, ", "So, uh, ")
_ENDERS = (", you know", ", more or less", ", so to speak", ", to be honest", ", sort of", ", as a matter of fact")
_MAX_SCRAMBLED = 8
"""Longer sentences have several right orders, or none that a reader finds."""
_OTHERS = {old: new for pair in PAIRS for old, new in (pair, pair[::-1])}
"""By noun one that may be said by mistake for it."""
_CORRECTIONS = (", no, ", ", or rather ", ", I mean ", ", wait, ", ", no, I mean ", ", oh no, ")
_BEFORE_NOUN = r"(?:the|a|my|your|his|her|our|their|this|that|on|every)"
LONG = {
    "because": "owing to the fact that", "if": "in the case that", "nearly": "in almost every way",
    "always": "at any and every time", "when": "at the moment at which", "quickly": "in a quick manner",
    "slowly": "in a slow manner", "use": "make use of", "helps": "is of help to", "daily": "on each and every day",
    "near": "in the vicinity of", "before": "at a time before", "after": "at a time after", "under": "in a place under",
    "behind": "in a place behind", "between": "in the space between", "today": "on this very day", "here": "in this place",
    "often": "on a large number of occasions", "soon": "in a short while from now", "must": "must of necessity",
    "now": "at the present moment", "never": "never at any time", "sometimes": "on some occasions", "again": "once more again",
    "usually": "in the usual case", "together": "together with one another", "loudly": "in a loud manner",
    "quietly": "in a quiet manner", "carefully": "with a great deal of care", "suddenly": "all at once and suddenly",
    "everywhere": "in each and every place", "sleeps": "is in a state of sleep",
}  # fmt: skip
"""A word, and more words that say no more."""
FRAMING = (
    "It is a fact that ", "What I want to say is that ", "There is no doubt that ", "I would like to point out that ",
    "It should be noted that ", "The truth of the matter is that ", "I have to say that ", "It can be said that ",
)  # fmt: skip
_LOOK = re.compile(
    r"\b(The|the|A|a|my|My|your|his|her|our|their|this) "
    r"(young|small|big|little|tall|new|red|green|blue|yellow|black|white|brown|dark|cold|warm|wet|dry|long|short|high|round|quiet"
    r"|happy|kind|rich|poor|strong|clean|heavy|soft) ([bcdfgjklmnpqrstvwyz][a-z]+[a-rt-z])"
    r"(?=[.!]| (?:is|was|in|on|at|under|near|behind|by|with|from|has|had|sat|stood|ran|came|likes|lives|sleeps)\b)"
)
"""An article or owner, an adjective, and a noun for one behind which its phrase ends."""
_MORE = frozenset(("very", "so", "too", "as", "more"))
_FRAMED_SHARE = 0.25
"""Of the sentences that nothing else makes wordy, those that get a frame: nearly all would, and a task has one shape then."""
_SUBJECTS = frozenset(
    "the a an my your his her our their this that these those i it he she we they you there many most all each".split()
)
"""First words behind which a statement stands, and no order or name."""
_FRAMES = {
    "repetition": ("say this only once", "say this without repeating it", "make this clearer", "take out what is said twice"),
    "filler": ("say this without filler words", "make this clearer", "say this more simply", "leave out the empty words"),
    "scrambled": ("put the words in the right order", "make a clear sentence of this", "put this sentence in order"),
    "false_start": ("say this clearly", "make this clearer", "leave out the slip", "say what the speaker means in the end"),
    "wordy": ("say this in fewer words", "make this shorter", "say this more briefly", "write this with fewer words"),
}


def _ask(rng: random.Random, family: str, draft: str, revised: str, **what: object) -> Flawed:
    return asked("clearer", family, rng.choice(_FRAMES[family]), draft, revised=revised, **what)


def _repetition(sentence: str, rng: random.Random) -> Flawed | None:
    body, mark, words = sentence[:-1], sentence[-1], sentence[:-1].split()
    if "," in sentence or mark == "?":
        return None
    again, tail = decapitalised(body), " ".join(words[-3:])
    drafts = [f"{body}, {again}{mark}", f"{body} and {again}{mark}", f"{body}, yes, {again}{mark}"]
    if words[-3] in ("in", "on", "at", "under", "behind", "to", "from", "with", "for"):
        drafts += [f"{body}, {tail}{mark}", f"{body} {tail}{mark}"]
    return _ask(rng, "repetition", rng.choice(drafts), sentence)


def _filler(sentence: str, rng: random.Random) -> Flawed | None:
    draft, gone = padded(sentence, rng)
    return _ask(rng, "filler", draft, sentence, gone=gone)


def padded(sentence: str, rng: random.Random) -> tuple[str, tuple[str, ...]]:
    """The sentence with filler at its beginning, its end or both, and the fillers."""
    start = rng.choice(_STARTERS)
    end = rng.choice([end for end in _ENDERS if english.plain(end) != english.plain(start)])
    where = rng.choice(("start", "end", "both"))
    fillers = [english.plain(text) for text, place in ((start, "start"), (end, "end")) if where in (place, "both")]
    text = start + decapitalised(sentence) if where != "end" else sentence
    return (text[:-1] + end + text[-1] if where != "start" else text), tuple(fillers)


def _scrambled(sentence: str, rng: random.Random) -> Flawed | None:
    words = decapitalised(sentence[:-1]).split()
    if len(words) > _MAX_SCRAMBLED or len(words) < 4 or "," in sentence:
        return None
    for _ in range(8):
        mixed = rng.sample(words, len(words))
        draft = " ".join(mixed) + sentence[-1]
        # A shuffle may leave most words in order, or make another sentence of them that is as good.
        follows = {f"{a} {b}" for a, b in itertools.pairwise(words)}
        kept = sum(f"{a} {b}" in follows for a, b in itertools.pairwise(mixed))
        if kept * 3 <= len(words) and mixed[0] != words[0] and mixed[-1] != words[-1]:
            return _ask(rng, "scrambled", draft, sentence)
    return None


def _false_start(sentence: str, rng: random.Random) -> Flawed | None:
    said = english.plain(sentence).split()
    hits = [
        hit
        for hit in re.finditer(rf"\b({_BEFORE_NOUN}) (\w+)\b", sentence, re.IGNORECASE)
        if hit[2].lower() in _OTHERS and _OTHERS[hit[2].lower()] not in said and said.count(hit[2].lower()) == 1
    ]
    if not hits:
        return None
    hit = rng.choice(hits)
    other = _OTHERS[hit[2].lower()]
    slip = other.capitalize() if other.endswith("day") else other
    draft = f"{sentence[: hit.start()]}{hit[1]} {slip}{rng.choice(_CORRECTIONS)}{hit[1].lower()} {sentence[hit.start(2) :]}"
    return _ask(rng, "false_start", draft, sentence, gone=(other,))


def _wordy(sentence: str, rng: random.Random) -> Flawed | None:
    ways = [_long_word, _long_look]
    rng.shuffle(ways)
    return next((made for way in (*ways, _framed) if (made := way(sentence, rng)) is not None), None)


def _long_word(sentence: str, rng: random.Random) -> Flawed | None:
    words = sentence[:-1].split()
    long = [i for i, word in enumerate(words) if word in LONG and words[i - 1] not in _MORE and i and words.count(word) == 1]
    if not long:
        return None
    i = rng.choice(long)
    draft = " ".join([*words[:i], LONG[words[i]], *words[i + 1 :]]) + sentence[-1]
    return _ask(rng, "wordy", draft, sentence, gone=(LONG[words[i]],))


def _long_look(sentence: str, rng: random.Random) -> Flawed | None:
    """«The man that is old» for «the old man»."""
    hits = list(_LOOK.finditer(sentence))
    if not hits:
        return None
    hit = rng.choice(hits)
    draft = f"{sentence[: hit.start()]}{hit[1]} {hit[3]} that is {hit[2]}{sentence[hit.end() :]}"
    return _ask(rng, "wordy", draft, sentence, gone=(f"that is {hit[2]}",))


def _framed(sentence: str, rng: random.Random) -> Flawed | None:
    if not is_statement(sentence) or sentence.split()[0].lower() not in _SUBJECTS or rng.random() > _FRAMED_SHARE:
        return None
    frame = rng.choice(FRAMING)
    return _ask(rng, "wordy", frame + decapitalised(sentence), sentence, gone=(english.plain(frame),))


UNCLEAR: dict[str, Flaw] = {
    "repetition": _repetition,
    "filler": _filler,
    "scrambled": _scrambled,
    "false_start": _false_start,
    "wordy": _wordy,
}
"""By family what makes a sound sentence unclear; None where it does not lend itself."""
