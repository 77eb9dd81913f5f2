"""Short texts of a sort, a greeting or a promise, and what is said in each, as patterns on `english.plain` text."""

from __future__ import annotations

import re


def _one_of(phrases: str) -> str:
    """A group of phrases parted by white space; a space within a phrase is written «_»."""
    return f"(?:{'|'.join(phrases.split())})".replace("_", " ")


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


_NICE = _one_of(
    """nice good great lovely beautiful kind clever smart wonderful best brave funny pretty fantastic amazing excellent well
    delicious talented helpful friendly perfect brilliant handsome strong sweet elegant tasty generous patient fun bright
    charming"""
)
_BAD = _one_of(
    """cold late dirty noisy loud bad terrible awful wrong rude slow unhappy disappointed disappointing missing stale worst
    unfair old broken gone horrible disgusting burnt raw empty"""
)
_DO = _one_of("come join have go visit eat play dance stay watch see try")

SORTS = {
    "greeting": _any(
        rf"^{_one_of('hello hi hey dear good_morning good_day good_afternoon good_evening welcome greetings')}\b",
        r"\b(?:nice|good|lovely|great|pleased|glad) to (?:meet|see)\b|\bhow (?:are|do) you\b|\bhows it going\b",
    ),
    "farewell": _any(
        r"\b(?:good ?bye|bye|farewell|so long|good ?night|take care|cheerio)\b|\bsee you\b|\bsafe (?:trip|journey|travels)\b",
        r"\b(?:have a|until) (?:\w+ )?(?:nice|good|great|lovely|safe|next|then|tomorrow|soon|we)\b",
    ),
    "apology": _any(r"\b(?:sorry|apologi[sz]e|apolog(?:y|ies)|forgive|pardon|regret|my (?:fault|mistake|bad))\b"),
    "thanks": _any(r"\b(?:thanks?|thank you|grateful|thankful|appreciate)\b"),
    "warning": _any(
        rf"\b{_one_of('careful beware dangerous danger caution hot slippery deep sharp poisonous never do_not dont stop')}\b",
        r"\b(?:keep (?:away|out|off)|stay (?:away|back|off|out)|stand back|mind the|hurt|fall|break|bites?)\b",
        r"^(?:watch|look) out\b|\bwatch your\b",
    ),
    "promise": _any(
        r"\b(?:i|we) (?:(?:solemnly|really) )?(?:promise|swear|will|shall|wont)\b|\b(?:ill|well (?:be|do|make|take|come))\b",
        r"\bmy word\b|\bcount on me\b",
    ),
    "invitation": _any(
        rf"\bcome (?:and|to|over|with|along|join|for)\b|\bjoin (?:me|us)\b|\binvit(?:e|ed|ing)\b|\blike to {_DO}\b",
        r"\b(?:do|dont) you (?:want|fancy|feel like)\b|\b(?:can|could|will|wont) you (?:come|join)\b",
        r"\bare you (?:free|coming)\b|\b(?:you are|youre) (?:\w+ )?(?:welcome|invited)\b|\blets\b|\bhow about\b",
        r"\bplease (?:come|join|visit)\b",
    ),
    "compliment": _any(
        rf"\b(?:your|you|youre|youve)\b.*\b{_NICE}\b|^(?:what an?|such an?) {_NICE}\b|\bwell done\b",
        r"\bi (?:really |just )?(?:like|love|admire) (?:your|how you|the way you)\b",
        rf"\b(?:is|are|was|were|tastes?|looks?|smells?|looked|tasted) (?:\w+ )?{_NICE}\b",
        rf"\b{_NICE} (?:job|work|idea|dress|hat|shoes|smile|voice|haircut)\b",
    ),
    "wish": _any(
        r"\b(?:happy|merry|wish(?:es|ing)?|good luck|best of luck|all the best|hope|may (?:you|your|we|all|the)|get well)\b",
        r"\b(?:sweet dreams|congratulations|enjoy|have (?:a|an|fun)|sleep (?:well|tight))\b",
    ),
    "complaint": _any(
        r"\b(?:too|not|never|no|always|isnt|doesnt|dont|didnt|cant|wont|wasnt|arent|werent|hate|waiting|waited|hours?|stop)\b",
        rf"\b(?:is|are|was|were|tastes?|got|came|has) (?:\w+ )?{_BAD}\b|\b(?:complain|(?:tired|sick) of|annoy(?:s|ing|ed))\b",
    ),
    "excuse": _any(
        r"\b(?:because|missed|forgot|lost|broke|broken|sick|ill|could(?:nt| not)|had to|was|were|ate|stuck)\b",
        r"\b(?:overslept|did(?:nt| not)|cant|cannot|wasnt|stole)\b",
    ),
}
