"""Known flaws put into sound sentences, and wrong revisions of them. Pure: the given `random.Random` decides everything.

The sound sentence is the right revision, so no model has to judge one. A family returns None where it cannot be sure that
what it makes is wrong, and that only one thing is wrong.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable

from cai_bootstrap.evals import english
from cai_bootstrap.steps.feedback import EDITS
from cai_bootstrap.steps.flawed import MISSPELT, OTHER_NUMBER, Flawed, capitalised, decapitalised

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
_STARTERS = ("Well, um, ", "Basically, ", "To be honest, ", "You know, ", "I mean, ", "Um, ", "To tell the truth, ", "So, uh, ")
_ENDERS = (", you know", ", more or less", ", so to speak", ", to be honest", ", sort of", ", as a matter of fact")
_DODGES = {
    "dont_know": ("I have no idea.", "Let me think about it.", "I cannot say.", "I never learned that."),
    "asks_back": ("Why do you want to know?", "What do you think?", "Is that important?", "Who told you to ask me?"),
    "sends_away": ("Ask someone else.", "Look it up in a book.", "You will find out one day.", "Try to ask your teacher."),
    "other_topic": ("I like warm bread.", "My shoes are new.", "It was windy last night.", "The clock is slow."),
    "vague": ("It depends on many things.", "That is a good question.", "There is an answer to that.", "It is what it is."),
}
_FRAMES = {
    "spelling": ("fix the spelling", "correct the spelling", "fix the spelling mistake", "spell this sentence correctly"),
    "grammar": ("fix the grammar", "correct the grammar", "correct this sentence", "fix the mistake in this sentence"),
    "doubled_word": ("take out the word that stands there twice", "fix the doubled word", "correct this sentence"),
    "missing_article": ("add the missing word", "fix the grammar", "put in the small word that is missing"),
    "capitals": ("fix the capital letters", "correct the capital letters", "write this with the right capital letters"),
    "repetition": ("say this only once", "say this without repeating it", "make this clearer", "take out what is said twice"),
    "filler": ("say this without filler words", "make this clearer", "say this more simply", "leave out the empty words"),
    "scrambled": ("put the words in the right order", "make a clear sentence of this", "put this sentence in order"),
}
_HELPFUL = (
    'Revise this answer to "{0}" so that it helps: "{1}"',
    'Make this answer to "{0}" helpful: "{1}"',
    'Improve this answer to the question "{0}": "{1}"',
    'Give a better answer to "{0}" than this: "{1}"',
)
_MAX_SCRAMBLED = 8
"""Longer sentences have several right orders, or none that a reader finds."""

Flaw = Callable[[str, random.Random], Flawed | None]


def _ask(rng: random.Random, kind: str, family: str, frames: str, draft: str, revised: str, **what: tuple[str, ...]) -> Flawed:
    request = rng.choice(_FRAMES[frames])
    instruction = f'{capitalised(request)}: "{draft}"'
    return Flawed(kind=kind, family=family, instruction=instruction, draft=draft, revised=revised, request=request, **what)  # type: ignore[arg-type]


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
        return _ask(rng, "fix", how, "spelling", draft, sentence, gone=(slip,))

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
    return _ask(rng, "fix", "agreement", "grammar", draft, sentence, gone=(f"{words[i - 1]} {OTHER_NUMBER[words[i]]}",))


def _doubled_word(sentence: str, rng: random.Random) -> Flawed | None:
    words = sentence.split()
    usable = [i for i, word in enumerate(words[:-1]) if i and word.isalpha() and word not in ("that", "had", "very")]
    if not usable:
        return None
    i = rng.choice(usable)
    draft = " ".join([*words[: i + 1], *words[i:]])
    return _ask(rng, "fix", "doubled_word", "doubled_word", draft, sentence, gone=(f"{words[i]} {words[i]}",))


def _missing_article(sentence: str, rng: random.Random) -> Flawed | None:
    # «a» is always missed; «the» may be left out before many words.
    words = sentence.split()
    usable = [i for i in range(1, len(words) - 1) if words[i] in ("a", "an") and words[i - 1] not in ("such", "half", "many")]
    if not usable:
        return None
    i = rng.choice(usable)
    draft = " ".join(words[:i] + words[i + 1 :])
    gone = (f"{words[i - 1]} {words[i + 1].strip('.,!?')}",)
    return _ask(rng, "fix", "missing_article", "missing_article", draft, sentence, gone=gone)


def _capitals(sentence: str, rng: random.Random) -> Flawed | None:
    words = sentence.split()
    names = [i for i, word in enumerate(words) if i and word[0].isupper() and word.isalpha()]
    i = rng.choice(names) if names and rng.random() < 0.5 else 0
    word = words[i].strip(".,!?")
    draft = " ".join([*words[:i], words[i].lower(), *words[i + 1 :]])
    exact = f"{word} {words[i + 1].strip('.,!?')}" if len(word) == 1 else word
    return None if not word.isalpha() else _ask(rng, "fix", "capitals", "capitals", draft, sentence, exact=(exact,))


def _repetition(sentence: str, rng: random.Random) -> Flawed | None:
    body, mark, words = sentence[:-1], sentence[-1], sentence[:-1].split()
    if "," in sentence or mark == "?":
        return None
    again, tail = decapitalised(body), " ".join(words[-3:])
    drafts = [f"{body}, {again}{mark}", f"{body} and {again}{mark}", f"{body}, yes, {again}{mark}"]
    if words[-3] in ("in", "on", "at", "under", "behind", "to", "from", "with", "for"):
        drafts += [f"{body}, {tail}{mark}", f"{body} {tail}{mark}"]
    return _ask(rng, "clearer", "repetition", "repetition", rng.choice(drafts), sentence)


def _filler(sentence: str, rng: random.Random) -> Flawed | None:
    draft, gone = padded(sentence, rng)
    return _ask(rng, "clearer", "filler", "filler", draft, sentence, gone=gone)


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
            return _ask(rng, "clearer", "scrambled", "scrambled", draft, sentence)
    return None


FLAWS: dict[str, dict[str, Flaw]] = {
    "fix": {
        **{how: _misspell(how) for how in ("swapped_letters", "missing_letter", "extra_letter", "common_misspelling")},
        "agreement": _agreement,
        "doubled_word": _doubled_word,
        "missing_article": _missing_article,
        "capitals": _capitals,
    },
    "clearer": {"repetition": _repetition, "filler": _filler, "scrambled": _scrambled},
    "feedback": EDITS,
}
"""By kind and family: what makes a flawed sentence of a sound one. `helpful` needs a question too: `dodge`."""


def flawed(kind: str, family: str, sentence: str, rng: random.Random) -> Flawed | None:
    """`sentence` with a flaw of that kind and family, or as it stands with feedback on it; None where it does not lend itself.

    Raises KeyError for a kind or family that `FLAWS` has not.
    """
    made = FLAWS[kind][family](sentence, rng)
    return None if made is None or made.problem(made.revised) or not made.problem(made.draft) else made


def dodge(question: str, answer: str, rng: random.Random) -> Flawed:
    """The question with an answer that dodges it; `answer` is the right revision."""
    family = rng.choice(sorted(_DODGES))
    draft = rng.choice([text for text in _DODGES[family] if english.plain(text) != english.plain(answer)])
    instruction = rng.choice(_HELPFUL).format(question, draft)
    return Flawed(kind="helpful", family=family, instruction=instruction, draft=draft, revised=answer, request=question)


def other_dodge(draft: str, rng: random.Random) -> str:
    """A dodging answer that is not `draft`."""
    return rng.choice([text for texts in _DODGES.values() for text in texts if text != draft])
