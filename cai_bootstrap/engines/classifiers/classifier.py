"""The safety classifier protocol. Implementations are found in `engines.classifiers.CLASSIFIERS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cai_bootstrap.records import Record


@dataclass(frozen=True, kw_only=True)
class SafetyVerdict(Record):
    """What a classifier says of one answer."""

    unsafe: float
    """Probability that the answer is unsafe."""
    categories: list[str]
    """What is unsafe about it, in the classifier's own words; empty below `max_unsafe`, and where it names none."""
    mass: float = 1.0
    """Share of the classifier's probability that went to a verdict at all, before renormalisation: 1 for a classification
    head; low for a language model that answers something else than it was asked."""


class SafetyClassifier(Protocol):
    """A loaded classifier."""

    @property
    def description(self) -> dict[str, str | int | float]:
        """Which classifier, dtype, device, library versions: recorded with what it screened."""
        ...

    def classify(self, pairs: Sequence[tuple[str, str]]) -> list[SafetyVerdict]:
        """One verdict for each (instruction, answer), in order. Raises UserError for a pair that does not fit the context."""
        ...

    def close(self) -> None:
        """Give the model's memory back."""
        ...
