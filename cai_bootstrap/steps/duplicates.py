"""Exact and near duplicates: a MinHash index of everything kept so far and of every held-out suite."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from rensa import RMinHash, RMinHashLSH

from cai_bootstrap.evals import english

_NUM_PERMUTATIONS = 128
_NUM_BANDS = 32
"""4 rows a band: pairs of Jaccard similarity 0.5 meet in a band with probability 0.87, of 0.7 with 0.9999 (1−(1−s⁴)³²).
What meets is then compared exactly."""
_LABELS = frozenset(
    "answer this complete finish sentence phrase proverb respond to generate write one name give question title word "
    "describe description describes story about contain contains short make up book".split()
)
"""Words that say what is to be done, not what it is about: two tasks with the same frame are no duplicates."""
_SMALL = frozenset(
    "what which who where when how do does is are was the a an of in on at to for with and or you your it its that this "
    "we i my me word some any can will would be by as from there have has".split()
)


def shingles(text: str) -> set[str]:
    """Words and pairs of neighbouring words, frames such as «Write a sentence with the word» left out."""
    words = [w for w in english.words(text) if w not in _LABELS and w not in _SMALL] or english.plain(text).split()
    return set(words) | {f"{a} {b}" for a, b in itertools.pairwise(words)}


def content_words(text: str) -> frozenset[str]:
    """The words that carry a text's meaning: no labels («Answer this»), no function words, plurals folded."""
    return frozenset(w for w in english.words(text) if w not in _LABELS and w not in _SMALL)


class DuplicateIndex:
    """Texts by name, found again exactly, nearly, or by their content words."""

    def __init__(self, threshold: float) -> None:
        """`threshold`: Jaccard similarity of the shingles from which two texts count as the same."""
        self.threshold = threshold
        self._lsh = RMinHashLSH(threshold, _NUM_PERMUTATIONS, _NUM_BANDS)
        self._shingles: list[set[str]] = []
        self._exact: set[str] = set()
        self._content: set[frozenset[str]] = set()

    def __len__(self) -> int:
        return len(self._shingles)

    def add(self, texts: Iterable[str]) -> None:
        """Put texts into the index."""
        for text in texts:
            grams = shingles(text)
            self._lsh.insert(len(self._shingles), _sketch(grams))
            self._shingles.append(grams)
            self._exact.add(english.plain(text))
            self._content.add(content_words(text))

    def find(self, text: str) -> str:
        """`exact`, `near` or `content` when the index holds such a text, else an empty string."""
        if english.plain(text) in self._exact:
            return "exact"
        grams = shingles(text)
        for key in self._lsh.query(_sketch(grams)):
            other = self._shingles[key]
            if len(grams & other) / max(1, len(grams | other)) >= self.threshold:
                return "near"
        words = content_words(text)
        return "content" if words and words in self._content else ""


def _sketch(grams: set[str]) -> RMinHash:
    sketch = RMinHash(num_perm=_NUM_PERMUTATIONS, seed=0)
    sketch.update(sorted(grams))
    return sketch
