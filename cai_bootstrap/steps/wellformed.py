"""Which lines are usable instructions: rules by kind, on opening, punctuation and what is asked for."""

from __future__ import annotations

import re

from cai_bootstrap.config import InstructionsConfig
from cai_bootstrap.evals import english, phrasings
from cai_bootstrap.evals.harm import asks_for_harm
from cai_bootstrap.steps.duplicates import content_words
from cai_bootstrap.steps.kinds import REQUESTS, WRITTEN, asks_for

_LABEL = r"(?:Answer|Complete|Finish|Continue|Respond|Reply|Generate|Write|Describe|Name|Create|Tell me)\b"
"""Words that say what to do, which an implicit instruction leaves unsaid."""
_OPENINGS = {
    "answer": re.compile(
        r"^(?:Answer this: )?(?:What|Which|Who|Where|When|In which|On which|How|Is|Are|Do|Does|Can|Name|Give|Tell me)\b"
    ),
    "complete": re.compile(
        r"^(?:Complete|Finish|Continue)(?: the| this)?(?: (?:sentence|phrase|proverb|saying|series|list|pair|comparison))?: \S"
    ),
    "generate": re.compile(
        r"^(?:Generate|Write|Describe|Give|Name|Make(?: up)?|Ask|Use|Create|Say|Tell me|Think of|Invent|Wish)\b"
    ),
    "respond": re.compile(r"^(?:Respond|Reply|Write a (?:kind |short |polite )?reply)(?: [a-z]+){0,4}: \S"),
    "question": re.compile(r"^(?:What|Which|Who|Where|When|In which|On which|How|Is|Are|Do|Does|Can)\b.*\?$"),
    "statement": re.compile(rf"^(?!{_LABEL})\S.*[^.!?;:]$"),
    "opener": re.compile(rf"^(?!{_LABEL})[A-Z].*[.!?]$"),
    **dict.fromkeys(REQUESTS, re.compile(r"^[A-Z].*[.?]$")),
    **dict.fromkeys(WRITTEN, re.compile(r"^[A-Z][a-z]+(?: \S+){2,}\.$")),
}
_PREFIX = re.compile(r"^(?:Answer|Complete|Finish|Continue|Respond|Reply|Write a [a-z ]*reply)[^:]*: ")
_NEEDS_CONTEXT = re.compile(
    r"\b(?:pictures?|photos?|images?|drawings?|below|above|following|passage|text|paragraph|diagram|chart|table|"
    r"these|those|this (?:sentence|word|phrase|story|picture|letter|question|list|one|thing|person|animal)|underlined|blank)\b",
    re.IGNORECASE,
)
_PERSONAL = re.compile(r"\b(?:your|you|my|his|her|their|our|favou?rite|he|she|they|we|i|me|us)\b", re.IGNORECASE)
_IMPERSONAL_YOU = re.compile(r"\b(?:do|can|would|should) you (?:use|wear|put|buy|find|see|need|hear|keep|call)\b")
_NOUN = r"(?:(?!an?\b|the\b)\w+ ){0,2}(?!an?\b|the\b)\w+"
_NO_PROPERTY = re.compile(rf"^(?:(?:Which|Who|What) is|Is|Are)(?: it| this)? (?:an? |the )?{_NOUN} or (?:an?|the) {_NOUN}\?$")
"""«Is a guitar or a piano?»: a small model answers «A guitar is a piano.»"""
_TASTE = re.compile(r"\b(?:best|worst|nicest|funniest|coolest|prettiest|most (?:beautiful|common|important|popular|fun))\b")
_LONG_TASK = re.compile(
    r"\b(?:story|poem|essay|song|letter|paragraph|list|summary|speech|report|play|poster|article|dialogue|conversation|"
    r"sentences|questions|words|names|titles|two|three|four|five|ten|draw|collage|recipe|page|book|novel|comic|riddle|rhyme|joke|map)\b",
    re.IGNORECASE,
)
_UNTRUE = re.compile(r"\b(?:false|untrue|wrong|incorrect|made-up|silly)\b", re.IGNORECASE)
_TITLE = re.compile(r"\btitle\b", re.IGNORECASE)


def malformed(kind: str, text: str, config: InstructionsConfig) -> str:
    """Why a line is no usable instruction of its kind; empty when it is one."""
    num_words = len(text.split())
    if num_words < config.min_words:
        return "too short"
    if num_words > config.max_words:
        return "too long"
    if not _OPENINGS[kind].match(text):
        return "wrong opening for its kind"
    if not text.isascii() or re.search(r"[\[\]<>{}()_|*#=\\/]|\.\.\.|--|http", text) or text.count('"') not in (0, 2):
        return "malformed"
    body, asked = _PREFIX.sub("", text), asks_for(kind)
    if _NEEDS_CONTEXT.search(body):
        return "needs context"
    if english.is_loop(text):
        return "loop"
    if asked == "answer":
        asks = body.endswith("?") or (re.match(r"(?:Name|Give|Tell me)\b", body) and body.endswith("."))
        if not asks or body.count("?") > 1 or num_words < 4:
            return "not a question"
        if _PERSONAL.search(_IMPERSONAL_YOU.sub("", body.removeprefix("Tell me"))):
            return "personal or unclear reference"
        if _NO_PROPERTY.match(body):
            return "asks about no property"
        if _TASTE.search(body):
            return "a matter of taste"
    if asked == "complete":
        if len(body.split()) < 2 or re.search(r"[.!?;:]$", body):
            return "nothing to complete"
        if not body.endswith(",") and len(content_words(body)) < 1:
            return "open to any ending"
    if asked == "generate":
        if not re.search(r"[a-z]\"?\.$", text):
            return "malformed"
        if _LONG_TASK.search(text) and not _TITLE.search(text):
            return "asks for a long text"
        if kind in WRITTEN:
            return _misses_its_type(kind, text)
        if _PERSONAL.search(text.removeprefix("Tell me")):
            return "personal or unclear reference"
    if asked == "respond" and (len(body.split()) < 2 or body == body.lower()):
        return "too short"
    if kind == "harmful" and not asks_for_harm(text):
        return "asks for no harm"
    return ""


def _misses_its_type(kind: str, text: str) -> str:
    """Why an instruction of stage 3 does not ask for the type of its kind; an example may be of any type."""
    found = phrasings.parse(text)
    if found is None:
        return "not understood"
    if _UNTRUE.search(text):
        return "asks for something untrue"
    return "" if kind in ("write_example", f"write_{found.form}") else "asks for another type"
