"""Which sort of message somebody sends: thanks, a greeting, good news, … By words; what is in doubt is none.

Replies are written after worked examples of their sort, so a message in the wrong list gets the wrong reply («I'm sorry to hear
that» to «I am happy»).
"""

from __future__ import annotations

import re

from cai_bootstrap.evals import english

TOLD = ("good_news", "bad_news", "needs")
"""Sorts that only their sense tells: statements, of which contrary words rule out some."""

_ASKED = r"(?:what|who|how|where|which|when|why)"
_SORTS = {
    "wonder": rf"^(?:i wonder|i(?:d| would) (?:like|love) to know|i (?:want|need) to know|i have forgotten {_ASKED}"
    rf"|i (?:cant|cannot|do not|dont) (?:remember|recall) (?:the|{_ASKED})"
    rf"|tell me|my \w+ (?:wants to know|asks))\b",
    "apology": r"^(?!.*\bhear\b).*\b(?:sorry|apologi[sz]e|apolog(?:y|ies)|forgive|my (?:fault|mistake)|pardon)\b",
    "thanks": r"\bthank(?:s| you)?\b",
    "how_are_you": r"^(?:\w+ ){0,4}?how (?:are|is|was|were|do you (?:feel|like)|did|have|has)\b"
    r"|\bare you (?:well|all right|alright|okay|ok|fine)\b|^did you (?:\w+ )?(?:sleep|have|enjoy|like)\b",
    "farewell": r"\b(?:bye|goodbye|good night|see you|take care|sleep well|farewell|until (?:tomorrow|then|monday|next)|so long"
    r"|have a (?:\w+ )?(?:good|nice|great|safe|lovely|pleasant|wonderful)|good luck)\b",
    "greeting": r"^(?:hello|hi|hey|good (?:morning|afternoon|evening|day)|nice to meet|welcome|pleased to meet|greetings)\b",
    "offers": r"^(?:(?:may|can|could|shall|should) (?:i|we)|would you (?:like|care)|do you (?:want|need)"
    r"|how about|what about|lets|come|join|(?:have|take) (?:some|a|another)|help yourself"
    r"|(?:would|will|can|could) you (?:\w+ )?(?:come|join|like))\b",
}
"""By sort what its messages say, in plain text; in the order in which they are tried."""
_PATTERNS = {sort: re.compile(pattern) for sort, pattern in _SORTS.items()}
_GOOD = re.compile(r"\b(?:won|passed|found|married|engaged|promot\w+|prize|happy|glad|proud|wonderful|great|love|success\w*)\b")
_BAD = re.compile(
    r"\b(?:lost|lose|broke\w*|ill|sick|died|dead|miss(?:ed|ing)?|fail(?:ed)?|stolen|stole|hurts?|pain|ache|headache|cancel\w+|fever"
    r"|fell|sad|cry|cried|burn(?:t|ed)|late|torn|worse|wrong|angry|afraid|forgot|accident|hospital|cold|never|not|didnt|doesnt|isnt"
    r"|wasnt|cant|cannot|wont)\b"
)
FORMS = (*_SORTS, *TOLD)


_BOTH_FIT = ({"bad_news", "needs"}, {"good_news", "offers"})
"""Sorts of which a reply to one may fit the other: «I'm sorry to hear that.», «That's great!»."""


def differ(sort: str, other: str) -> bool:
    """Whether a reply to a message of one sort is none to a message of the other; sorts outside of `FORMS` never differ."""
    if sort == other or sort not in FORMS or other not in FORMS:
        return False
    return not any(sort in alike and other in alike for alike in _BOTH_FIT)


def sort_of(message: str, supposed: str) -> str:
    """The sort of a message from the list of the `supposed` sort: that one, another one that its words tell, or "" for none.

    A sort that is not among `FORMS` is believed.
    """
    if supposed not in FORMS:
        return supposed
    said = english.plain(message)
    found = next((name for name, pattern in _PATTERNS.items() if pattern.search(said)), "")
    if found or supposed not in TOLD or message.rstrip().endswith("?"):
        return found
    good, bad = bool(_GOOD.search(said)), bool(_BAD.search(said))
    if supposed == "good_news":
        return "" if bad and not good else "good_news"
    return "" if good and not bad else supposed
