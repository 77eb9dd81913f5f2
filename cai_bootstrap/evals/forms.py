"""Whether a text is of the form that was asked for: a question, a fact, a request, an instruction, or a greeting and its like.

`form` is the verifier of the generation suite: it is told the form and the words that show the topic. `on_type` reads both
off the instruction itself, for training data whose instructions a model wrote. Neither knows whether a fact is true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from cai_bootstrap.evals import english, moods
from cai_bootstrap.evals.phrasings import parse
from cai_bootstrap.evals.sorts import SORTS

_MOODS: dict[str, Callable[[str], str]] = {
    "question": moods.asks,
    "fact": moods.states,
    "request": moods.requests,
    "instruction": moods.orders,
}

FORMS = (*_MOODS, *SORTS)
"""Every form by name."""

_LEAD_INS = frozenset(
    ("sure", "ok", "okay", "of course", "certainly", "well", "yes", "sure thing", "here you go", "here it is")
)
_NAME = r"(?:question|fact|statement|request|instruction|example|order|command|direction|sentence)"
_LABEL = re.compile(
    rf"^\W*(?:(?:here is |heres |here's |this is |one |another |my |an? |the )?"
    rf"(?:[a-z]+[ -]){{0,3}}?{_NAME}\b[^:.?!\n]{{0,60}}?:"
    rf"|(?:an?|one|another|the) (?:[a-z]+ ){{0,2}}?(?:fact|statement)\b[^:.?!\n]{{0,40}}? (?:is|would be) that|the fact is that"
    rf"|an? (?:[a-z]+ ){{0,2}}?example\b[^:.?!\n]{{0,40}}? (?:is|would be),?(?= ['\"“]))\s*",
    re.IGNORECASE,
)
"""What may stand before the text: «Here is a question about rivers:», «One fact about rivers is that»."""
_ONE = "(?:an?|one|the|this|another|my|first|short|simple|clear|polite)"
_TALK = {
    "question": re.compile(r"\bquestions?\b"),
    "request": re.compile(r"\brequests?\b"),
    "fact": re.compile(rf"\b(?:{_ONE}|true|interesting|few|some|any|more) (?:facts?|statement)\b|\bfacts? (?:about|is|on)\b"),
    "instruction": re.compile(
        rf"\binstructions\b|\b{_ONE} (?:instruction|command)\b"
        r"|^(?:write|generate|make|create|give|state|tell)\b.*\b(?:question|fact|request|example|statement|instruction)\b"
    ),
}
"""Talk about the text instead of the text itself, by the form that is asked for."""
_EXAMPLE = re.compile(rf"\b{_ONE} (?:\w+ )?example\b")
_REASON = re.compile(r"(?:I|I'm|My|It|It's|We|Our|There|There's|This|The)\b")
"""How a sentence begins that gives the reason for a request."""


def form(answer: str, instruction: str, *, form: str, topic: Sequence[str] = (), opens: Sequence[str] = ()) -> str:
    """Right when the first sentence is of the `form`, says something of its own and a word of the `topic`, if one is given.

    Any inflection of a topic's word counts. `opens` are the words with which a question has to begin. A greeting or the
    reason («I am cold.») may stand before a request.
    """
    return _verdict(answer, instruction, form, topic, opens)


def on_type(instruction: str, text: str) -> str:
    """As `form`, with form and topic read off the instruction; the topic's own words have to be there.

    "" when the text is what the instruction asks for and nothing else, else the reason. An instruction that is not
    understood is one: «not understood», as is an example of a class, of which nothing here knows the members.
    """
    asked = parse(instruction)
    if asked is None:
        return "instruction not understood"
    wanted, topic, heads, opens = asked.form, asked.topic, asked.heads, asked.opens
    if _LABEL.match(text) or len(english.sentences(text)) > (2 if wanted not in ("question", "fact") else 1):
        return "more than was asked for"
    reason = _verdict(text, instruction, wanted, topic, opens, compounds=True)
    if reason or len(topic) < 2 or (wanted == "question" and "you" in topic):
        return reason
    # «Close the book, please.» is no request about closing the door: either the door is there, or more than one word.
    hits = [word for word in topic if _says_one_of(text, [word], compounds=True)]
    return "" if len(hits) > 1 or set(hits) & set(heads) else f"not about {heads[-1]}"


_PLURALS = dict(
    pair.split(":")
    for pair in """teeth:tooth feet:foot geese:goose mice:mouse children:child men:man women:woman people:person leaves:leaf
    loaves:loaf knives:knife wolves:wolf shelves:shelf calves:calf halves:half scarves:scarf thieves:thief wives:wife""".split()
)


def bases(word: str) -> frozenset[str]:
    """What a plain word may be an inflection of: «baking» of bak or bake. Two words go together when they share one."""
    word = _PLURALS.get(word) or english.singular(word)
    found = {word, f"{word[:-2]}y"} if word.endswith("ie") else {word}
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 2:
            found |= {rest, f"{rest}e"}
            if rest[-1] == rest[-2]:
                found.add(rest[:-1])
            if rest[-1] in "iy":
                found |= {f"{rest[:-1]}y", f"{rest[:-1]}ie"}
    return frozenset(found)


_VAGUE = frozenset().union(
    *map(
        bases,
        """a an the thing something anything everything fact name kind type sort way true false good nice very really
        is are was were be has have had do does did can could will would it its that this they there of in on at to
        for with and or not so one some many lot important interesting know called about all just too also""".split(),
    )
)
"""Words that say nothing about a topic, and what they may be inflections of."""


def _verdict(
    answer: str, instruction: str, form: str, topic: Sequence[str], opens: Sequence[str], *, compounds: bool = False
) -> str:
    """As `form`; with `compounds` a part of a word may show the topic."""
    text, lead, reason = _judged(answer, instruction, form)
    if reason:
        return reason
    if form in _MOODS:
        reason = _MOODS[form](text)
    elif not SORTS[form].search(english.plain(text)):
        reason = f"not of the sort: {form}"
    if reason:
        return reason
    if opens and moods.question_opening(text) not in opens:
        return f"does not begin with {opens[0]}"
    if topic and not _says_one_of(f"{lead} {text}", topic, compounds=compounds):
        return f"not about {topic[0]}"
    if form == "instruction" and topic and len(english.words(text)) < 2:
        return "says nothing of its own"
    if form == "fact":
        known = _VAGUE.union(*(bases(part) for word in topic[:1] for part in word.split()))
        if all(bases(word) & known for word in english.plain(text).split()):
            return "says nothing of its own"
    return ""


def _judged(answer: str, instruction: str, form: str) -> tuple[str, str, str]:
    """The sentence that decides, after «Sure!» and a label; the one before it, where a request has one; why there is none."""
    found = english.sentences(answer)
    if len(found) > 1 and english.plain(found[0]) in _LEAD_INS:
        found = found[1:]
    if found and english.is_echo(found[0], instruction):
        return "", "", "echo"
    label = _LABEL.match(found[0]) if found else None
    found = english.sentences(found[0][label.end() :]) + found[1:] if label else found
    if not found:
        return "", "", "empty"
    # «A fact about bees is that they sting.» is about bees; what a heading names is not said of it.
    text, lead = found[0], label[0] if label and label[0].rstrip().endswith("that") else ""
    if form == "request" and len(found) > 1 and moods.requests(text) and (moods.greets(text) or _REASON.match(text)):
        lead, text = found[:2]
    if form in SORTS:
        text = " ".join(found[:2])
    return text, lead, _no_text(text, instruction, form)


def _no_text(text: str, instruction: str, form: str) -> str:
    """Why a text is nothing that was written on purpose: an echo, a loop, a refusal, talk about the task."""
    if english.is_echo(text, instruction) or set(english.words(text)) <= set(english.words(instruction)):
        return "echo"
    if english.is_loop(text):
        return "loops"
    if english.is_refusal(text) and form not in ("apology", "complaint", "excuse"):
        return "refuses"
    if english.is_tautology(text):
        return "tautology"
    said = english.plain(text)
    talks = _EXAMPLE.search(said) or (form in _TALK and _TALK[form].search(said))
    return "talks about the task" if talks or (form in ("question", "fact") and english.is_about_the_task(text)) else ""


def _says_one_of(text: str, topic: Iterable[str], *, compounds: bool = False) -> bool:
    """Whether a text says some word of the topic, be it inflected; with `compounds` «raindrop» says rain."""
    said = [bases(word) for word in english.plain(text).split()]
    for phrase in topic:
        parts = [bases(part) for part in english.plain(phrase).split()]
        for start in range(len(said) - len(parts) + 1):
            if all(part & said[start + i] for i, part in enumerate(parts)):
                return True
        if compounds and any(_compound(token, part) for token in map(min, said) for part in map(min, parts)):
            return True
    return False


def _compound(said: str, word: str) -> bool:
    """Whether one word is a part of the other one, where both the part and the rest are long enough to be words."""
    long, short = (said, word) if len(said) > len(word) else (word, said)
    fits = long.startswith(short) or (long == word and long.endswith(short))
    return fits and len(short) >= 4 and len(long) - len(short) >= 3
