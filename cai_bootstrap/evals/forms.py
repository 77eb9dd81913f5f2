"""Whether a text is of the form that was asked for: a question, a fact, a request, an instruction, or a greeting and its like.

`form` is the verifier of the generation suite: it is told the form and the words that show the topic. `on_type` reads both
off the instruction itself, for training data whose instructions a model wrote. Neither knows whether a fact is true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from cai_bootstrap.evals import english, moods

_MOODS: dict[str, Callable[[str], str]] = {
    "question": moods.asks,
    "fact": moods.states,
    "request": moods.requests,
    "instruction": moods.orders,
}

_SORTS = {
    "greeting": r"^(?:hello|hi|hey|dear|good (?:morning|day|afternoon|evening)|welcome|greetings)\b"
    r"|\b(?:nice|good|lovely|great|pleased|glad) to (?:meet|see)\b|\bhow (?:are|do) you\b|\bhows it going\b",
    "farewell": r"\b(?:good ?bye|bye|farewell|so long|good ?night|take care|cheerio)\b|\bsee you\b|\bsafe (?:trip|journey|travels)\b"
    r"|\b(?:have a|until) (?:\w+ )?(?:nice|good|great|lovely|safe|next|then|tomorrow|soon|we)\b",
    "apology": r"\b(?:sorry|apologi[sz]e|apolog(?:y|ies)|forgive|pardon|regret|my (?:fault|mistake|bad))\b",
    "thanks": r"\b(?:thanks?|thank you|grateful|thankful|appreciate)\b",
    "warning": r"\b(?:careful|beware|danger(?:ous)?|caution|warning|hot|slippery|deep|sharp|poisonous|never|do not|dont|keep (?:away|out|off)"
    r"|stay (?:away|back|off|out)|stand back|stop|mind the|hurt|fall|break)\b|^(?:watch|look) out\b|\bwatch your\b",
    "promise": r"\b(?:i|we) (?:(?:solemnly|really) )?(?:promise|swear|will|shall|wont)\b|\b(?:ill|well)\b|\bmy word\b|\bcount on me\b",
    "invitation": r"\bcome (?:and|to|over|with|along|join|for)\b|\bjoin (?:me|us)\b|\binvit(?:e|ed|ing)\b|\blike to (?:come|join|have|go|visit|eat|play|dance|stay|watch|see)\b"
    r"|\b(?:do|dont) you (?:want|fancy|feel like)\b|\b(?:can|could|will|wont) you (?:come|join)\b|\bare you (?:free|coming)\b"
    r"|\b(?:you are|youre) (?:\w+ )?(?:welcome|invited)\b|\blets\b|\bhow about\b|\bplease (?:come|join|visit)\b",
    "compliment": r"\b(?:your|you|youre|youve)\b.*\b(?:nice|good|great|lovely|beautiful|kind|clever|smart|wonderful|best|brave|funny"
    r"|pretty|fantastic|amazing|excellent|well|delicious|talented|helpful|friendly|perfect|brilliant|handsome|strong|sweet|elegant|tasty"
    r"|generous|patient|fun|bright|charming)\b|\bi (?:really |just )?(?:like|love|admire) (?:your|how you|the way you)\b|\bwell done\b"
    r"|^(?:what a|such a) (?:nice|good|great|lovely|beautiful|wonderful|kind|clever|pretty|fantastic|amazing)\b"
    r"|\b(?:nice|good|great|excellent|fantastic|wonderful|amazing|lovely|beautiful) (?:job|work|idea|dress|hat|shoes|smile|voice|haircut)\b",
    "wish": r"\b(?:happy|merry|wish(?:es|ing)?|good luck|best of luck|all the best|hope(?:s|fully)?|may (?:you|your|we|all|the)|get well|sweet dreams"
    r"|congratulations|enjoy|have (?:a|an|fun))\b",
    "complaint": r"\b(?:too|not|never|no|always|isnt|doesnt|dont|didnt|cant|wont|wasnt|broken|cold|late|dirty|noisy|loud|bad|terrible|awful"
    r"|wrong|rude|slow|unhappy|disappointed|complain|missing|tired of|sick of|annoy(?:s|ing|ed)|stale|worst|unfair|old|hate|still|hours?|stop)\b",
    "excuse": r"\b(?:sorry|because|late|missed|forgot|lost|broke|broken|sick|ill|could(?:nt| not)|had to|was|were|ate|stuck|overslept|did(?:nt| not)|cant|cannot|wasnt)\b",
}
"""Short texts of a sort, and what is said in each, as patterns on `english.plain` text."""

FORMS = (*_MOODS, *_SORTS)
"""Every form by name."""

_LEAD_INS = frozenset(
    ("sure", "ok", "okay", "of course", "certainly", "well", "yes", "sure thing", "here you go", "here it is")
)
_NAME = r"(?:question|fact|statement|request|instruction|example|order|command|direction|sentence)"
_LABEL = re.compile(
    rf"^\W*(?:(?:here is |heres |here's |this is |one |another |my |an? |the )?(?:[a-z]+[ -]){{0,3}}?{_NAME}\b[^:.?!\n]{{0,60}}?:"
    rf"|(?:an?|one|another|the) (?:[a-z]+ ){{0,2}}?(?:fact|statement)\b[^:.?!\n]{{0,40}}? (?:is|would be) that|the fact is that"
    rf"|an? (?:[a-z]+ ){{0,2}}?example\b[^:.?!\n]{{0,40}}? (?:is|would be),?(?= ['\"“]))\s*",
    re.IGNORECASE,
)
"""What may stand before the text: «Here is a question about rivers:», «One fact about rivers is that»."""
_TALK = re.compile(
    r"\b(?:questions?|requests?|instructions|(?:an?|one|the|this|another|first|short|simple|clear|polite) (?:\w+ )?(?:instruction|command|statement|example|request))\b"
    r"|\b(?:a|one|another|the|true|interesting|simple|few|some|any|more) facts?\b(?<!in fact)|\bfacts? (?:about|is|on)\b"
)
_VAGUE = frozenset(
    """thing something anything everything fact name kind type sort way true false good nice very really is are was were
    be has have had do does did can could will would it its that this they there of in on at to for with and or not so
    one some many lot important interesting know called about all just too also""".split()
)
"""Words that say nothing about a topic."""


def form(answer: str, instruction: str, *, form: str, topic: Sequence[str] = (), opens: Sequence[str] = ()) -> str:
    """Right when the first sentence is of the `form`, says something of its own and a word of the `topic`, if one is given.

    Any inflection of a topic's word counts. `opens` are the words with which a question has to begin. A greeting or the
    reason («I am cold.») may stand before a request.
    """
    text, reason = _judged(answer, instruction, form)
    if reason:
        return reason
    if form in _MOODS:
        reason = _MOODS[form](text)
    elif not re.search(_SORTS[form], english.plain(text)):
        reason = f"not of the sort: {form}"
    if reason:
        return reason
    if opens and moods.question_opening(text) not in opens:
        return f"does not begin with {opens[0]}"
    if topic and not _says_one_of(f"{answer if form == 'request' else text}", topic):
        return f"not about {topic[0]}"
    said = set(english.plain(text).split()) - english.ARTICLES
    if form == "fact" and not {stem(word) for word in said - _VAGUE} - {
        stem(part) for word in topic[:3] for part in word.split()
    }:
        return "says nothing of its own"
    return ""


def on_type(instruction: str, text: str) -> str:
    """As `form`, with form and topic read off the instruction; the topic's own words have to be there.

    "" when the text is what the instruction asks for and nothing else, else the reason. An instruction that is not
    understood is one: «not understood», as is an example of a class, of which nothing here knows the members.
    """
    asked = parse(instruction)
    if asked is None:
        return "instruction not understood"
    wanted, topic, opens = asked
    if _LABEL.match(text) or len(english.sentences(text)) > (2 if wanted not in ("question", "fact") else 1):
        return "more than was asked for"
    return form(text, instruction, form=wanted, topic=topic, opens=opens)


_MAKE = (
    r"(?:generate|write(?: down| me)?|create|make(?: up)?|give(?: me)?|ask(?: me| someone| somebody)?|state|tell(?: me| us)?|think of|invent"
    r"|come up with|compose|name|say|formulate|suggest|form|produce|provide|pose|share|phrase|word|offer|show(?: me)?|find|what is|what would be)"
)
_COUNT = r"(?:an?|one|any|some|another|the|me)"
_NOUNS = {
    "question": "question",
    "fact": r"fact|statement|piece of knowledge",
    "request": "request",
    "instruction": r"instruction|order|command|direction",
} | {sort: sort for sort in _SORTS}
_NOUNS["greeting"], _NOUNS["farewell"] = "greeting|welcome", "farewell|goodbye"
_NOUNS["thanks"], _NOUNS["excuse"] = "(?:word of )?thanks|thank[ -]you", "excuse"
_ANY_NOUN = "|".join(f"(?P<{name}>{nouns})" for name, nouns in _NOUNS.items())
_OF = rf"(?:{_COUNT} )?(?:[a-z]+ )?examples? of "
_ASKED = re.compile(
    rf"^(?:please )?{_MAKE} (?:{_OF})?(?:{_COUNT} )?(?P<adjectives>(?:(?!and |about |of |to )[\w\"',-]+ ){{0,5}}?)(?:{_ANY_NOUN})s?\b(?P<rest>.*)$",
    re.IGNORECASE,
)
_SOMETHING = re.compile(
    r"^(?:please )?(?:say|tell(?: me| us)?|state|write) (?:something|one thing|a thing) (?:that is )?(?:\w+ and )?(?:true|real|interesting|correct)"
    r" (?:about|on|of)(?P<topic> .+)$",
    re.IGNORECASE,
)
_ASK_SOMETHING = re.compile(
    r"^(?:please )?(?:ask|think of)(?: \w+){0,3}? (?:something|anything)(?: to ask)?(?: \w+){0,2}? about(?P<topic> .+)$",
    re.IGNORECASE,
)
_TO_DO = re.compile(
    r"^(?:please )?(?:politely |kindly )?(?:ask|request|beg) (?:(?!to )[\w']+ ){0,4}?(?:politely |kindly |nicely )?(?:to|for)(?P<topic> .+)$",
    re.IGNORECASE,
)
_OPENS = re.compile(
    r"\b(?:begins|starts|beginning|starting|begin|start) with (?:the words? )?[\"']?(?P<word>\w+)|[\"'](?P<quoted>\w+)[\"']",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"\byes\b.{1,6}\bno\b", re.IGNORECASE)
_ABOUT = re.compile(r"(?:.*?\s)?(?:about|on|concerning|regarding|related to|involving|with)(?P<topic> .+)$", re.IGNORECASE)
_DOING = re.compile(
    r"^ (?:(?:to|for) (?:\w+ ){1,3}?)?(?:to|for|on how to|how to|that tells \w+ (?:how )?to|that asks \w+(?: \w+)? to)(?P<topic> .+)$",
    re.IGNORECASE,
)
_WHOM_ONLY = re.compile(
    r"^ ?(?:(?:that (?:you|we|one|someone|somebody|a|an|the|\w+)|you|to ask|to|for|from|in|at|a|an) .*)?$", re.IGNORECASE
)
_TOPICLESS = frozenset(
    """a an the of in on at to for with and or your you someone somebody something one some any other how what where when why
    who is are be it its that this polite politely true short simple about life general topic thing use make get do using people person his
    her their them him my our me us by from as so not no out up day good new old small little big""".split()
)


def parse(instruction: str) -> tuple[str, list[str], list[str]] | None:
    """The form, the topic's words and the words to begin with that an instruction asks for; None when it is not understood.

    No topic's words: the instruction names none, or only somebody whom a text is for, who need not be named in it.
    """
    text = instruction.strip().rstrip(".!?").strip()
    for pattern, wanted in ((_SOMETHING, "fact"), (_ASK_SOMETHING, "question")):
        if match := pattern.match(text):
            topic = _topic(match["topic"])
            return (wanted, topic, []) if topic else None
    match = _ASKED.match(text)
    if match is None:
        match = _TO_DO.match(text)
        topic = _topic(match["topic"]) if match else []
        return ("request", topic, []) if topic else None
    wanted = next(name for name in _NOUNS if match[name])
    rest, before = match["rest"], match["adjectives"]
    opens = _opens(f"{before} {rest}") if wanted == "question" else []
    rest = _OPENS.sub("", _YES_NO.sub("", rest))
    if about := _ABOUT.match(rest):
        topic = _topic(about["topic"])
        return (wanted, topic, opens) if topic else None
    if wanted in ("request", "instruction") and (doing := _DOING.match(rest)):
        # «an instruction for making tea» tells a topic, «an instruction for a pupil» a person.
        first = (doing["topic"].split() or [""])[0]
        if first.endswith("ing") or not re.match(r"^ for\b", rest) and first in moods.ORDERS:
            topic = _topic(doing["topic"])
            return (wanted, topic, opens) if topic else None
    return (wanted, [], opens) if wanted != "fact" and _WHOM_ONLY.match(rest) else None


def stem(word: str) -> str:
    """What the inflections of a word share («bakes», «baking», «baked»: «bak»). Both sides of a comparison go through it."""
    word = english.singular(word)
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and re.search(r"[aeiouy]", rest):
            word = rest[:-1] if rest[-1] == rest[-2] and rest[-1] not in "lsz" else rest
            break
    if len(word) > 3 and word.endswith("e"):
        word = word[:-1]
    return word[:-1] + "i" if len(word) > 2 and word.endswith("y") else word


def _judged(answer: str, instruction: str, form: str) -> tuple[str, str]:
    """The sentence that decides, or why there is none: the first one, after «Sure!» and a label."""
    found = english.sentences(answer)
    if not found:
        return "", "empty"
    if len(found) > 1 and english.plain(found[0]) in _LEAD_INS:
        found = found[1:]
    if english.is_echo(found[0], instruction):
        return "", "echo"
    found = english.sentences(_LABEL.sub("", found[0], count=1)) + found[1:]
    if not found:
        return "", "empty"
    text = found[0]
    if form == "request" and len(found) > 1 and (moods.greets(text) or re.match(r"(?:I|My|It|We|Our|There)\b", text)):
        text = found[1] if moods.requests(text) else text
    if form in _SORTS:
        text = " ".join(found[:2])
    if english.is_echo(text, instruction) or english.words(text) == english.words(instruction):
        return "", "echo"
    if english.is_loop(text):
        return "", "loops"
    if english.is_refusal(text) and form not in ("excuse", "apology", "complaint"):
        return "", "refuses"
    if english.is_tautology(text):
        return "", "tautology"
    if _TALK.search(english.plain(text)) or (form != "instruction" and english.is_about_the_task(text)):
        return "", "talks about the task"
    return text, ""


def _says_one_of(text: str, topic: Iterable[str]) -> bool:
    said = [stem(word) for word in english.plain(text).split()]
    return any(english.find([stem(part) for part in english.plain(word).split()], said) for word in topic)


def _opens(text: str) -> list[str]:
    if _YES_NO.search(text):
        return sorted(english.QUESTION_AUXILIARIES)
    match = _OPENS.search(text)
    word = (match["word"] or match["quoted"]).lower() if match else ""
    if not word:
        word = (
            next((token for token in re.split(r"\W+", text.lower()) if token in english.QUESTION_WORDS), "")
            if "question" not in text
            else ""
        )
    return [word, f"{word}s"] if word in english.QUESTION_WORDS | english.QUESTION_AUXILIARIES else []


def _topic(text: str) -> list[str]:
    """The words of a topic that tell what it is."""
    text = re.sub(r"\b(?:that|which|who|to ask|for|in one sentence)\b .*$", "", f"{text} ").strip() or text
    return [word for word in english.plain(text).split() if word not in _TOPICLESS]
