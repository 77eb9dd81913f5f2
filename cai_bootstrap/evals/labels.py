"""Verifiers of judgements: whether an answer says the right label («Yes», «A») or a fitting rating («4»).

The first word decides, after what people put before it («Answer:», «The better answer is»). Both labels, or none, is no
judgement. Letters are delicate: «A» is also an article, so «A bee makes honey.» chooses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cai_bootstrap.evals import english

_MARKS = r"[\s\"'“”‘’«»*()\[\]:,#-]*"
_GOOD = r"(?:correct|right|better|best|more helpful|final|proper)"
_LEAD_IN = re.compile(
    rf"{_MARKS}(?:(?:well|sure|okay|ok|so|i (?:think|believe|say|would say|choose|would choose|pick|prefer)(?: that)?"
    rf"|(?:my|the|a) (?:{_GOOD} )?(?:answer|one|choice|option|judgement|verdict)(?: to \"[^\"]*\")? (?:is|would be)"
    rf"|{_GOOD} answer|answer|option|choice|response|judgement|(?:it|that|this) (?:is|would be)|it's|that's)\b{_MARKS})*",
    re.IGNORECASE,
)
_SAME = {"yes": ("yes", "yeah", "yep", "yup"), "no": ("no", "nope", "nah")}
"""Other words for a label."""
_AFTER_LETTER = (
    "is was does has gives gave says said tells told answers answered helps because since as for over not than sounds fits "
    "would and or"
)
"""Words that may follow «A» as the name of an answer, and never as an article."""
_AFTER_WORD = "it its that thats this these they he she we you i the because since as for not and or but answer"
"""Words that may follow «Yes» and «No» without a comma; «No bee does» is another «no»."""
_SHORT = re.compile(r"(?:it|that|this) (?:(?:does|is|would|was|did)(?P<no> not)?|(?P<nt>(?:does|is|would|was|did)nt))")
"""A whole sentence that says yes or no without either word, articles and apostrophes aside."""

_RATING_LEAD_IN = frozenset(
    "i i'd i'll would will d ll it's rate rating rated give gave it its this that answer a an the my score mark grade is as "
    "with of deserves gets be should only just about well so to points number think say response".split()
)
"""Words that may come before a rating."""
_AFTER_RATING = frozenset("point points star stars because since for as i it is to or and maybe".split())
"""Words that may follow a rating; «4 legs» is none."""
_RATINGS = {word: value for word, value in english.NUMBER_WORDS.items() if value <= 10}
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[a-z']+|[^\s\w]|\n")


def label(answer: str, instruction: str, *, label: str, among: Sequence[str]) -> str:
    """Right when the first word is `label`, one of `among`, and none of the others is said with it.

    «Yes, it is.», «It is not.», «The better answer is A.» and «A: Honey.» are judgements; «Yes and no», «A or B»,
    «A: Honey. B: Sand.», a refusal, an echo of the instruction, and an answer to the question that is judged are none.
    """
    text, reason = _own_text(answer, instruction)
    if reason:
        return reason
    short = _SHORT.fullmatch(english.plain(english.sentences(text)[0])) if {"Yes", "No"} == set(among) else None
    if short:
        text = "No." if short["no"] or short["nt"] else "Yes."
    lead_in = _LEAD_IN.match(text)
    text = text[lead_in.end() if lead_in else 0 :]
    said = next((name for name in among if re.match(_named(name), text)), None)
    if said is None:
        return "says no label at once"
    if said != label:
        return f"says {said}"
    found = re.match(_named(said), text)
    tail = text[found.end() if found else 0 :]
    for other in among:
        if other != said and _also(other, tail):
            return f"says {other} as well"
    if re.match(r"[\s,]*(?:is|are)?\s*(?:equally|both|(?:just )?as (?:good|bad|correct|helpful) as|the same as)\b", tail):
        return "leaves it open"
    return ""


def rating(answer: str, instruction: str, *, at_least: float | None = None, at_most: float | None = None) -> str:
    """Right when the first number, from 1 to 5 and at the very beginning but for words like «I would give it a», lies
    within the limits that are given.

    «4», «Four.», «4/5» and «4 out of 5 stars» are the same; «from 1 to 5», «4 or 2» and a list of numbers are wrong.
    """
    text, reason = _own_text(answer, instruction)
    if reason:
        return reason
    if len(text.split()) > 2 and english.plain(text) in english.plain(instruction):
        return "echo"  # «1 for bad to 5 for good»
    tokens = _TOKEN.findall(text.lower())
    start = next((i for i, token in enumerate(tokens) if token[0].isalnum() and token not in _RATING_LEAD_IN), None)
    value = None if start is None else _value(tokens[start])
    if start is None or value is None:
        return "no number at once"
    rest = tokens[start + 1 :]
    if rest[:1] == ["/"] and rest[1:2] in (["5"], ["five"]):
        rest = rest[2:]
    elif rest[:2] == ["out", "of"] and rest[2:3] in (["5"], ["five"]):
        rest = rest[3:]
    if rest and rest[0][0].isalnum() and rest[0] not in _AFTER_RATING:
        return "a number of something else"
    # Another number right after the first one is a range, a choice left open, or a series.
    following = next((token for token in rest if token[0].isalnum() and token not in ("to", "or", "and", "maybe")), "")
    if following and _value(following) not in (None, value):
        return "names more than one number"
    if re.search(r"(?:^|[.!?\n]\s*)[1-5][.)]\s+[A-Za-z]", text[1:]):
        return "a list"
    if not 1 <= value <= 5:
        return f"{value:g} is not between 1 and 5"
    if at_least is not None and value < at_least:
        return f"rates it {value:g}, too low"
    if at_most is not None and value > at_most:
        return f"rates it {value:g}, too high"
    return ""


def _own_text(answer: str, instruction: str) -> tuple[str, str]:
    """The answer without the instruction repeated before or after it, or why it judges nothing."""
    text = answer.strip()
    if not english.plain(text):
        return "", "empty"
    if text.startswith(instruction):
        text = text[len(instruction) :].strip()
    text = text.partition(instruction)[0]
    if not english.plain(text):
        return "", "echo"
    first = english.sentences(text)[0]
    if english.is_loop(first):
        return "", "loops"
    if english.is_refusal(re.sub(r"\"[^\"]*\"", "", first)):
        return "", "refuses"
    return text, ""


def _named(name: str) -> str:
    """A pattern for the label at the beginning of a text, where it is no article or part of another phrase."""
    if len(name) == 1:
        words = "|".join(_AFTER_LETTER.split())
        return rf"(?:{name}(?=\s+(?:{words})\b)|(?i:{name})(?=\s*(?:[.,:;!?)\"'”’»\]*]|$|\n)))(?![-'’]\w)"
    words = "|".join(_AFTER_WORD.split())
    same = "|".join(map(re.escape, _SAME.get(name.lower(), (name,))))
    return rf"(?i:{same})(?![\w'’-])(?=\s*(?:[^\w\s]|$|\n)|\s+(?i:{words})\b)"


def _also(other: str, tail: str) -> bool:
    """Whether what follows a label names another one too: at once, after «or» in the same sentence, or in the next one."""
    name = re.escape(other) if len(other) == 1 else f"(?i:{'|'.join(_SAME.get(other.lower(), (other,)))})"
    between, end = r"[\s\"'.,;:/&|()*–-]*", r"(?:[^\w\s'’]|$|\n)"
    if re.match(rf"{between}{name}\s*{end}", tail):
        return True
    if re.match(rf"{between}(?:(?:and|or|but)\b{between})+(?:also |maybe |perhaps |answer |option )?{name}\b", tail):
        return True
    following = english.sentences(tail)[:2]
    if not re.match(r"[\s\"')\]*]*(?:[.!?]|\n|$)", tail):
        if following and re.search(rf"\bor{between}(?:answer |option )?{name}{end}", following[0]):
            return True
        following = following[1:]
    # What comes after the sentence of the label is only looked at where it goes on with the choice («or B: …», «B: …»).
    return any(re.match(rf"{between}(?:or\b{between})?{name}\s*{end}", sentence) for sentence in following[:1])


def _value(token: str) -> float | None:
    return float(token) if token[0].isdigit() else _RATINGS.get(token)
