"""A sentence with a known flaw and its right revision, and which sentences may be taken for sound."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from cai_bootstrap.evals import english
from cai_bootstrap.evals.improvements import FILLERS, SMALL_WORDS, applied

MISSPELT = {
    "again": "agian", "always": "allways", "animal": "animel", "answer": "anser", "autumn": "autum", "because": "becuase",
    "breakfast": "brekfast", "bridge": "brigde", "brother": "bruther", "building": "bilding", "business": "buisness",
    "children": "childern", "colour": "colur", "could": "coud", "different": "diffrent", "doctor": "docter",
    "enough": "enouf", "evening": "evning", "every": "evry", "favourite": "favorit", "forest": "forrest", "garden": "gardon",
    "great": "graet", "half": "haf", "happy": "hapy", "house": "huose", "hungry": "hungrey", "island": "iland",
    "kitchen": "kichen", "listen": "lisen", "little": "littel", "minute": "minit", "money": "mony", "morning": "moning",
    "music": "musick", "night": "nihgt", "people": "poeple", "picture": "pictur", "quickly": "quikly", "school": "shcool",
    "small": "smal", "suddenly": "suddenley", "summer": "sumer", "their": "thier", "tired": "tierd", "together": "togehter",
    "very": "verry", "water": "watter", "window": "windoe", "which": "wich", "would": "woud", "yesterday": "yestarday",
}  # fmt: skip
"""Common misspellings. Those of the held-out suite are not among them (tested)."""

OTHER_NUMBER = {
    "is": "are", "has": "have", "was": "were", "are": "is", "have": "has", "were": "was", "goes": "go", "plays": "play",
    "likes": "like", "lives": "live", "works": "work", "makes": "make", "runs": "run", "sings": "sing", "eats": "eat",
    "drinks": "drink", "sleeps": "sleep", "reads": "read", "writes": "write", "wants": "want", "needs": "need",
    "comes": "come", "takes": "take", "gives": "give", "sells": "sell", "buys": "buy", "grows": "grow", "keeps": "keep",
    "helps": "help", "loves": "love", "walks": "walk", "waits": "wait", "sits": "sit", "knows": "know", "speaks": "speak",
}  # fmt: skip
"""Forms of verbs with the other number."""

_NO_MARKS = str.maketrans("", "", '.,!?;:"')
_MIN_WORDS, _MAX_WORDS = 4, 10
"""In longer sentences rules are less sure, and what a small model is to find is lost among the rest."""
_SHAPE = re.compile(r"[A-Z][A-Za-z'’]*(?:,? [A-Za-z][A-Za-z'’]*)+[.!?]")
_WRONG_PAIRS = re.compile(
    r"\b(?:(?:he|she|it) (?:are|were|have|do|don't|am|go|like|live|want|need|make)|(?:we|they|you) (?:is|was|has|does|am|goes)"
    r"|i (?:is|are|were|has|does|goes)|a [aeio]\w+|a (?:hour|honest)|an [bcdfgjklmnpqrstvwxyz]\w+"
    r"|(?:the|a|an) (?:a|an|the|is|are|was|and))\b"
)
"""«a u…» and «an h…» may be right («a useful tool», «an hour»)."""
_OPEN_ENDS = frozenset("a an the and or but of to with in on at for from by my your his her our their is are was were".split())
_VERBS = frozenset("speak speaks spoke ate fed drank rang ring rings swing swings taste tastes".split())
"""Verbs that `english.has_verb` does not know."""
_OWNED = frozenset("the my your his her our their this that".split())
_SEVERAL = frozenset("two three four five six seven eight nine ten many few several both these those".split())
_MANY = frozenset("children men women people feet teeth mice geese sheep fish deer police hundred thousand million".split())
_BEFORE_HOURS = frozenset("at after before by until past about".split())
_ASKING = english.QUESTION_WORDS | english.QUESTION_AUXILIARIES
_NO_VERB_AFTER = frozenset("a an the my your his her our their this that of in on at with from for by no very".split())
_SUBJECTS = frozenset("i you we they to not do does did will would can could".split())
_FILLED = re.compile(rf"\b(?:{'|'.join(map(re.escape, FILLERS))})\b")


@dataclass(frozen=True, kw_only=True)
class Flawed:
    """An instruction to revise a draft, with what makes a revision of it right."""

    kind: str
    """`fix`, `clearer`, `helpful` or `feedback`."""
    family: str
    instruction: str
    draft: str
    revised: str
    """The sound sentence: a right revision."""
    others: tuple[str, ...] = ()
    """Further right revisions."""
    gone: tuple[str, ...] = ()
    """What no right revision says."""
    exact: tuple[str, ...] = ()
    begins: str = ""
    ends: str = ""
    request: str = ""
    """What is asked for, without the draft: the feedback («add the word please»), or «fix the spelling»."""

    def problem(self, text: str) -> str:
        """Why `text` is no right revision, by the verifier of the held-out suite; empty when it is one."""
        return applied(
            text,
            self.instruction,
            draft=self.draft,
            goals=(self.revised, *self.others),
            gone=self.gone,
            exact=self.exact,
            begins=self.begins,
            ends=self.ends,
        )


Flaw = Callable[[str, random.Random], Flawed | None]
"""Makes a task of a sound sentence; None where it does not lend itself."""


def asked(kind: str, family: str, request: str, draft: str, **what: Any) -> Flawed:
    """A task that says the request and then the draft; `what` are further fields of `Flawed`."""
    instruction = f'{capitalised(request)}: "{draft}"'
    return Flawed(kind=kind, family=family, instruction=instruction, draft=draft, request=request, **what)


def spelt(text: str) -> list[str]:
    """The words of a text as they are spelt, in lower case and without marks: what `known` of `is_sound` holds."""
    return text.lower().replace("’", "'").translate(_NO_MARKS).split()


def is_sound(sentence: str, known: Collection[str] | None = None) -> bool:
    """Whether a sentence that a model wrote may stand as the right one. Strict: what is in doubt is not sound.

    One sentence of 4 to 10 plain words with a capital at its start, the right mark at its end and something like a verb; no
    word twice in a row, no content word twice, no filler, refusal or common mistake. Rules cannot tell a rare word from one
    spelt wrongly: where `known` is given, every word but names must be in it, in lower case. Words that come in two or more of
    many sentences will do.
    """
    words = sentence.split()
    if not _MIN_WORDS <= len(words) <= _MAX_WORDS or not _SHAPE.fullmatch(sentence):
        return False
    said = spelt(sentence)
    names = [word for word in words[1:] if word[0].isupper() and word not in ("I", "I'm", "I'll", "I've")]
    content = [word for word in english.words(sentence) if word not in SMALL_WORDS]
    return (
        len(names) <= 2
        and not any(word[1:].lower() != word[1:] for word in words)
        and said[-1] not in _OPEN_ENDS
        and not any(a == b for a, b in itertools.pairwise(said))
        and len(content) == len(set(content))
        and not set(said) & set(MISSPELT.values())
        and not _WRONG_PAIRS.search(sentence.lower())
        and not re.search(r"\bi\b", sentence)
        and not _disagrees(said)
        and (sentence.endswith("?") == (said[0] in _ASKING) or said[0] in ("when", "what"))
        and (known is None or all(word in known for word in said if word.capitalize() not in names))
        and not _FILLED.search(" ".join(said))
        and _has_verb(said)
        and not english.is_refusal(sentence)
        and not english.is_about_the_task(sentence)
    )


def _disagrees(said: list[str]) -> bool:
    """Whether a number does not fit: «the dogs barks», «my brother play», «three chair»."""
    for i, word in enumerate(said):
        counted = said[i + 1 : i + 4] if word in _SEVERAL and said[i - 1] not in _BEFORE_HOURS else []
        if counted and not any(other.endswith("s") or other in _MANY for other in counted):
            return True
    if said[0] not in _OWNED or said[1] in ("fish", "sheep", "deer", "police"):  # these are one or many
        return False
    subject, verb = said[1], said[2]
    if subject in _MANY or (subject.endswith("s") and not subject.endswith(("ss", "us", "is"))):
        return verb.endswith("s") and not verb.endswith("ss") and _is_verb(verb)
    return any(verb == many and one.endswith("s") for one, many in OTHER_NUMBER.items())


def _is_verb(word: str) -> bool:
    return word in _VERBS or english.has_verb(word)


def _has_verb(said: list[str]) -> bool:
    """Whether a word looks like a verb where one may stand: «the warm sun» and «of help» have none."""
    for i, word in enumerate(said):
        before = said[i - 1] if i else ""
        if word == "like" and before not in _SUBJECTS:  # «a face like the moon»
            continue
        if word != "please" and before not in _NO_VERB_AFTER and _is_verb(word):
            return True
    return False


def decapitalised(sentence: str) -> str:
    """The sentence as it goes on after other words: its first letter small, unless it is «I» or may be a name."""
    first = sentence.split()[0].strip(",")
    shouted = len(first) > 1 and first.isupper()
    return sentence[0].lower() + sentence[1:] if first.lower() in STARTS and not shouted else sentence


def capitalised(text: str) -> str:
    """`text` with its first letter in upper case."""
    return text[:1].upper() + text[1:]


STARTS = frozenset(
    "the a an my your his her our their this that these those it he she we they you there some many most every all each no "
    "one two three luckily perhaps maybe both few several in on at after before when if while yesterday today tomorrow last "
    "next sometimes please what where who how do does did is are was were can could will would bring call carry clean close "
    "come cook cut draw drink drive eat feed fetch fill find give go help hold hurry keep leave let listen look make move "
    "open paint pass pick play pour pull push put read ring run say sell send shut sing sit speak stand start stay stop "
    "take tell throw try turn wait wake walk wash watch water wear wipe write".split()
)
"""Words that begin a sentence and are no names."""
