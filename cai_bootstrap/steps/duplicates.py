"""Exact and near duplicates: an index of everything kept so far and of every held-out suite.

Two sets of shingles whose Jaccard similarity is at least t share at least ⌈t·|x|⌉ of each set's members. So in any fixed
order of all shingles, the first |x| − ⌈t·|x|⌉ + 1 of one and of the other have a member in common (the prefix filter of
Chaudhuri, Ganti and Kaushik 2006). Only these few are indexed, and what meets there is compared: nothing is missed.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from cai_bootstrap.evals import english

_LABELS = frozenset(
    english.words(
        "answer this complete finish sentence phrase proverb respond to generate write one name give question title word "
        "describe description story about contain short make up book"
    )
)
"""Words that say what is to be done, not what it is about: two tasks with the same frame are no duplicates."""
_SMALL = frozenset(
    english.words(
        "what which who where when how do does is are was of in on at to for with and or you your it its that this "
        "we i my me word some any can will would be by as from there have has"
    )
)
"""As `english.words` gives them, which folds «does» as if it were a plural."""
NEAR_DUPLICATE = 0.7
"""Jaccard similarity of shingles from which two answers count as one."""
_NONE = -1
_NUM_WORDS_TOLD = 3


def shingles(text: str) -> set[str]:
    """Words and pairs of neighbouring words, frames such as «Write a sentence with the word» left out."""
    words = _meaning(text) or english.plain(text).split()
    return {*words, *_neighbours(words)}


def quotes(instruction: str) -> list[str]:
    """What an instruction quotes of three words or more: a draft, an answer, a question."""
    return [text for text in instruction.split('"')[1::2] if _tells(text)]


def meets(index: DuplicateIndex, instruction: str, answer: str) -> bool:
    """Whether a task is (nearly) a text of `index`, quotes one, or is answered by the very words of one.

    Texts of less than three words are left out, and near ones of less than three that mean something: «Not for you.» stands
    everywhere, and shares all that it means with «I will not answer.».
    """
    if any(_is_held(index, text) for text in (instruction, *quotes(instruction))):
        return True
    return _tells(answer) and index.find(answer) == "exact"


def _is_held(index: DuplicateIndex, text: str) -> bool:
    found = index.find(text) if _tells(text) else ""
    return found == "exact" or (found == "near" and len(_meaning(text)) >= _NUM_WORDS_TOLD)


def _tells(text: str) -> bool:
    return len(text.split()) >= _NUM_WORDS_TOLD


def content_words(text: str) -> frozenset[str]:
    """The words that carry a text's meaning: no labels («Answer this»), no function words, plurals folded."""
    return frozenset(_meaning(text))


def _meaning(text: str) -> list[str]:
    return [word for word in english.words(text) if word not in _LABELS and word not in _SMALL]


def _neighbours(words: list[str]) -> list[str]:
    return [f"{a} {b}" for a, b in itertools.pairwise(words)]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an index compares of a text: hashes of 64 bits, which Python salts anew in every process.

    What is found does not depend on the salt, but for a collision: 1e-5 likely among a million texts.
    """

    exact: int
    content: int
    """Of the content words whatever their order."""
    grams: tuple[int, ...]
    """Of the shingles, in the order of the index: pairs of words, which are rarer, before words."""
    words: frozenset[str]
    """The content words."""

    @classmethod
    def of(cls, text: str) -> Fingerprint:
        """The fingerprint of `text`."""
        meaning = _meaning(text)
        words, plain = frozenset(meaning), english.plain(text)
        told = meaning or plain.split()
        grams = (*sorted(set(map(hash, _neighbours(told)))), *sorted(set(map(hash, told))))
        return cls(hash(plain), hash(tuple(sorted(words))), grams, words)


class DuplicateIndex:
    """Texts by fingerprint, found again exactly, nearly, or by their content words. Holds about 0.6 kB a text."""

    def __init__(self, threshold: float) -> None:
        """`threshold`: Jaccard similarity of the shingles from which two texts count as the same."""
        self.threshold = threshold
        self._exact: set[int] = set()
        self._content: set[int] = set()
        self._grams = array("q")
        """Of all texts, one after the other; text n's begin at `_begins[n]`."""
        self._begins = array("q", [0])
        self._last: dict[int, int] = {}
        """For each indexed gram its newest entry; an entry is a place in the two chains below."""
        self._earlier = array("q")
        """For each entry the one before it with the same gram."""
        self._text_of = array("q")

    def __len__(self) -> int:
        return len(self._begins) - 1

    def add(self, texts: Iterable[str]) -> None:
        """Put texts into the index."""
        for text in texts:
            self.add_fingerprint(Fingerprint.of(text))

    def find(self, text: str) -> str:
        """`exact`, `near` or `content` when the index holds such a text, else an empty string."""
        return self.find_fingerprint(Fingerprint.of(text))

    def add_fingerprint(self, mark: Fingerprint) -> None:
        """Put one text into the index."""
        self._exact.add(mark.exact)
        if mark.words:
            self._content.add(mark.content)
        for gram in self._prefix(mark.grams):
            self._earlier.append(self._last.get(gram, _NONE))
            self._last[gram] = len(self._text_of)
            self._text_of.append(len(self))
        self._grams.extend(mark.grams)
        self._begins.append(len(self._grams))

    def find_fingerprint(self, mark: Fingerprint) -> str:
        """As `find`."""
        if mark.exact in self._exact:
            return "exact"
        if self._has_near(mark.grams):
            return "near"
        return "content" if mark.words and mark.content in self._content else ""

    def _has_near(self, grams: tuple[int, ...]) -> bool:
        size, ours = len(grams), frozenset(grams)
        for gram in self._prefix(grams):
            entry = self._last.get(gram, _NONE)
            while entry != _NONE:
                text = self._text_of[entry]
                begin, end = self._begins[text], self._begins[text + 1]
                other = end - begin
                # Sizes too different make the comparison needless: J ≤ min / max.
                if min(size, other) >= self.threshold * max(size, other):
                    shared = len(ours.intersection(self._grams[begin:end]))
                    if shared / (size + other - shared) >= self.threshold:
                        return True
                entry = self._earlier[entry]
        return False

    def _prefix(self, grams: tuple[int, ...]) -> tuple[int, ...]:
        # A hair less than t·n: a product that rounds up must not shorten the prefix.
        return grams[: len(grams) - math.ceil(self.threshold * len(grams) - 1e-9) + 1]
