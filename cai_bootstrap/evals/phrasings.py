"""What an instruction asks to be written: form and topic of «Generate a question about bees.» in its many phrasings."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from cai_bootstrap.evals import english
from cai_bootstrap.evals.sorts import SORTS
from cai_bootstrap.evals.verbs import ORDERS

_MAKE = (
    r"(?:generate|write(?: down| me)?|create|make(?: up)?|give(?: me)?|ask(?: me| someone| somebody)?|state|tell(?: me| us)?"
    r"|think (?:of|up)|invent|come up with|compose|name|say|formulate|suggest|form|produce|provide|pose|share|phrase|word|offer"
    r"|show(?: me)?|find|what is|what would be)"
)
_COUNT = r"(?:an?|one|any|some|another|the|me)"
_NOUNS = {
    "question": "question",
    "fact": r"fact|statement|piece of knowledge",
    "request": "request",
    "instruction": r"instruction|order|command|direction",
    **{sort: sort for sort in SORTS},
    "thanks": "(?:word of )?thanks|thank[ -]you",
}
_ASKED = re.compile(
    rf"^(?:please )?{_MAKE} (?:(?:{_COUNT} )?(?:[a-z]+ )?example of )?(?:{_COUNT} )?"
    r"(?P<adjectives>(?:(?!about |of |to )[\w\"',-]+ ){0,5}?)"
    rf"(?:{'|'.join(f'(?P<{name}>{nouns})' for name, nouns in _NOUNS.items())})(?P<many>s)?\b(?P<rest>.*)$",
    re.IGNORECASE,
)
_SAY_SOMETHING = re.compile(
    r"^(?:please )?(?:say|tell(?: me| us)?|state|write|name) (?:something|one thing|a thing) (?:that is )?(?:always )?"
    r"(?:\w+ and )?(?:true|real|interesting|correct) (?:about|on|of)(?P<topic> .+)$",
    re.IGNORECASE,
)
_ASK_SOMETHING = re.compile(
    r"^(?:please )?(?:ask|think of)(?: \w+){0,3}? (?:something|anything)(?: to ask)?(?: \w+){0,2}? about(?P<topic> .+)$",
    re.IGNORECASE,
)
_ASK_TO = re.compile(
    r"^(?:please )?(?:politely |kindly )?(?:ask|request|beg) (?:(?!to )[\w']+ ){0,6}?(?:politely |kindly |nicely )?(?:to|for)"
    r"(?P<topic> .+)$",
    re.IGNORECASE,
)
_OPENS = re.compile(
    r"\b(?:that |which )?(?:begin|start)(?:s|ning|ing)? with (?:the words? )?[\"']?(?P<word>\w+)[\"']?"
    r"|[\"'](?P<quoted>\w+)[\"']",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"\byes\b.{1,6}\bno\b", re.IGNORECASE)
_ABOUT = re.compile(
    r"(?:(?:.*?\s)?about| on(?! how)(?: the subject of)?| concerning| regarding| related to| to do with)(?P<topic> .+)$",
    re.IGNORECASE,
)
_DOING = re.compile(
    r"^ (?:(?:to|for) (?:\w+ ){1,3}?)?(?:to|for|on how to|how to|that tells \w+ (?:how )?to|that asks \w+(?: \w+)? to)"
    r"(?P<topic> .+)$",
    re.IGNORECASE,
)
_FOR_WHOM = re.compile(r"^ ?(?:(?:that|which|you|to|for|from|in|at|between) .*)?$", re.IGNORECASE)
_CLAUSE = re.compile(r"\b(?:that|which|who|to ask|for|in one sentence)\b .*$")
_PARTS = re.compile(r"\b(?:with|and)\b")
_PLACE = re.compile(r"\b(?:in|on|at|from|between|under|near|behind|after|before)\b")
"""What follows says where or when, and the topic stands before it: «birds in winter»."""
_NO_TOPIC = frozenset(
    """a an the of in on at to for with and or your you someone somebody something one some any other how what where when
    why who is are be it its that this polite politely true short simple about life general topic thing use make get do
    using people person his her making taking playing giving going having before after all off down let keep ask could
    might can may would hear hears often heard their them him my our me us by from as so not no out up day good new old
    small little big""".split()
)
"""Words of a topic that do not tell what it is."""
_TOGETHER = ("you", "your", "i", "my", "me", "we", "our", "us")
"""What a question to somebody says, if it does not name who or where he is."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an instruction asks to be written."""

    form: str
    topic: list[str]
    """The words that tell the topic. None: only somebody is named whom the text is for, and he need not be named in it."""
    heads: list[str]
    """Those of the topic's words that the others only describe: bridge of «an old bridge in winter»."""
    opens: list[str]
    """The words one of which a question has to begin with, if any."""


def parse(instruction: str) -> Asked | None:
    """What an instruction asks to be written; None when that is not understood."""
    text = instruction.strip().rstrip(".!?").strip()
    for pattern, wanted in ((_SAY_SOMETHING, "fact"), (_ASK_SOMETHING, "question")):
        if match := pattern.match(text):
            return _with_topic(wanted, match["topic"], [])
    match = _ASKED.match(text)
    if match is None:
        match = _ASK_TO.match(text)
        return _with_topic("request", match["topic"], []) if match else None
    wanted = next(name for name in _NOUNS if match[name])
    if match["many"]:
        return None
    opens = _opens(match["adjectives"], match["rest"]) if wanted == "question" else []
    rest = _OPENS.sub("", _YES_NO.sub("", match["rest"])) if opens else match["rest"]
    if about := _ABOUT.match(rest):
        return _with_topic(wanted, about["topic"], opens)
    if wanted in ("request", "instruction") and (doing := _DOING.match(rest)):
        # «an instruction for making tea» tells a topic, «an instruction for a pupil» a person.
        first = doing["topic"].split()[0]
        if first.endswith("ing") or (first in ORDERS and not rest.startswith(" for ")):
            return _with_topic(wanted, doing["topic"], opens)
    if wanted == "fact" or not _FOR_WHOM.match(rest):
        return None
    asked_of = match["adjectives"] if text.lower().startswith("ask") else ""
    if wanted == "question" and (whom := _with_topic(wanted, f"{asked_of} {rest}", opens)):
        return replace(whom, topic=[*whom.topic, *_TOGETHER])
    return Asked(form=wanted, topic=[], heads=[], opens=opens)


def _with_topic(form: str, text: str, opens: list[str]) -> Asked | None:
    """What is asked for with a topic; None where the topic has no word of its own."""
    text = english.plain(_CLAUSE.sub("", f"{text} ").strip() or text)
    topic = [word for word in text.split() if word not in _NO_TOPIC]
    parts = [
        [word for word in part.split() if word in topic] for whole in _PARTS.split(text) for part in _PLACE.split(whole)[:1]
    ]
    heads = [part[-1] for part in parts if part] or topic
    return Asked(form=form, topic=topic, heads=heads, opens=opens) if topic else None


def _opens(adjectives: str, rest: str) -> list[str]:
    """The words one of which a question is to begin with; none when any may."""
    if _YES_NO.search(f"{adjectives} {rest}"):
        return sorted(english.QUESTION_AUXILIARIES)
    match = _OPENS.search(f"{adjectives} {rest}")
    word = (match["word"] or match["quoted"]).lower() if match else english.plain(adjectives).partition(" ")[0]
    known = english.QUESTION_WORDS | english.QUESTION_AUXILIARIES
    return [word, *({f"{word}s"} & known)] if word in known else []
