"""One stage: what is asked and sampled, how answers are chosen and become pairs, and what its gate asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from cai_bootstrap.config.check import require


class SelectionMethod(StrEnum):
    """How the chosen answer is picked among the candidates."""

    agreement = "agreement"
    fewshot_logprob = "fewshot_logprob"
    relevance = "relevance"
    critic = "critic"


@dataclass(kw_only=True)
class SamplingConfig:
    """How tokens are drawn. temperature 0 is greedy."""

    temperature: float
    top_k: int = 64
    top_p: float = 0.95
    max_tokens: int

    def __post_init__(self) -> None:
        require(self.temperature >= 0, "temperature", self.temperature, "0 (greedy) or more")
        require(self.top_k >= 1, "top_k", self.top_k, "1 or more")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "a number in (0, 1]")
        require(self.max_tokens >= 1, "max_tokens", self.max_tokens, "1 or more")


@dataclass(kw_only=True)
class InstructionsConfig:
    """The making of instructions, and what filters them."""

    num_instructions: int
    requests_per_shard: int
    """Lists continued per shard; each shard sees what the shards before it kept."""
    min_words: int
    max_words: int
    max_share_per_topic: float
    """Largest share of the wanted number that one opening or one content word may have."""
    near_duplicate_similarity: float
    """Jaccard similarity of word shingles from which two instructions count as the same."""
    min_yield: float
    """The step fails when fewer than this share of the last shards' candidates is kept."""
    kind_shares: dict[str, float]
    sampling: SamplingConfig

    def __post_init__(self) -> None:
        require(self.num_instructions >= 1, "num_instructions", self.num_instructions, "1 or more")
        require(abs(sum(self.kind_shares.values()) - 1) < 1e-6, "kind_shares", self.kind_shares, "shares that add up to 1")


@dataclass(kw_only=True)
class ResponsesConfig:
    """Candidates: few-shot answers and the base model's own zero-shot outputs."""

    num_candidates: int
    sampling: SamplingConfig
    zero_shot: SamplingConfig
    """For what pairs reject: the model's own outputs, and run-ons past a chosen answer's end."""
    shard_size: int
    own_answers: bool = False
    """Whether answers without worked examples are candidates too: a trained parent's are as good as those with them."""


@dataclass(kw_only=True)
class SelectionConfig:
    """The choice among candidates. `min_auc` is what calibration asks of a method before it may be used."""

    methods: dict[str, SelectionMethod]
    """The method in use for each kind of instruction."""
    min_auc: float
    min_scores: dict[str, float]
    """By method: a chosen answer that scores lower is dropped with its instruction."""
    shard_size: int


@dataclass(kw_only=True)
class PilotConfig:
    """A small generation before the full one, and the shares that stop it when they are missed for sure."""

    num_instructions: int
    max_runaway: float
    """Of texts that repeat themselves."""
    max_cut: float
    """Of texts that reached the token limit."""
    max_duplicates: float
    """Of instruction lines that repeat one."""
    min_kept: float
    """Of instructions with an answer that selection keeps."""

    def __post_init__(self) -> None:
        require(self.num_instructions >= 1, "pilot.num_instructions", self.num_instructions, "1 or more")
        for name in ("max_runaway", "max_cut", "max_duplicates", "min_kept"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"pilot.{name}", value, "a share from 0 to 1")


@dataclass(kw_only=True)
class ConstructionConfig:
    """Tasks with known answers that are made out of kept answers."""

    kind_shares: dict[str, float]
    num_per_answer: int = 1
    """Tasks of different kinds that one kept answer may give."""
    answers_of: list[str] = field(default_factory=list)
    """Stages before whose kept answers are used too."""
    kinds_of_answers: list[str] = field(default_factory=list)
    """Kinds of tasks that kept answers may give, where not all: some ask for more than to be better than a corruption."""
    num_per_case: int = 0
    """Tasks that each committed case gives."""
    num_cases: int = 0
    """Of the committed cases, of those of conduct and of the sentences so many each, spread over them; 0 takes all."""

    def __post_init__(self) -> None:
        shares = self.kind_shares
        fits = bool(shares) and min(shares.values()) > 0 and abs(sum(shares.values()) - 1) < 1e-6
        require(fits, "construction.kind_shares", shares, "positive shares that add up to 1")
        require(self.num_per_answer >= 1, "construction.num_per_answer", self.num_per_answer, "1 or more")
        require(self.num_cases >= 0, "construction.num_cases", self.num_cases, "a positive number, or 0 for all")


@dataclass(kw_only=True)
class PairsConfig:
    """Preference pairs: the mix of rejected kinds, and limits."""

    rejected_mix: dict[str, float]
    max_identical_chosen: float
    """Largest share of pairs that may have the same chosen text."""
    min_pairs: int

    def __post_init__(self) -> None:
        require(
            abs(sum(self.rejected_mix.values()) - 1) < 1e-6,
            "pairs.rejected_mix",
            self.rejected_mix,
            "shares that add up to 1",
        )


@dataclass(kw_only=True)
class GateConfig:
    """What a stage must reach. `override` is a reason; it lets the chain go on and stays visible for ever."""

    min_strict: float
    retention_items: int
    """So many items of each ancestor's suite tell whether it was kept, drawn by kind with a fixed seed; 0 takes them all."""
    max_p_value: float
    noninferiority_margin: float
    """The paired 95 % lower bound of trained strict minus few-shot content must lie above minus this."""
    max_loss: float
    """Retention: on each ancestor's suite the strict rate may fall by at most this from the parent's."""
    loss_margin: float
    """Retention: the paired 95 % lower bound of that difference must lie above minus this."""
    max_over_refusal: float = 0.05
    """Of stage 6: the upper end of the rise in over-refusal must lie below this."""
    override: str | None = None


@dataclass(kw_only=True)
class StagePreset:
    """The numbers of a stage that depend on the preset."""

    num_instructions: int
    min_pairs: int
    min_strict: float
    retention_items: int
    num_cases: int = 0
    """Only of stages whose tasks are constructed: `construction.num_cases`."""


@dataclass(kw_only=True)
class StageConfig:
    """One stage of the curriculum. Its functions are in `stages/<name>.py`, its numbers in `conf/stage/<name>.yaml`."""

    name: str
    parent: str
    max_rounds: int = 1
    seeds: str | None = None
    """A YAML file of your own with seed instructions, shots and refusals; None takes the committed ones."""
    presets: dict[str, StagePreset] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    """Whose promoted model does what, by role (`baseline`: the base model); what is not named is done by the parent."""
    num_committed: dict[str, int] = field(default_factory=dict)
    """By kind how many of the committed seeds are prompts themselves, beside what the model writes."""
    pilot: PilotConfig
    instructions: InstructionsConfig
    responses: ResponsesConfig
    selection: SelectionConfig
    construction: ConstructionConfig | None = None
    """Only of stages whose tasks are constructed."""
    pairs: PairsConfig
    gate: GateConfig
