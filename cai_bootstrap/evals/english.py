"""What the verifiers know of written English: words, sentences, echoes, loops, verbs and number words.

Rules, not a parser: small on purpose, so that each can be read and tested. Everything works on normalised words.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

ARTICLES = frozenset({"a", "an", "the"})
NEGATIONS = frozenset("not no never nor neither without isnt arent wasnt werent dont doesnt didnt cannot cant wont".split())
QUESTION_WORDS = frozenset("what when where which who whom whose why how whats wheres whos hows".split())
QUESTION_AUXILIARIES = frozenset(
    "is are was were am do does did can could will would should shall may might must has have had "
    "isnt arent dont doesnt didnt cant couldnt wont wouldnt havent hasnt".split()
)

_LIST_MARKER = re.compile(r"^\s*(?:\d{1,2}[.)]|[-*•])\s+(?=\S)")
_SENTENCE_END = re.compile(r"(?<![ .][A-Z]\.)(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<!\bSt\.)(?<=[.!?…])[\"'”’)\]]*\s+")
_REFUSAL = re.compile(
    r"\b(?:as an ai|i (?:do not|dont|really dont) know|i have no idea|i (?:am|m) not (?:sure|able)|im not (?:sure|able)"
    r"|i (?:cannot|cant|can not|am unable to|wont) (?:answer|help|do|say|complete|write|generate|respond))\b"
)
_REFUSAL_BEGINS = frozenset({"as", "i", "im"})
"""The first words of what `_REFUSAL` looks for, which most texts do not have."""
_META = re.compile(
    r"\b(?:write|generate|make|create|give|use|compose)\b.{0,24}\b(?:sentences?|questions?|titles?|headline|the word)\b"
    r"|\b(?:sentence|question|title)s? (?:with|about|using|containing|that|which|for)\b|\bthis sentence\b"
)

_VERBS = frozenset(
    """accept add admire agree allow am answer appear are arrive ask bake bark be beat become been began begin begun
    believe belong bend bite blew blink bloom blow board boil borrow bought bounce break breathe bring broke
    brought brush build built burn burst buy call came can care carry catch caught celebrate change chase chat
    cheer chew chirp choose chose clap clean climb close collect come comfort connect contain continue cook cool
    cost cough could count cover crash crawl cross cry cut dance decide deliver did die dig disappear discover
    dive do does draw dream drew drift drink drive drop drove drown dry dug eat eaten end enjoy enter escape
    examine excite expect explain explore fall feed feel fell felt fetch fight fill find finish fix flash flew
    float flow fly fold follow forget forgot form fought found freeze froze gather gave get give glow go got
    grab grew grow guard guess guide had hang happen has hatch hate have hear heard heat held help hide hit hold
    hop hope hug hung hunt hurry hurt imagine improve is join jump keep kept kick kiss knew knit knock know land
    last laugh lay lead leak lean learn leave led left let lick lie lift light like listen live look lose lost
    love made make mark may mean meet melt met might miss mix move must need offer open order own pack paint
    pass pay peel pick plan plant play please point pour prefer prepare produce protect provide pull push put
    rain raise ran reach read ride ring rise roar rode roll rose ruin run rush sail sang sat save saw say scare
    scatter scream see seem seen sell send sent serve set shake shall share shine shone should shout show sing
    sit skate sleep slept slide slip smell smile snore snow sold spend spent spin splash spread squeeze stand
    start stay steal step stick stir stood stop study surprise swam sweep swept swim swing take talk taste
    taught teach tell thank think thought threw throw tie tire told took touch travel try turn understand use
    visit wait wake walk wander want warm was wash watch water wave wear went were whisper will win wish woke
    won wore work worry would write wrote yawn blossom bow sparkle twinkle gallop graze shelter fascinate amaze
    dominate include represent symbolize inspire remain require tend ought its thats theres im youre theyre hes
    shes lets weve ive didnt doesnt isnt dont cant""".split()
)  # contracted forms stand here without their apostrophe: «it's» is a subject with its verb

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
NUMBER_WORDS: dict[str, int] = (
    {word: value for value, word in enumerate(_UNITS)} | {word: 20 + 10 * i for i, word in enumerate(_TENS)} | {"dozen": 12}
)


_NUM_REMEMBERED = 4096
"""A text is looked at from many sides in a row, and its words come again in the next one."""

# What `plain` makes of each ASCII character: letters in lower case, apostrophes gone, all else but digits a space.
_PLAIN = {code: char.lower() if (char := chr(code)).isalnum() else None if char in "'`" else " " for code in range(128)}


@functools.lru_cache(maxsize=_NUM_REMEMBERED)
def plain(text: str) -> str:
    """`text` in lower case without accents, apostrophes and punctuation, words parted by one space."""
    if text.isascii():
        return " ".join(text.translate(_PLAIN).split())
    text = unicodedata.normalize("NFKD", text).lower()
    text = "".join(char for char in text if not unicodedata.combining(char))
    text = re.sub(r"['’‘`´]", "", text)
    return " ".join(re.findall(r"[^\W_]+", text))


@functools.lru_cache(maxsize=_NUM_REMEMBERED)
def singular(word: str) -> str:
    """`word` without a plural ending. Both sides of a comparison go through it, so odd results do no harm.

    «houses» may come from «house» or from «hous»: the final e after a hissing sound or an o goes in both numbers,
    and «ie» becomes «y» in both.
    """
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if len(word) > 3 and word.endswith(("se", "she", "che", "xe", "ze", "oe")):
        return word[:-1]
    if len(word) > 4 and word.endswith("ie"):
        return word[:-2] + "y"
    return word


def words(text: str) -> list[str]:
    """The normalised words of `text`, without articles, plurals folded."""
    return list(_words(text))


@functools.lru_cache(maxsize=_NUM_REMEMBERED)
def _words(text: str) -> tuple[str, ...]:
    return tuple(singular(word) for word in plain(text).split() if word not in ARTICLES)


def sentences(text: str) -> list[str]:
    """The sentences of `text` in order. A line break ends a sentence; list markers are dropped."""
    return list(_sentences(text))


@functools.lru_cache(maxsize=_NUM_REMEMBERED)
def _sentences(text: str) -> tuple[str, ...]:
    found = []
    for line in text.splitlines():
        for piece in _SENTENCE_END.split(_LIST_MARKER.sub("", line)):
            if plain(piece):
                found.append(piece.strip())
    return tuple(found)


def find(phrase: Sequence[str], within: Sequence[str]) -> list[int]:
    """Every position at which the words of `phrase` stand in a row in `within`."""
    size = len(phrase)
    return [i for i in range(len(within) - size + 1) if list(within[i : i + size]) == list(phrase)] if size else []


def is_echo(text: str, instruction: str) -> bool:
    """Whether `text` only repeats three or more words in a row of the instruction, or all of it."""
    ours, theirs = words(text), words(instruction)
    return ours == theirs or (len(ours) >= 3 and bool(find(ours, theirs)))


def without_echo(sentence: str, instruction: str) -> list[str]:
    """The words of `sentence` after the longest run of two or more words that it took over from the instruction."""
    ours, theirs = words(sentence), words(instruction)
    for size in range(len(ours), 1, -1):
        if find(ours[:size], theirs):
            return ours[size:]
    return ours


def own_sentences(answer: str, instruction: str) -> list[str]:
    """The answer's sentences from the first one on that is no echo of the instruction."""
    found = sentences(answer)
    while found and is_echo(found[0], instruction):
        found = found[1:]
    return found


def is_loop(text: str) -> bool:
    """Whether some words stand three times in a row, or a clause of two or more words comes three times."""
    tokens = plain(text).split()
    if len(tokens) - len(set(tokens)) < 2:
        return False  # what comes three times has words that do
    for size in range(1, len(tokens) // 3 + 1):
        for i in range(len(tokens) - 3 * size + 1):
            if tokens[i : i + size] == tokens[i + size : i + 2 * size] == tokens[i + 2 * size : i + 3 * size]:
                return True
    clauses = Counter(clause for part in re.split(r"[.,;:!?\n]", text) if " " in (clause := plain(part)))
    return any(count >= 3 for count in clauses.values())


def is_tautology(sentence: str) -> bool:
    """Whether both sides of «is» or «are» are the same words («A parrot is a parrot»)."""
    tokens = words(sentence)
    return any(
        token in ("is", "are", "was", "were", "mean") and tokens[:i] == tokens[i + 1 :] for i, token in enumerate(tokens) if i
    )


def is_refusal(text: str) -> bool:
    """Whether the text says that it cannot or will not answer."""
    said = plain(text)
    return not _REFUSAL_BEGINS.isdisjoint(said.split()) and bool(_REFUSAL.search(said))


def is_about_the_task(text: str) -> bool:
    """Whether the text talks about writing a sentence, question or title instead of being one."""
    return bool(_META.search(plain(text)))


def has_verb(text: str) -> bool:
    """Whether some word looks like a verb: an inflected form of a common one, or a regular past («-ed»)."""
    return any(_is_verb(token) for token in plain(text).split())


def _is_verb(token: str) -> bool:
    bases = {token}
    if token.endswith("s"):
        bases |= {token[:-1], token[:-2], token[:-3] + "y"}
    if token.endswith("ed"):
        if len(token) > 4:
            return True
        bases |= {token[:-1], token[:-2]}
    if token.endswith("ing"):
        bases |= {token[:-3], token[:-3] + "e", token[:-4]}
    return not bases.isdisjoint(_VERBS)


def numbers(text: str) -> list[float]:
    """The numbers in `text` in order, written in digits or in words up to «one hundred»."""
    found: list[float] = []
    tokens = re.findall(
        r"(?:(?<!\d)(?<!\d\s)-)?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[a-z]+",
        re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text.lower()),
    )
    i = 0
    while i < len(tokens):
        token = tokens[i]
        following = NUMBER_WORDS.get(tokens[i + 1]) if i + 1 < len(tokens) else None
        if token[-1].isdigit():
            found.append(float(token.replace(",", "")))
        elif token in _TENS and following is not None and 0 < following < 10:
            found.append(float(NUMBER_WORDS[token] + following))
            i += 1
        elif token == "hundred":
            found.append(100.0)
        elif token in NUMBER_WORDS and not (i + 1 < len(tokens) and tokens[i + 1] in ("hundred", "dozen")):
            found.append(float(NUMBER_WORDS[token]))
        i += 1
    return found
