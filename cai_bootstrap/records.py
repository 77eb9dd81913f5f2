"""What flows between the steps. Plain frozen dataclasses; `to_row` / `from_row` are the only (de)serialisation."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, Literal, Self

FinishReason = Literal["eos", "stop", "length", "failed"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """Base of all records."""

    def to_row(self) -> dict[str, Any]:
        """A JSON-serialisable dict with every field."""
        return dataclasses.asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """The record that `to_row` wrote. Unknown keys raise TypeError: a record is never read half."""
        return cls(**row)


_FORM = re.compile(r"form (\w+),")


def form_of(source: str) -> str:
    """The form that a `Prompt.source` tells, empty where it was not made from a list."""
    found = _FORM.match(source)
    return found.group(1) if found else ""


@dataclass(frozen=True, kw_only=True)
class Prompt(Record):
    """An instruction that a model is asked to follow."""

    id: str
    kind: str
    instruction: str
    source: str
    """Where it came from: the form of the list it was made from, shard and seed («form thanks, …»), or `held-out`."""

    @property
    def form(self) -> str:
        """The form that it was made as, empty for one that was not made from a list."""
        return form_of(self.source)


@dataclass(frozen=True, kw_only=True)
class Completion(Record):
    """What a model wrote after a rendered prompt."""

    id: str
    prompt_id: str
    text: str
    finish: FinishReason
    num_tokens: int
    logprob: float
    """Sum of the sampled tokens' natural log-probabilities at temperature 1."""
    rendered_prompt: str
    """The exact text given to the model, without BOS."""
    seed: int


@dataclass(frozen=True, kw_only=True)
class Verdict(Record):
    """One candidate's scores. A score that was not computed is absent, never zero."""

    prompt_id: str
    completion_id: str
    scores: dict[str, float]
    principle: str | None = None
    """The id of the constitution's principle that the critic applied, if one was."""


@dataclass(frozen=True, kw_only=True)
class PreferencePair(Record):
    """One training pair. `prompt`, `chosen`, `rejected` are the exact texts, as TRL names them."""

    id: str
    kind: str
    instruction: str
    prompt: str
    chosen: str
    rejected: str
    chosen_eos: bool
    """Whether EOS is taught after `chosen`. Cut-off texts carry none."""
    rejected_eos: bool
    rejected_kind: str
    score: float
    """The chosen candidate's score by the selection method in use."""
    selection: str
    principle: str | None
    group: str = ""
    """Pairs of one group are trained in one optimizer step: they differ in what decides, and their rest cancels out."""
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HeldOutItem(Record):
    """One item of a frozen held-out suite with the verifier that decides it."""

    id: str
    suite: str
    split: Literal["dev", "test"]
    kind: str
    family: str
    instruction: str
    verifier: str
    """Name of a function in `evals.verifiers`."""
    arguments: dict[str, Any]
    group: str = ""
    """Items of one group are right only together: a comparison asked in both orders, a right and a wrong answer judged."""


@dataclass(frozen=True, kw_only=True)
class EvalRecord(Record):
    """One item's outcome for one arm (base raw, base cued, base few-shot, trained)."""

    item_id: str
    kind: str
    family: str
    arm: str
    rendered_prompt: str
    output: str
    answer: str
    """`output` cut by the one fixed rule that holds for every arm."""
    finish: FinishReason
    num_tokens: int
    content: bool
    strict: bool
    reason: str
    """Why the verifier said no; empty when it said yes."""


@dataclass(frozen=True, kw_only=True)
class Rate(Record):
    """A share of successes with its Wilson interval."""

    successes: int
    total: int
    value: float
    low: float
    high: float
    confidence: float = 0.95


@dataclass(frozen=True, kw_only=True)
class PairedTest(Record):
    """Two arms on the same items: exact McNemar, and the difference of the rates with its paired interval."""

    name: str
    total: int
    only_first: int
    only_second: int
    p_value: float
    difference: float
    low: float
    high: float
    effect_size: float
    """Cohen's g, |share of discordant pairs won by the first − 0.5|."""
    confidence: float = 0.95


@dataclass(frozen=True, kw_only=True)
class GateResult(Record):
    """A stage's gate: what was asked, what came, and whether it passed."""

    stage: str
    passed: bool
    checks: list[dict[str, Any]]
    """Each: name, value, low, high, threshold, passed, reason."""
    override: str | None = None
    warnings: list[str] = field(default_factory=list)
