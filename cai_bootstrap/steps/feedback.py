"""Feedback that can be applied to a sentence by rule, surely and in one way. What is in doubt is left alone."""

from __future__ import annotations

import random
import re

from cai_bootstrap.evals import english
from cai_bootstrap.steps.flawed import STARTS, Flaw, Flawed, capitalised, decapitalised

_ORDERS = frozenset(
    "bring call carry clean close come cook cut draw feed fetch fill find give go help hold hurry keep leave let listen "
    "look make move open pass pick play pour pull push put read ring say send shut sing sit speak stand start stay stop "
    "take tell throw turn wait wake walk wash watch wear wipe write".split()
)
PAIRS = (
    ("dog", "horse"), ("horse", "donkey"), ("bird", "bee"), ("mouse", "rabbit"), ("car", "van"), ("boat", "ship"),
    ("coffee", "milk"), ("bread", "cheese"), ("morning", "night"), ("spring", "winter"), ("red", "black"),
    ("kitchen", "cellar"), ("garden", "yard"), ("mountain", "hill"), ("doctor", "nurse"), ("teacher", "farmer"),
    ("chair", "sofa"), ("hat", "scarf"), ("monday", "wednesday"), ("saturday", "thursday"), ("piano", "guitar"),
    ("soup", "salad"), ("door", "window"), ("mother", "grandmother"), ("father", "grandfather"), ("forest", "desert"),
    ("rain", "snow"), ("book", "letter"), ("clock", "mirror"), ("cousin", "neighbour"), ("gate", "door"),
    ("computer", "phone"), ("hut", "tent"), ("coat", "jacket"), ("village", "town"), ("cliff", "beach"), ("farmer", "baker"),
    ("nuts", "seeds"), ("supper", "lunch"), ("wall", "fence"), ("pond", "lake"), ("letter", "postcard"), ("road", "path"),
    ("museum", "theatre"), ("lamp", "candle"), ("table", "bench"), ("cup", "bowl"), ("train", "tram"), ("flowers", "books"),
    ("school", "church"), ("kitten", "puppy"), ("bathroom", "bedroom"), ("tower", "cave"), ("scarf", "sweater"),
    ("winter", "spring"), ("thunder", "lightning"), ("sofa", "bed"), ("tunnel", "cellar"), ("cheese", "fish"),
    ("week", "month"), ("cake", "bread"), ("story", "song"), ("market", "station"), ("ship", "raft"), ("tea", "juice"),
    ("cow", "goat"), ("hill", "mountain"), ("shoes", "socks"), ("bag", "box"), ("mug", "glass"), ("pen", "pencil"),
    ("milk", "water"), ("rabbit", "hedgehog"), ("tree", "bush"), ("sheep", "goats"),
)  # fmt: skip
"""Both of a pair take «a», and both are one or many, so that nothing but the word changes."""
_BEGINNINGS = ("Luckily", "Perhaps", "Maybe", "Of course", "In fact")
"""Words that any statement may begin with, whatever its tense."""
_COLOURS = frozenset("red green blue yellow black white brown grey pink purple golden".split())
_NO_COLOUR_AFTER = frozenset("is are was were be and or an in of turned turns painted looks looked not".split())
SYNONYMS = {
    "small": ("little", "tiny"), "large": ("big", "huge"), "huge": ("big", "very big"),
    "quick": ("fast", "swift"), "quickly": ("fast", "swiftly"), "ill": ("sick", "unwell"), "clever": ("smart", "bright"),
    "smart": ("clever", "bright"), "silent": ("quiet", "still"), "rich": ("wealthy", "well off"), "glad": ("happy", "pleased"),
    "speak": ("talk", "converse"), "talk": ("speak", "chat"), "talks": ("speaks", "chats"), "shop": ("store", "market"),
    "woods": ("forest", "trees"), "forest": ("wood", "woods"), "mum": ("mother", "mom"), "father": ("dad", "daddy"),
    "mother": ("mum", "mom"), "road": ("street", "way"), "street": ("road", "lane"), "rock": ("stone", "boulder"),
    "stone": ("rock", "pebble"), "difficult": ("hard", "tricky"), "pretty": ("lovely", "beautiful"),
    "beautiful": ("pretty", "lovely"), "brave": ("bold", "fearless"), "famous": ("well known", "noted"),
    "strange": ("weird", "curious"), "often": ("frequently", "many times"), "maybe": ("perhaps", "possibly"),
    "middle": ("centre", "center"), "tale": ("story", "fable"), "boss": ("chief", "manager"), "trip": ("journey", "tour"),
    "journey": ("trip", "voyage"), "bike": ("bicycle", "cycle"), "tasty": ("delicious", "yummy"), "hat": ("cap", "bonnet"),
    "couch": ("sofa", "settee"), "sofa": ("couch", "settee"), "film": ("movie", "picture"), "nearly": ("almost", "practically"),
    "dirty": ("filthy", "grubby"), "shouted": ("yelled", "cried"), "scared": ("frightened", "afraid"), "rug": ("carpet", "mat"),
    "silly": ("foolish", "daft"), "dad": ("father", "daddy"),
}  # fmt: skip
"""A word and two that may stand for it: the first always, the second mostly. Both go with «a», as the word does."""
_DAYS = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?"
_SEASONS = "(?:spring|summer|autumn|winter)"
_TAIL = re.compile(
    r" (?:(?P<how>slowly|quickly|loudly|quietly|softly|carefully|gently|happily|sadly|neatly|warmly|patiently|politely|calmly)"
    rf"|(?P<when>in the (?:morning|afternoon|evening)|at (?:night|noon|dawn|midnight)|on {_DAYS}"
    rf"|in {_SEASONS}|every (?:day|week|month|year|morning|evening|night|summer|winter)|today|tomorrow|yesterday|tonight"
    r"|(?:last|next|this) (?:night|week|month|year|morning|evening|summer|winter)))\.\Z"
)
_MIN_LEFT = 3
_NO_END = frozenset(
    "is are was were be a an the and or but of to with in on at for from by until very so too more as it that".split()
)
"""Words that want something behind them."""
_FRAMES = ('{0}: "{1}"', 'Revise this and {2}: "{1}"', 'Apply the feedback and {2}: "{1}"', 'Change this and {2}: "{1}"')


def ask(rng: random.Random, family: str, request: str, draft: str, **what: object) -> Flawed:
    """The request on the draft, in one of its phrasings; `what` are further fields of `Flawed`."""
    instruction = rng.choice(_FRAMES).format(capitalised(request), draft, request)
    return Flawed(kind="feedback", family=family, instruction=instruction, draft=draft, request=request, **what)  # type: ignore[arg-type]


def is_statement(sentence: str) -> bool:
    """Whether a sentence ends in a full stop and is no order."""
    return sentence.endswith(".") and sentence.split()[0].lower() not in _ORDERS | {"please", "let"}


def _please(sentence: str, rng: random.Random) -> Flawed | None:
    if sentence.split()[0].lower() not in _ORDERS or not sentence.endswith(".") or "please" in sentence.lower():
        return None
    request = rng.choice(("add please", "add the word please", "say please", "put a please in it"))
    revised, other = f"Please {decapitalised(sentence)}", f"{sentence[:-1]}, please."
    return ask(rng, "please", request, sentence, revised=revised, others=(other,))


def _swap(sentence: str, rng: random.Random) -> Flawed | None:
    said = english.plain(sentence).split()
    found = [pair for pair in PAIRS if said.count(pair[0]) == 1 and pair[1] not in said]
    if not found:
        return None
    old, new = rng.choice(found)
    revised = re.sub(rf"\b({old}|{old.capitalize()})\b", lambda hit: new.capitalize() if hit[0][0].isupper() else new, sentence)
    old, new = (old.capitalize(), new.capitalize()) if old.endswith("day") else (old, new)
    frames = ("say {1} instead of {0}", "put {1} in place of {0}", "write {1}, not {0}", "replace {0} with {1}")
    return ask(rng, "swap", rng.choice(frames).format(old, new), sentence, revised=revised, gone=(old,))


def _exclamation(sentence: str, rng: random.Random) -> Flawed | None:
    if not sentence.endswith("."):
        return None
    request = rng.choice(("end with an exclamation mark", "add an exclamation mark", "put an exclamation mark at the end"))
    return ask(rng, "exclamation", request, sentence, revised=f"{sentence[:-1]}!", ends="!")


def _capitals(sentence: str, rng: random.Random) -> Flawed | None:
    revised = sentence.upper()
    request = rng.choice(("write it in capital letters", "put it in capital letters", "use only capital letters"))
    return ask(rng, "all_capitals", request, sentence, revised=revised, exact=(revised[:-1],))


def _begin(sentence: str, rng: random.Random) -> Flawed | None:
    first = sentence.split()[0]
    # Of another first word nobody knows whether it is a name, which keeps its capital («Rose», «Snow»).
    if not is_statement(sentence) or "," in sentence or not (first.lower() in STARTS or first == "I"):
        return None
    words = rng.choice(_BEGINNINGS)
    if words.split()[0].lower() in english.plain(sentence).split():
        return None
    request = rng.choice(("begin with {}", "start with {}", "put {} at the front")).format(words)
    comma = "," if words in ("Luckily", "Of course", "In fact") else ""
    return ask(rng, "begin", request, sentence, revised=f"{words}{comma} {decapitalised(sentence)}", begins=words)


def _leave_out(sentence: str, rng: random.Random) -> Flawed | None:
    return _without_tail(sentence, rng) or _without_word(sentence, rng)


def _without_tail(sentence: str, rng: random.Random) -> Flawed | None:
    """Without how or when it is, where that is said last and what stands before it is whole."""
    hit = _TAIL.search(sentence)
    if hit is None or not is_statement(sentence) or "," in sentence:
        return None
    left, tail = sentence[: hit.start()], hit[0][1:-1]
    before = left.split()
    if len(before) < _MIN_LEFT or before[-1] in _NO_END or not english.has_verb(left):
        return None
    what = "when it is" if hit["when"] else "how it is done"
    words = "words" if " " in tail else "word"
    request = rng.choice((f"leave out {what}", f"leave out the {words} {tail}", f"drop the {words} {tail}"))
    return ask(rng, "leave_out", request, sentence, revised=f"{left}.", gone=(tail,))


def _without_word(sentence: str, rng: random.Random) -> Flawed | None:
    words = sentence.split()
    for i, word in enumerate(words[1:-1], start=1):
        before, follows = words[i - 1].lower(), words[i + 1]
        if word == "very" and before not in ("a", "an", "not"):
            request = "leave out the word very"
        elif (
            word in _COLOURS
            and follows.strip(".,").isalpha()
            and before not in _NO_COLOUR_AFTER
            and follows not in ("and", "or")
        ):
            request = "leave out the colour"
        else:
            continue
        # It would have to be «an», or the comma of a list would be left over.
        if (before == "a" and follows[0] in "aeiou") or before.endswith(","):
            continue
        return ask(rng, "leave_out", request, sentence, revised=" ".join(words[:i] + words[i + 1 :]), gone=(word,))
    return None


def _other_word(sentence: str, rng: random.Random) -> Flawed | None:
    words = re.findall(r"[a-z]+", sentence)
    found = [word for word in words if words.count(word) == 1 and word in SYNONYMS and words[words.index(word) - 1] != "an"]
    if not found:
        return None
    word = rng.choice(found)
    revised, other = (re.sub(rf"\b{word}\b", new, sentence) for new in SYNONYMS[word])
    frames = ("use another word for {}", "say it with a word that means the same as {}", "put another word in place of {}")
    request = rng.choice(frames).format(word)
    return ask(rng, "other_word", request, sentence, revised=revised, others=(other,), gone=(word,))


EDITS: dict[str, Flaw] = {
    "please": _please,
    "swap": _swap,
    "exclamation": _exclamation,
    "all_capitals": _capitals,
    "begin": _begin,
    "leave_out": _leave_out,
    "other_word": _other_word,
}
"""For each family an edit that returns None where the sentence does not surely take it."""
