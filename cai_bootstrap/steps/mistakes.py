"""Mistakes put into sound sentences, to be fixed: a word spelt wrongly, a wrong one, a missing one, a form that does not fit.

Pure: the given `random.Random` decides everything. A family returns None where it cannot be sure that what it makes is
wrong, and that only one thing is wrong.
"""

from __future__ import annotations

import random
import re

from cai_bootstrap.steps.flawed import MISSPELT, OTHER_NUMBER, Flaw, Flawed, asked, decapitalised
from cai_bootstrap.steps.inflections import BASE, PAST, clause, present

_MIN_SPELT = {"missing_letter": 6, "swapped_letters": 5, "extra_letter": 5}
"""Letters of a word that is misspelt at random: shorter ones turn into other words («clock», «lock»)."""
_REAL_WORDS = frozenset(
    "angel angle bead beast beats brad bred bride cheat cloth cold college costal dairy desert dessert diary diner dinner "
    "fiend filed fist form from ghosts god hopping kitting later latter loose lose moth mouths organ pant piked plane "
    "planned plant plat quiet quite sacred scare scared sigh sing sings slap spat spit sprig stain stair star stare steam "
    "super supper tapping tired trail trial tried unite untie untied winner wore worse".split()
)
"""What a slip may make that is a word itself."""
_MANY = frozenset("we they you".split())
_ONE = frozenset("he she it".split())
_EITHER = frozenset("fish sheep deer people family team police".split())
SOUNDS = dict(
    pair.split()
    for pair in (
        "to too", "two to", "four for", "one won", "won one", "our hour", "hour our", "see sea", "sea see", "knows nose",
        "nose knows", "knew new", "new knew", "wear where", "where wear", "eight ate", "ate eight", "meat meet",
        "meet meat", "road rode", "rode road", "week weak", "weak week", "hole whole", "whole hole", "piece peace",
        "peace piece", "wood would", "would wood", "made maid", "through threw", "threw through", "bee be", "be bee",
        "some sum", "which witch", "heard herd", "great grate", "poor pour", "pour poor", "sell cell", "deer dear",
        "dear deer", "stairs stares", "steel steal", "too to", "break brake", "sail sale", "bear bare", "boy buoy",
    )
)  # fmt: skip
"""A word, and one that sounds alike and is wrong wherever the first one is right."""
_TAKES_TO = frozenset(
    "want wants wanted like likes liked love loves need needs needed hope hopes hoped try tries tried".split()
)
_GOES = frozenset(
    "go goes went walk walks walked run runs ran come comes came sit sits sat live lives lived sleep sleeps slept wait waits "
    "waited listen listens listened look looks looked stand stands stood lie lies lay swim swims swam belong belongs fly flies "
    "flew jump jumps jumped travel travels travelled talk talks talked".split()
)
"""Verbs without an object: what they are done to stands behind a preposition."""
_PREPOSITIONS = frozenset("to in on at for into from with under near by through behind over along around".split())
_DETERMINERS = frozenset("the a an my your his her our their this that these those".split())
_NUMBERS = frozenset("two three four five six seven eight nine ten several many few both these those".split())
REGULARISED = {
    "men": "mans", "women": "womans", "geese": "gooses", "wolves": "wolfs",
    "leaves": "leafs", "loaves": "loafs", "shelves": "shelfs", "wives": "wifes", "halves": "halfs",
    "thieves": "thiefs", "calves": "calfs", "oxen": "oxes", "deer": "deers",
}  # fmt: skip
_BEFORE = ("Yesterday", "Last week", "Two days ago", "Last night", "Last year", "Three weeks ago")
_AFTER = ("Next week", "Next year", "The day after tomorrow", "In two days")
_SURE_AN, _SURE_A = re.compile(r"[aeio](?!ne\b|nce\b|u)\w+"), re.compile(r"[bcdfgjklmnpqrstvwyz]\w+")
_FRAMES = {
    "spelling": ("fix the spelling", "correct the spelling", "fix the spelling mistake", "spell this sentence correctly"),
    "grammar": ("fix the grammar", "correct the grammar", "correct this sentence", "fix the mistake in this sentence"),
    "doubled_word": ("take out the word that stands there twice", "fix the doubled word", "correct this sentence"),
    "missing_article": ("add the missing word", "fix the grammar", "put in the small word that is missing"),
    "missing_word": ("add the missing word", "a word is missing; put it in", "complete this sentence", "fix this sentence"),
    "capitals": ("fix the capital letters", "correct the capital letters", "write this with the right capital letters"),
    "wrong_word": ("fix the wrong word", "one word is wrong; correct it", "put the right word in", "correct this sentence"),
    "tense": ("fix the tense", "correct the tense of the verb", "put the verb in the right tense", "fix this sentence"),
    "end_mark": ("fix the mark at the end", "correct the punctuation", "end this with the right mark"),
}


def _ask(rng: random.Random, family: str, frames: str, draft: str, revised: str, **what: object) -> Flawed:
    return asked("fix", family, rng.choice(_FRAMES[frames]), draft, revised=revised, **what)


def _slip(word: str, how: str, rng: random.Random) -> str:
    """`word` with one slip behind its first letter and before its last, or "" where none is sure to be one."""
    places = list(range(1, len(word) - 2))
    rng.shuffle(places)
    for i in places:
        if how == "swapped_letters":
            slip = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        elif how == "missing_letter":
            slip = word[:i] + word[i + 1 :]
        else:
            slip = word[:i] + word[i] + word[i:]
        neighbours = word[i - 1 : i + 2]
        if slip != word and slip not in _REAL_WORDS and len(set(neighbours)) == len(neighbours):
            return slip
    return ""


def _misspell(how: str) -> Flaw:
    def flaw(sentence: str, rng: random.Random) -> Flawed | None:
        words = re.findall(r"[A-Za-z]+", sentence)
        size = _MIN_SPELT.get(how, 0)
        usable = [word for word in words if word.islower() and len(word) >= size and words.count(word) == 1]
        if how == "common_misspelling":
            usable = [word for word in usable if word in MISSPELT]
        if not usable:
            return None
        word = rng.choice(usable)
        slip = MISSPELT[word] if how == "common_misspelling" else _slip(word, how, rng)
        if not slip:
            return None
        draft = re.sub(rf"\b{word}\b", slip, sentence)
        return _ask(rng, how, "spelling", draft, sentence, gone=(slip,))

    return flaw


def _agreement(sentence: str, rng: random.Random) -> Flawed | None:
    words = sentence.split()
    usable = []
    for i, word in enumerate(words[1:-1], start=1):
        before = words[i - 1].lower()
        one = before in _ONE or (i == 2 and words[0].lower() in ("the", "my", "her", "his", "our") and not before.endswith("s"))
        many = before in _MANY
        if before in _EITHER or word not in OTHER_NUMBER or "if" in sentence.lower().split():
            continue
        if (one and word.endswith("s")) or (many and not word.endswith("s")):
            usable.append(i)
    if not usable:
        return None
    i = rng.choice(usable)
    draft = " ".join([*words[:i], OTHER_NUMBER[words[i]], *words[i + 1 :]])
    return _ask(rng, "agreement", "grammar", draft, sentence, gone=(f"{words[i - 1]} {OTHER_NUMBER[words[i]]}",))


def _doubled_word(sentence: str, rng: random.Random) -> Flawed | None:
    words = sentence.split()
    usable = [i for i, word in enumerate(words[:-1]) if i and word.isalpha() and word not in ("that", "had", "very")]
    if not usable:
        return None
    i = rng.choice(usable)
    draft = " ".join([*words[: i + 1], *words[i:]])
    return _ask(rng, "doubled_word", "doubled_word", draft, sentence, gone=(f"{words[i]} {words[i]}",))


def _missing_article(sentence: str, rng: random.Random) -> Flawed | None:
    # «a» is always missed; «the» may be left out before many words.
    words = sentence.split()
    usable = [i for i in range(1, len(words) - 1) if words[i] in ("a", "an") and words[i - 1] not in ("such", "half", "many")]
    if not usable:
        return None
    i = rng.choice(usable)
    return _without(words, i, "missing_article", rng)


def _capitals(sentence: str, rng: random.Random) -> Flawed | None:
    words = sentence.split()
    names = [i for i, word in enumerate(words) if i and word[0].isupper() and word.isalpha()]
    i = rng.choice(names) if names and rng.random() < 0.5 else 0
    word = words[i].strip(".,!?")
    draft = " ".join([*words[:i], words[i].lower(), *words[i + 1 :]])
    exact = f"{word} {words[i + 1].strip('.,!?')}" if len(word) == 1 else word
    return None if not word.isalpha() else _ask(rng, "capitals", "capitals", draft, sentence, exact=(exact,))


def _wrong_word(sentence: str, rng: random.Random) -> Flawed | None:
    words = re.findall(r"[a-z]+", sentence)
    usable = [word for word in words[:-1] if word in SOUNDS and words.count(word) == 1 and SOUNDS[word] not in words]
    if not usable:
        return None
    word = rng.choice(usable)
    draft = re.sub(rf"\b{word}\b", SOUNDS[word], sentence)
    return _ask(rng, "wrong_word", "wrong_word", draft, sentence, gone=(SOUNDS[word],))


def _missing_word(sentence: str, rng: random.Random) -> Flawed | None:
    words = sentence.split()
    parts = clause(sentence)
    usable = [
        i
        for i in range(1, len(words) - 1)
        if (words[i] == "to" and words[i - 1] in _TAKES_TO and words[i + 1] not in _DETERMINERS)
        or (words[i] in _PREPOSITIONS and words[i - 1] in _GOES and words[i + 1] in _DETERMINERS)
        or (parts is not None and parts.forms[BASE] == "be" and i == len(parts.subject.split()))
    ]
    if not usable:
        return None
    return _without(words, rng.choice(usable), "missing_word", rng)


def _without(words: list[str], i: int, family: str, rng: random.Random) -> Flawed:
    """The sentence of these words without the i-th, which neighbours on either side."""
    gone = f"{words[i - 1]} {words[i + 1].strip('.,!?')}"
    return _ask(rng, family, family, " ".join(words[:i] + words[i + 1 :]), " ".join(words), gone=(gone,))


def _plural(sentence: str, rng: random.Random) -> Flawed | None:
    words = sentence.split()
    slips = {}
    for i, word in enumerate(words):
        plain = word.strip(".,!?")
        if plain in REGULARISED:
            slips[i] = (REGULARISED[plain], REGULARISED[plain])
        elif i and words[i - 1].lower() in _NUMBERS and re.fullmatch(r"[a-z]{2,}[a-rt-z]s", plain) and plain[-3:] != "ies":
            one = plain[:-2] if plain.endswith(("ches", "shes", "xes")) else plain[:-1]
            slips[i] = (one, f"{words[i - 1]} {one}")
    if not slips:
        return None
    i = rng.choice(sorted(slips))
    slip, gone = slips[i]
    draft = " ".join([*words[:i], words[i].replace(words[i].strip(".,!?"), slip), *words[i + 1 :]])
    return _ask(rng, "plural", "grammar", draft, sentence, gone=(gone,))


def _tense(sentence: str, rng: random.Random) -> Flawed | None:
    parts = clause(sentence)
    if parts is None or parts.has_time or parts.forms[BASE] == "be":
        return None
    now, before = present(parts), parts.forms[PAST]
    if rng.random() < 0.7:
        opener, right, wrong = rng.choice(_BEFORE), before, now
    else:
        opener, right, wrong = rng.choice(_AFTER), f"will {parts.forms[BASE]}", before
    draft, revised = (f"{opener} {decapitalised(parts.with_verb(verb))}" for verb in (wrong, right))
    gone = f"{parts.subject} {wrong}" if wrong == parts.forms[BASE] else wrong  # «will» is followed by that form
    return _ask(rng, "tense", "tense", draft, revised, gone=(gone,))


def _a_or_an(sentence: str, rng: random.Random) -> Flawed | None:
    words = sentence.split()
    found = []
    for i, word in enumerate(words[:-1]):
        sure = {"a": _SURE_A, "an": _SURE_AN}.get(word.lower())
        if sure and sure.fullmatch(words[i + 1].strip(".,!?")):
            found.append(i)
    if not found:
        return None
    i = rng.choice(found)
    other = {"a": "an", "an": "a", "A": "An", "An": "A"}[words[i]]
    draft = " ".join([*words[:i], other, *words[i + 1 :]])
    return _ask(rng, "a_or_an", "grammar", draft, sentence, gone=(f"{other} {words[i + 1].strip('.,!?')}",))


def _end_mark(sentence: str, rng: random.Random) -> Flawed | None:
    if not sentence.endswith("?"):
        return None
    return _ask(rng, "end_mark", "end_mark", f"{sentence[:-1]}.", sentence, ends="?")


MISTAKES: dict[str, Flaw] = {
    **{how: _misspell(how) for how in ("swapped_letters", "missing_letter", "extra_letter", "common_misspelling")},
    "agreement": _agreement,
    "doubled_word": _doubled_word,
    "missing_article": _missing_article,
    "missing_word": _missing_word,
    "capitals": _capitals,
    "wrong_word": _wrong_word,
    "plural": _plural,
    "tense": _tense,
    "a_or_an": _a_or_an,
    "end_mark": _end_mark,
}
"""By family what makes a sentence with a mistake of a sound one; None where it does not lend itself."""
