"""Forms of common verbs and nouns, and where the finite verb of a plain sentence stands. Rules: what is in doubt gives None."""

from __future__ import annotations

import re
from typing import NamedTuple

_VERBS = (
    "answer answers answered", "arrive arrives arrived", "ask asks asked", "bake bakes baked", "bark barks barked",
    "bring brings brought", "build builds built", "buy buys bought", "call calls called", "carry carries carried",
    "catch catches caught", "clean cleans cleaned", "climb climbs climbed", "close closes closed", "come comes came",
    "cook cooks cooked", "cry cries cried", "dance dances danced", "dig digs dug", "draw draws drew", "dream dreams dreamed",
    "drink drinks drank", "drive drives drove", "eat eats ate", "fall falls fell", "feed feeds fed", "feel feels felt",
    "find finds found", "fly flies flew", "forget forgets forgot", "get gets got", "give gives gave", "go goes went",
    "grow grows grew", "have has had", "hear hears heard", "help helps helped", "hide hides hid", "hold holds held",
    "jump jumps jumped", "keep keeps kept", "kick kicks kicked", "know knows knew", "learn learns learned",
    "leave leaves left", "like likes liked", "listen listens listened", "live lives lived", "look looks looked",
    "lose loses lost", "love loves loved", "make makes made", "meet meets met", "move moves moved", "need needs needed",
    "open opens opened", "paint paints painted", "play plays played", "plant plants planted", "pull pulls pulled",
    "push pushes pushed", "ride rides rode", "ring rings rang", "rise rises rose", "run runs ran", "say says said",
    "see sees saw", "sell sells sold", "send sends sent", "shine shines shone", "sing sings sang", "sit sits sat",
    "sleep sleeps slept", "smell smells smelled", "smile smiles smiled", "speak speaks spoke", "stand stands stood",
    "start starts started", "stay stays stayed", "swim swims swam", "take takes took", "talk talks talked",
    "teach teaches taught", "tell tells told", "throw throws threw", "travel travels travelled", "turn turns turned",
    "use uses used", "visit visits visited", "wait waits waited", "walk walks walked", "want wants wanted",
    "wash washes washed", "watch watches watched", "wear wears wore", "win wins won", "work works worked",
    "write writes wrote",
)  # fmt: skip
BASE, PRESENT, PAST = 0, 1, 2
"""Places in the forms of a verb; PRESENT is that of he, she and it."""
FORMS = [tuple(forms.split()) for forms in _VERBS]
_OF_BE = {
    form: (forms, tense) for forms in (("be", "is", "was"), ("be", "are", "were")) for tense, form in enumerate(forms) if tense
}
_FINITE: dict[str, tuple[tuple[str, ...], int]] = {
    word: (forms, tense) for forms in FORMS for tense, word in reversed(list(enumerate(forms)))
} | _OF_BE
"""By form the verb and the place; no form of one verb is one of another."""
_BASES = frozenset(forms[BASE] for forms in FORMS)
_PRONOUN = re.compile(r"(?:I|You|He|She|It|We|They)\Z")
_OWNED = frozenset("The My Your His Her Our Their This That These Those".split())
_NO_SUBJECT = frozenset("only first last next other same one two of and or who that which".split())
_OTHER_VERBS = frozenset(
    "is are was were am be been being has had do does did will would can could shall should may might must not never no "
    "who that which when while because if than as and but or n't don't didn't doesn't isn't aren't wasn't weren't".split()
)
"""Words behind a verb by which the sentence may have a second one, or a form that does not follow the first."""
_TIMES = frozenset(
    "yesterday today tomorrow now then ago last next always often usually sometimes every soon still already just before after "
    "since until once daily nightly tonight morning evening night week month year summer winter monday tuesday wednesday "
    "thursday friday saturday sunday ever again".split()
)


class Clause(NamedTuple):
    """A sentence with one finite verb that is surely known: subject, verb, and what follows with its mark."""

    subject: str
    verb: str
    rest: str
    forms: tuple[str, ...]
    """Base, present and past of the verb; of «be» is, was or are, were, with «be» before them."""
    is_past: bool

    @property
    def has_time(self) -> bool:
        """Whether it says when."""
        return not _TIMES.isdisjoint(re.findall(r"[a-z]+", f"{self.subject} {self.rest}".lower()))

    def with_verb(self, verb: str) -> str:
        """The sentence with another verb in its place."""
        return f"{self.subject} {verb}{self.rest}"


def clause(sentence: str) -> Clause | None:
    """The parts of a statement that begins with a pronoun, or with a determiner and a noun; None where that is not sure."""
    words = sentence.split()
    if not sentence.endswith(".") or "," in sentence or "'" in sentence or "’" in sentence:
        return None
    place = 1 if _PRONOUN.match(words[0]) else 2 if words[0] in _OWNED else 0
    if not place or len(words) < place + 2 or words[1] in _NO_SUBJECT:
        return None
    verb, behind = words[place], {word.strip(".").lower() for word in words[place + 1 :]}
    if verb not in _FINITE or (words[0] == "I" and verb in _OF_BE):  # «I was» is «I am», which no form here is
        return None
    forms, tense = _FINITE[verb]
    if place == 2 and tense == BASE and not words[1].endswith("s"):
        return None
    if not behind.isdisjoint(_OTHER_VERBS) or any(word in _FINITE and word not in _BASES for word in behind):
        return None
    return Clause(" ".join(words[:place]), verb, sentence[len(" ".join(words[: place + 1])) :], forms, tense == PAST)


def present(parts: Clause) -> str:
    """The verb of a clause in the present tense, as its subject wants it."""
    if parts.forms[BASE] == "be":
        return parts.forms[PRESENT]
    subject = parts.subject.split()[-1]
    many = parts.subject in ("I", "You", "We", "They") or (subject.endswith("s") and not subject.endswith("ss"))
    return parts.forms[BASE if many else PRESENT]
