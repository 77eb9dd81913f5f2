"""Feedback on who does something, when, how surely, and what is added: edits of a clause with known parts. In doubt, none."""

from __future__ import annotations

import random
import re

from cai_bootstrap.evals import english
from cai_bootstrap.steps.feedback import ask, is_statement
from cai_bootstrap.steps.flawed import Flaw, Flawed, capitalised, decapitalised
from cai_bootstrap.steps.inflections import BASE, PAST, PRESENT, Clause, clause, present

_AUXILIARY = re.compile(r"\b(?:is|are|was|were|can|will)\b")
_SUBJECT = re.compile(
    r"(?:(?:The|My|Your|Our|His|Her|Their|This|That|These|Those|Some) (?:[a-z]+ ){1,2}|(?:It|He|She|We|They|You|There) )"
)
_ADVERBS = ("often", "usually", "sometimes", "also", "still", "really")
_ADVERB_SHARE = 0.5
"""Of the sentences that take nothing else, those that take an adverb: nearly all do."""
_WHEN = ("in the morning", "at noon", "in the evening", "at night", "on Sunday", "before supper", "after school")
_WITH = ("with a friend", "with my uncle", "with our neighbours", "with Martin", "with Sofia", "with his aunt")
_LOOKS = ("old", "big", "brown", "thin", "young", "clean")
_THINGS = frozenset(
    "dog horse donkey bird mouse rabbit car van boat ship doctor teacher farmer nurse baker cousin neighbour hat scarf chair "
    "sofa table bench door gate window clock mirror coat jacket hut tent tree bush cow goat cat kitten puppy man woman boy "
    "girl bag box cup bowl mug book house bridge lamp bus train tram bike singer painter cook driver pupil frog fox".split()
)
"""Nouns for one, of which any of `_LOOKS` may be said."""
_STATES = frozenset("be have like love want need know see hear find feel lose forget smell fall rise win".split())
"""Verbs of what is not done at a chosen time, or in company."""
_PERSONS = ("I", "You", "He", "She", "We", "They")
_ONE = ("He", "She")
_SAYS_WHO = frozenset(
    "i me my mine myself you your yours yourself he him his himself she her hers herself we us our ours they them their theirs "
    "themselves together each both all apart".split()
)
"""Words that would have to change with the person, or tell how many there are."""
_UNSURE_WITH_NOT = frozenset("some always still already also too nothing nobody several both any never no not".split())


def _auxiliary(sentence: str) -> tuple[str, str, str] | None:
    """Subject, auxiliary and rest of a statement that surely has this order."""
    subject, hits = _SUBJECT.match(sentence), list(_AUXILIARY.finditer(sentence))
    if not is_statement(sentence) or not subject or len(hits) != 1 or hits[0].start() != subject.end():
        return None
    rest = sentence[hits[0].end() + 1 :]
    said = set(english.plain(rest).split())
    return None if said & {"not", "never", "no"} or "," in sentence else (subject[0].strip(), hits[0][0], rest)


def _helped(sentence: str) -> tuple[Clause, str] | None:
    """A clause without an auxiliary, and the form of «do» that it takes in a question or with «not»."""
    parts = clause(sentence)
    if parts is None or parts.forms[BASE] == "be" or not is_statement(sentence):
        return None
    return parts, "did" if parts.is_past else "do" if present(parts) == parts.forms[BASE] else "does"


def _question(sentence: str, rng: random.Random) -> Flawed | None:
    request = rng.choice(("make it a question", "turn it into a question", "ask it as a question"))
    if parts := _auxiliary(sentence):
        subject, auxiliary, rest = parts
        revised = f"{auxiliary.capitalize()} {decapitalised(subject)} {rest[:-1]}?"
    elif helped := _helped(sentence):
        own, do = helped
        if own.subject == "I":  # one asks that of oneself only
            return None
        revised = f"{capitalised(do)} {decapitalised(own.subject)} {own.forms[BASE]}{own.rest[:-1]}?"
    else:
        return None
    return ask(rng, "question", request, sentence, revised=revised, ends="?")


def _negate(sentence: str, rng: random.Random) -> Flawed | None:
    helped = _helped(sentence)
    if not _UNSURE_WITH_NOT.isdisjoint(english.plain(sentence).split()):
        return None
    if parts := _auxiliary(sentence):
        subject, auxiliary, rest = parts
        negated = "cannot" if auxiliary == "can" else f"{auxiliary} not"
        request = rng.choice(("put the word not into it", "make it negative", "say that it is not so"))
        return ask(rng, "negate", request, sentence, revised=f"{subject} {negated} {rest}")
    if helped is None:
        return None
    own, do = helped
    without, never = own.with_verb(f"{do} not {own.forms[BASE]}"), own.with_verb(f"never {own.verb}")
    if not own.has_time and own.forms[BASE] not in _STATES and rng.random() < 0.3:
        return ask(rng, "negate", "put the word never into it", sentence, revised=never)
    request = rng.choice(("make it negative", "say that it is not so", "say that this is not true"))
    return ask(rng, "negate", request, sentence, revised=without, others=(never,))


def _person(sentence: str, rng: random.Random) -> Flawed | None:
    ways = [_man_or_woman, _other_person]
    rng.shuffle(ways)
    return ways[0](sentence, rng) or ways[1](sentence, rng)


def _man_or_woman(sentence: str, rng: random.Random) -> Flawed | None:
    first, said = sentence.split()[0], set(english.plain(sentence).split()[1:])
    if first not in _ONE or said & set("he she his her him hers himself herself".split()):
        return None
    new = "She" if first == "He" else "He"
    frames = ("say {1} instead of {0}", "say it about a {2}, not a {3}")
    kinds = ("woman", "man") if new == "She" else ("man", "woman")
    request = rng.choice(frames).format(first.lower(), new.lower(), *kinds)
    return ask(rng, "person", request, sentence, revised=new + sentence[len(first) :], gone=(first.lower(),))


def _other_person(sentence: str, rng: random.Random) -> Flawed | None:
    parts = clause(sentence)
    if parts is None or parts.subject not in _PERSONS or parts.forms[BASE] == "meet":
        return None
    if not _SAYS_WHO.isdisjoint(english.plain(parts.rest).split()):
        return None
    if parts.forms[BASE] == "be":  # of another number what follows would have to be another («a doctor»)
        if parts.subject not in _ONE:
            return None
        new, verb = "I", "was" if parts.is_past else "am"
    else:
        new = rng.choice([person for person in _PERSONS if person != parts.subject])
        verb = parts.verb if parts.is_past else parts.forms[PRESENT if new in _ONE else BASE]
    old = parts.subject if parts.subject == "I" else parts.subject.lower()
    requests = [f"say {new if new == 'I' else new.lower()} instead of {old}"]
    requests += {"I": ["tell it of yourself"], "He": ["tell it of a man"], "She": ["tell it of a woman"]}.get(new, [])
    revised = f"{new} {verb}{parts.rest}"
    return ask(rng, "person", rng.choice(requests), sentence, revised=revised, gone=(old.lower(),))


def _past(sentence: str, rng: random.Random) -> Flawed | None:
    parts = clause(sentence)
    if parts is None or parts.is_past or parts.has_time:
        return None
    request = rng.choice(
        ("put it into the past tense", "say that it was so before", "make it past", "tell it as something past")
    )
    return ask(rng, "past", request, sentence, revised=parts.with_verb(parts.forms[PAST]), gone=_form(parts))


def _future(sentence: str, rng: random.Random) -> Flawed | None:
    parts = clause(sentence)
    if parts is None or parts.has_time:
        return None
    request = rng.choice(("put it into the future tense", "say that it will be so", "make it future", "tell it with will"))
    revised = parts.with_verb(f"will {parts.forms[BASE]}")
    return ask(rng, "future", request, sentence, revised=revised, gone=_form(parts))


def _form(parts: Clause) -> tuple[str, ...]:
    """What of a clause is no longer said in another tense: its verb, with its subject where the verb alone may come again."""
    return (f"{parts.subject} {parts.verb}",) if parts.forms[BASE] in (parts.verb, "be") else (parts.verb,)


def _add(sentence: str, rng: random.Random) -> Flawed | None:
    parts = clause(sentence)
    if parts is None or parts.has_time:
        return None
    ways = [_add_adverb, _add_tail, _add_look]
    rng.shuffle(ways)
    return next((made for way in ways if (made := way(sentence, parts, rng)) is not None), None)


def _add_adverb(sentence: str, parts: Clause, rng: random.Random) -> Flawed | None:
    if rng.random() > _ADVERB_SHARE:
        return None
    adverb = rng.choice(_ADVERBS)
    is_be = parts.forms[BASE] == "be"
    revised = parts.with_verb(f"{parts.verb} {adverb}" if is_be else f"{adverb} {parts.verb}")
    request = rng.choice(("add the word {}", "put the word {} into it", "add {} to it")).format(adverb)
    return ask(rng, "add", request, sentence, revised=revised)


def _add_tail(sentence: str, parts: Clause, rng: random.Random) -> Flawed | None:
    """When it is, or with whom."""
    if parts.forms[BASE] in _STATES:
        return None
    has_company = parts.subject == "It" or not {"with", "without"}.isdisjoint(parts.rest.split())
    tail = rng.choice(_WHEN if has_company else (*_WHEN, *_WITH))
    be = "was" if parts.is_past else "is"
    request = rng.choice(("add {1}", "add that it {0} {1}", "say that it {0} {1}")).format(be, tail)
    front = f"{capitalised(tail)} {decapitalised(sentence)}"
    return ask(rng, "add", request, sentence, revised=f"{sentence[:-1]} {tail}.", others=(front,))


def _add_look(sentence: str, parts: Clause, rng: random.Random) -> Flawed | None:
    """What somebody or something looks like."""
    words = parts.subject.split()
    if len(words) != 2 or words[1] not in _THINGS:
        return None
    look = rng.choice(_LOOKS)
    if look in english.plain(sentence).split():
        return None
    owner, noun = words
    request = rng.choice(("add that {0} {1} is {2}", "say that {0} {1} is {2}", "add the word {2} to {0} {1}"))
    request = request.format("the" if owner in ("This", "That") else owner.lower(), noun, look)
    behind = sentence[len(parts.subject) :]
    others = (f"{owner} {noun} that is {look}{behind}", f"{sentence} The {noun} is {look}.")
    return ask(rng, "add", request, sentence, revised=f"{owner} {look} {noun}{behind}", others=others)


RETELLINGS: dict[str, Flaw] = {
    "question": _question,
    "negate": _negate,
    "person": _person,
    "past": _past,
    "future": _future,
    "add": _add,
}
"""For each family an edit that returns None where the sentence does not surely take it."""
