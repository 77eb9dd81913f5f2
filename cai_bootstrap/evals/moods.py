"""Whether an English sentence asks, states, requests or orders something. Rules, not a parser.

Each function takes one sentence and returns "" when it is of that mood, else the reason in a few words. Nothing here
knows what the sentence should be about: `forms` asks that.
"""

from __future__ import annotations

import itertools
import re

from cai_bootstrap.evals import english
from cai_bootstrap.evals.verbs import FINITE, NOUNS_TOO, ORDERS, has_verb

_QUOTES = "\"'“”‘’«» \n"
_OPEN_END = frozenset("a an the and or but because my your his her their our its very".split())
"""A sentence whose last word is one of these broke off."""

_PREPOSITIONS = frozenset(
    """about above across after against along among around as at before behind below beneath beside between beyond by
    despite down during except for from if in inside into like near of off on once onto opposite out outside over past
    since than through till to toward towards under unless unlike until up upon when whenever while with within without
    because although though where wherever whether""".split()
)
"""Words that open a clause or a phrase before the main one."""
_CLOSED = _PREPOSITIONS | frozenset(
    """a an the i you he she it we they me him us them my your his its our their this that these those there here what
    which who whom whose why how and or but so yes no not all any both each either every few half many more most much
    neither nobody none nothing one only other others our several some somebody someone something such another enough
    everybody everyone everything anybody anyone anything almost nearly even often sometimes usually today tomorrow
    yesterday twice rather quite very too also maybe perhaps just""".split()
    + list(english.QUESTION_AUXILIARIES)
    + list(english.NUMBER_WORDS)
)
"""Words that are no bare verb whatever follows."""
_DETERMINERS = frozenset(
    """a an the my your his her its our their this these those each every all some any both no one two three four five
    six ten half enough another it them him me us yourself yourselves""".split()
)
"""What follows a verb as its object, or begins one, and never a noun that begins a sentence."""
_ADVERBS = frozenset(
    """please first firstly second secondly third next then now finally lastly always never carefully slowly gently quickly
    kindly just simply also only afterwards again once quietly politely lightly well softly evenly regularly everyone
    children kids students""".split()
)
"""What may stand before the verb of an order."""


_ASKERS = english.QUESTION_WORDS | english.QUESTION_AUXILIARIES
_CLAUSE_END = re.compile(r"[,;:]\s+|\s+[–—-]\s+")
_GREETS = re.compile(
    r"^(?:hello|hi|hey|dear|excuse me|sorry|pardon(?: me)?|good (?:morning|day|afternoon|evening)|oh|well|so|okay|ok"
    r"|mum|mom|dad)\b"
)

_WHOM = r"(?:you|i|we|someone|somebody|anyone|anybody|everyone|everybody|one of you|all of you|the \w+|mr \w+|mrs \w+)"
_ASKS_TO_DO = re.compile(
    rf"\b(?:could|would|can|will|may|might|wont|cant|couldnt) {_WHOM} "
    r"(?!like\b|love\b|prefer\b|rather\b)(?:(?:please|kindly|possibly|perhaps|maybe|all|just) )*\w+"
)
_ASKS_A_FAVOUR = re.compile(
    r"\b(?:would|do) you (?:please )?mind\b|\bwould it be (?:possible|okay|ok|all right|alright)\b"
    r"|\bis it (?:possible|okay|ok|all right|alright) (?:if|to|for|that)\b|\bis there any (?:chance|way)\b|\bany chance\b"
    r"|\bdo you think (?:that )?(?:you|i|we) (?:could|can|might)\b|\bdo you have .* (?:i|we) (?:can|could|may|might)\b"
    r"|\b(?:i would|id|we would|wed) (?:really |very much |also )?"
    r"(?:like|love|appreciate|be (?:\w+ )?(?:grateful|glad|happy|thankful|pleased))\b"
    r"|\b(?:i|we) (?:was |am |were |are )?wonder(?:ed|ing)? (?:if|whether)\b|\bim wondering (?:if|whether)\b"
    r"|\b(?:may|might|can|could) i (?:please )?(?:ask|have|get|borrow|use)\b|\bi (?:beg|ask|urge|request|invite) (?:of )?you\b"
    r"|\bi (?:need|want) you(?:r help)?\b.*\bplease\b|\b(?:i|we) (?:need|could use) your help\b"
    r"|\bit would be (?:\w+ )?(?:nice|great|kind|lovely|helpful|good) (?:if|of) you\b"
)
_ABILITY = re.compile(r"\b(?:can|will|cant|wont) you (?:[a-z]+ ?){1,2}$")
"""«Can you swim?» asks whether, not that; one of `_FAVOURS` after it asks that."""
_FAVOURS = re.compile(
    r"\byou (?:help|come|stop|wait|hurry|listen|stay|drive|move|leave|repeat|explain|slow|speak up|join|call)\b"
    r"|\b(?:me|us|my|our|the|a|it|him|her|them|this|that)\b"
)
_TELLS = re.compile(
    r"^(?:he|she|they|it|people|(?:the|a|my|your|his|her) (?:\w+ )?\w+) (?:\w+ )?"
    r"(?:said|asked|says|asks|told|tells|wants|wanted|is|are|was|were)\b"
)
_NO_REQUEST = frozenset("yes no oh thanks thank ok okay sure nothing".split())


def asks(sentence: str) -> str:
    """Whether a sentence is one question, in a question's form."""
    text = sentence.strip(_QUOTES)
    if not text.endswith("?") or text.count("?") != 1:
        return "not one question"
    tokens = _main_clause(text)
    if not tokens or not _opens_like_a_question(tokens):
        return "not in the form of a question"
    if len(tokens) < 2 or len(english.plain(text).split()) < 3:
        return "says nothing of its own"
    if tokens[-1] in _OPEN_END or (tokens[-1] in _ASKERS and tokens[-1] not in ("do", "have", "can", "will", "is", "are")):
        return "breaks off"
    if (
        tokens[0] in english.QUESTION_AUXILIARIES
        or has_verb(" ".join(tokens))
        or tokens[0] in ("whats", "wheres", "whos", "hows")
    ):
        return ""
    return "asks nothing" if len(tokens) < 4 or tokens[1] in ("about", "the", "a", "an") else ""


def question_opening(sentence: str) -> str:
    """The word with which a question's main clause begins, in lower case: «Dad, why …?» begins with why."""
    tokens = _main_clause(sentence.strip(_QUOTES))
    return tokens[0] if tokens else ""


def states(sentence: str) -> str:
    """Whether a sentence states something that need not be about anyone in the room: no question, no order, no «I like»."""
    text = sentence.strip(_QUOTES)
    if "?" in text:
        return "a question"
    if reason := _broken(text):
        return reason
    tokens = english.plain(text).split()
    if "i" in tokens or tokens[0] in ("he", "she", "my", "im", "ive", "id", "ill") or "my" in tokens:
        return "personal"
    if tokens[0] in ("lets", "please") or ("please" in tokens and "to" not in tokens) or _is_plain_order(tokens):
        return "an order"
    return "" if len(tokens) >= 2 and has_verb(text) else "not a sentence"


def requests(sentence: str) -> str:
    """Whether a sentence asks somebody to do or give something, politely or by a question."""
    text = sentence.strip(_QUOTES)
    said = english.plain(text)
    tokens = said.split()
    if reason := _broken(text):
        return reason
    if _TELLS.search(said):
        return "tells of somebody"
    if _ASKS_A_FAVOUR.search(said):
        return "" if len(tokens) >= 4 else "says nothing of its own"
    asked = _ASKS_TO_DO.search(said)
    if asked and _begins(said, text, asked.start()):
        if "please" in tokens or not _ABILITY.search(said[asked.start() :]) or _FAVOURS.search(said[asked.start() :]):
            return "" if len(tokens) >= 3 else "says nothing of its own"
        return "asks whether, not to do it"
    if "please" not in tokens or "to please" in said or (tokens[0] in _NO_REQUEST and not text.startswith("No ")):
        return "requests nothing"
    rest = [token for token in tokens if token != "please"]
    if tokens[-1] == "please":
        # «Two tickets to London, please.» needs no verb.
        return "" if len(rest) >= 2 else "says nothing of its own"
    after = [token for token in tokens[tokens.index("please") + 1 :] if token not in _ADVERBS]
    if after and (orders(" ".join(after) + "!") == "" or (after[0] == "do" and len(after) > 1)):
        return ""
    return "" if orders(text) == "" else "requests nothing"


def orders(sentence: str) -> str:
    """Whether a sentence tells somebody to do something: an imperative, maybe after «First», «Please» or «To make tea,»."""
    text = sentence.strip(_QUOTES)
    if "?" in text:
        return "a question"
    if reason := _broken(text):
        return reason
    clauses = [english.plain(clause).split() for clause in _CLAUSE_END.split(text)]
    clauses = [clause for clause in clauses if clause and clause != ["please"]]
    if not clauses or re.match(r"\w+-\w", text):  # «Hide-and-seek is fun.»
        return "not an order"
    for number, clause in enumerate(clauses):
        tokens = clause
        while tokens and tokens[0] in _ADVERBS and (len(tokens) > 1 or number + 1 < len(clauses)):
            tokens = tokens[1:]
        if not tokens:
            continue
        # «Milk.» names a thing, «Run!» and «Now run.» do not.
        alone = len(clauses) == number + 1 and (tokens[0] not in NOUNS_TOO or text.endswith("!") or tokens != clause)
        if _is_order(tokens, alone=alone):
            return ""
        if tokens[0] not in _PREPOSITIONS and not _GREETS.search(" ".join(tokens)) and len(tokens) > 3:
            break
    else:
        # «Before you cook wash your hands.»: without its comma the verb has to be found by its object.
        tokens = english.plain(text).split()
        if tokens[0] in _PREPOSITIONS and len(clauses) == 1:
            known = ORDERS if tokens[1] == "you" else ORDERS - NOUNS_TOO
            if any(verb in known and thing in _DETERMINERS for verb, thing in itertools.pairwise(tokens[3:])):
                return ""
    return "not an order"


def greets(sentence: str) -> bool:
    """Whether a sentence only leads in: a greeting, an «Excuse me.»."""
    said = english.plain(sentence)
    return bool(_GREETS.search(said)) and "?" not in sentence and len(said.split()) <= 5 and "please" not in said


def _broken(text: str) -> str:
    """Why a text is no whole sentence; "" when it may be one."""
    if not re.search(r"[.!?…]$", text):
        return "does not end like a sentence"
    tokens = english.plain(text).split()
    return "breaks off" if not tokens or tokens[-1] in _OPEN_END - {"her"} or text.endswith(("...", "…")) else ""


def _main_clause(text: str) -> list[str]:
    """The words from the clause on with which the question begins, after «On a cold day,» or «Excuse me,»."""
    clauses = [english.plain(clause) for clause in _CLAUSE_END.split(text)]
    for i, clause in enumerate(clauses):
        tokens = clause.split()
        if tokens and _opens_like_a_question(tokens) and (tokens[0] not in _PREPOSITIONS or i + 1 == len(clauses)):
            return " ".join(clauses[i:]).split()
        leads = tokens and (tokens[0] in _PREPOSITIONS or len(tokens) <= 2 or _GREETS.search(clause))
        if not leads:
            break
    return english.plain(text).split()


def _opens_like_a_question(tokens: list[str]) -> bool:
    if tokens[0] in ("and", "but", "so") and len(tokens) > 1:
        tokens = tokens[1:]
    if tokens[0] in _ASKERS:
        return True
    return tokens[0] in _PREPOSITIONS and not english.QUESTION_WORDS.isdisjoint(tokens[1:3])


def _begins(said: str, text: str, start: int) -> bool:
    """Whether what begins at `start` of the plain sentence begins it, or follows a clause or a short address."""
    before = said[:start].split()
    return len(before) <= 2 or before[0] in _PREPOSITIONS or bool(_CLAUSE_END.search(text)) or bool(_GREETS.search(said))


def _is_order(tokens: list[str], *, alone: bool) -> bool:
    """Whether a clause begins with a bare verb that has no subject."""
    first, following = tokens[0], tokens[1:]
    if first in ("do", "dont") or tokens[:2] == ["do", "not"]:
        return len(following) >= 1 and following[0] not in ("you", "we", "they", "i")
    if first in ORDERS or tokens[:2] == ["have", "a"]:
        if following and following[0] in _DETERMINERS:
            return True
        return not (first in NOUNS_TOO and any(token in FINITE for token in following[:3])) and (bool(following) or alone)
    odd = (
        first in _CLOSED
        or first.endswith(("ing", "ed", "ly", "ness", "tion"))
        or (first.endswith("s") and not first.endswith("ss"))
    )
    return not odd and bool(following) and following[0] in _DETERMINERS - {"no", "one", "all"}


def _is_plain_order(tokens: list[str]) -> bool:
    """Whether a sentence can only be an order: statements may begin with a noun or adjective that is a verb as well."""
    while len(tokens) > 1 and tokens[0] in _ADVERBS - {"only", "once", "children", "kids", "students", "everyone"}:
        tokens = tokens[1:]
    if tokens[0] in ("do", "dont"):
        return True
    if tokens[0] not in ORDERS or any(token in FINITE for token in tokens[1:3]):
        return False
    if not has_verb(" ".join(tokens[1:])):
        return True
    return tokens[0] not in NOUNS_TOO or (len(tokens) > 1 and tokens[1] in _DETERMINERS | _PREPOSITIONS - {"like", "from"})
