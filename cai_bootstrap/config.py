"""Every schema of the configuration. Hydra composes YAML into these; below the command line only these objects exist.

Cross-field checks stand in `__post_init__`, which runs when the composed config is turned into objects.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cai_bootstrap.errors import UserError


def _require(condition: bool, key: str, value: object, instead: str) -> None:
    if not condition:
        raise UserError(f"{key}={value!r} is not valid: write {instead}")


class ModelSource(StrEnum):
    """How a base model is obtained."""

    gguf_package = "gguf_package"
    path = "path"
    hub = "hub"
    tiny_random = "tiny_random"


class Quantization(StrEnum):
    """Number format of the frozen weights while the adapter is trained."""

    auto = "auto"
    """nf4 on a GPU, where memory is what is short; none on a CPU, where 4 bits only cost time."""
    none = "none"
    nf4 = "nf4"


class Launcher(StrEnum):
    """In how many processes a training runs."""

    none = "none"
    """In one."""
    accelerate = "accelerate"
    """In as many as a configuration of accelerate says."""


class Reference(StrEnum):
    """The model that DPO's rewards are measured against."""

    previous = "previous"
    """The stage's parent: each stage may move as far again."""
    base = "base"
    """The base model: the whole curriculum is held near it."""


class TrainMethod(StrEnum):
    """Preference-optimisation method; each is one file in `training/`."""

    dpo = "dpo"
    orpo = "orpo"


class SelectionMethod(StrEnum):
    """How the chosen answer is picked among the candidates."""

    agreement = "agreement"
    fewshot_logprob = "fewshot_logprob"
    relevance = "relevance"
    critic = "critic"


class Script(StrEnum):
    """What `engine=scripted` plays: every gate is passed, or that of one stage is not."""

    passes = "passes"
    fails_explicit = "fails_explicit"
    fails_generation = "fails_generation"


@dataclass(kw_only=True)
class PathsConfig:
    """Where things are written. A relative root is taken from the working directory."""

    root: str = "."


@dataclass(kw_only=True)
class ModelShape:
    """What a plan needs to know of a decoder's architecture, by the model's config.json. Tells nothing to the model itself."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    """Whether the output layer is the embedding."""
    biased: bool = False
    """Whether queries, keys and values have a bias."""
    norms: int = 2
    """Norms in a layer, beside those of the heads."""
    head_norms: bool = False
    """Whether the heads' queries and keys have norms of their own."""

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab"):
            value = getattr(self, name)
            _require(value >= 1, f"model.shape.{name}", value, "1 or more")


@dataclass(kw_only=True)
class MachineConfig:
    """What a plan reckons with: the machine that a run will have. With `name=auto` it is this one, and 0 is measured."""

    name: str
    device: str
    """`cpu`, `cuda`, or `auto` for this machine's."""
    memory_gib: float
    """Of the card, or of a machine without one."""
    ram_gib: float
    tflops: float
    """Dense matrix products in the dtype that runs, 1e12 operations/s."""
    cpu_tflops: float
    """The same of the processor, in fp32."""
    bandwidth_gb_s: float
    load_gb_s: float
    """Weights into memory, 1e9 bytes/s."""
    fetch_gb_s: float
    """A model from the hub, 1e9 bytes/s."""
    start_s: float
    """A process until it loads weights, the compiling of kernels included."""
    step_ms: float
    """A forward pass beside its products: launches, sampling, Python."""
    generation_efficiency: float
    """Share of `tflops` that prefill and decoding reach."""
    training_efficiency: float
    bandwidth_efficiency: float
    dollars_per_hour: float

    def __post_init__(self) -> None:
        _require(self.device in ("auto", "cpu", "cuda"), "machine.device", self.device, "auto, cpu or cuda")
        for name in ("generation_efficiency", "training_efficiency", "bandwidth_efficiency"):
            value = getattr(self, name)
            _require(0 < value <= 1, f"machine.{name}", value, "a share above 0, at most 1")
        for name in ("load_gb_s", "fetch_gb_s"):
            value = getattr(self, name)
            _require(value > 0, f"machine.{name}", value, "a positive number of 1e9 bytes/s")
        of_card = ("memory_gib", "ram_gib", "tflops", "cpu_tflops", "bandwidth_gb_s")
        for name in (*of_card, "start_s", "step_ms", "dollars_per_hour"):
            value = getattr(self, name)
            _require(value >= 0, f"machine.{name}", value, "0 or more")
            known = value > 0 or self.name == "auto" or name not in of_card
            _require(known, f"machine.{name}", value, "a positive number: only machine=auto is measured")


@dataclass(kw_only=True)
class ModelConfig:
    """The base model. `path` is for `source=path`; `package` for the index packages; `hub_id` for the hub."""

    name: str
    source: ModelSource
    path: str | None = None
    package: str | None = None
    sha256: str | None = None
    hub_id: str | None = None
    revision: str | None = None
    licence: str
    licence_url: str | None = None
    base: bool = True
    """False for an instruction-tuned model: its baseline then measures contamination, and tables say so."""
    sentinels: bool = True
    """Whether the audit asks for the sentinel completions (a random model cannot pass them)."""
    shape: ModelShape | None = None
    """For plans, before there is a config.json; changes nothing of a run."""


@dataclass(kw_only=True)
class VllmConfig:
    """What only vLLM asks for."""

    context: int
    """Tokens of prompt and answer together; the model's own where that is less, or for 0."""
    kv_cache_gib: float
    """Memory of keys and values on a CPU."""
    memory_share: float
    """Of a GPU's memory, for weights and cache."""
    quantization: str
    """Of the weights that serve: `none`, or `fp8`, to which vLLM quantizes them while it loads."""

    def __post_init__(self) -> None:
        _require(self.context >= 0, "engine.vllm.context", self.context, "a number of tokens, or 0 for the model's own")
        _require(self.kv_cache_gib >= 1, "engine.vllm.kv_cache_gib", self.kv_cache_gib, "1 or more")
        _require(0 < self.memory_share < 1, "engine.vllm.memory_share", self.memory_share, "a share, such as 0.9")
        _require(self.quantization in ("none", "fp8"), "engine.vllm.quantization", self.quantization, "none or fp8")


@dataclass(kw_only=True)
class RayConfig:
    """Where and on how many workers another engine runs."""

    engine: str
    """What each worker runs: transformers, vllm or scripted."""
    workers: int
    address: str | None
    """Of a running cluster, such as ray://head:10001 or auto; None starts one on this machine."""
    cpus_per_worker: int
    """Cores, which are its threads too."""
    gpus_per_worker: float

    def __post_init__(self) -> None:
        _require(self.engine != "ray", "engine.ray.engine", self.engine, "transformers, vllm or scripted")
        _require(self.workers >= 1, "engine.ray.workers", self.workers, "1 or more")
        _require(self.cpus_per_worker >= 1, "engine.ray.cpus_per_worker", self.cpus_per_worker, "1 or more")
        _require(self.gpus_per_worker >= 0, "engine.ray.gpus_per_worker", self.gpus_per_worker, "0 or more")


@dataclass(kw_only=True)
class EngineConfig:
    """What runs the model. `auto` and 0 are filled from the machine's measurement, once a run."""

    name: str = "transformers"
    in_process: bool = False
    """Run in this process instead of a child (the tests' tiny models)."""
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int = 0
    threads: int = 0
    script: Script | None = None
    """Only of `engine=scripted`."""
    vllm: VllmConfig | None = None
    """Only of `engine=vllm`."""
    ray: RayConfig | None = None
    """Only of `engine=ray`."""
    max_failed_share: float = 0.02
    """Of a step's records that may fail, each alone, before the step does."""

    def __post_init__(self) -> None:
        fits = self.script is None or self.is_scripted
        _require(fits, "engine.script", f"{self.script}", "engine=scripted with it, or leave it out")
        _require((self.ray is not None) == (self.name == "ray"), "engine.name", self.name, "engine=ray with engine.ray.…")
        _require(
            (self.vllm is not None) == (self.runs == "vllm"),
            "engine.vllm",
            "missing" if self.vllm is None else "set",
            "engine=vllm with engine.vllm.…, or leave it out",
        )
        _require(self.dtype in ("auto", "float32", "bfloat16"), "engine.dtype", self.dtype, "auto, float32 or bfloat16")
        _require(self.batch_size >= 0, "engine.batch_size", self.batch_size, "a positive number, or 0 to measure")
        share = self.max_failed_share
        _require(0 <= share < 1, "engine.max_failed_share", share, "a number from 0 up to 1, such as 0.02")
        _require(self.threads >= 0, "engine.threads", self.threads, "a positive number, or 0 for all cores")

    @property
    def runs(self) -> str:
        """The engine that runs the model, wherever it does."""
        return self.name if self.ray is None else self.ray.engine

    @property
    def at_once(self) -> int:
        """Shards that are made at once."""
        return 1 if self.ray is None else self.ray.workers

    @property
    def is_scripted(self) -> bool:
        """Whether no model runs: what is made then claims nothing."""
        return self.runs == "scripted"

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to the machine's measurement."""
        return "auto" not in (self.device, self.dtype) and self.batch_size > 0 and self.threads > 0

    def identity(self) -> dict[str, str]:
        """What of the engine belongs to a step's identity: which one, with its script or how its weights are quantized, and a
        dtype where one was set. Not where it runs: a cluster's records are those of one process.
        """
        variant = self.script if self.vllm is None or self.vllm.quantization == "none" else self.vllm.quantization
        return {"engine": self.runs if variant is None else f"{self.runs}/{variant}", "dtype": self.dtype}


@dataclass(kw_only=True)
class SamplingConfig:
    """How tokens are drawn. temperature 0 is greedy."""

    temperature: float
    top_k: int = 64
    top_p: float = 0.95
    max_tokens: int

    def __post_init__(self) -> None:
        _require(self.temperature >= 0, "temperature", self.temperature, "0 (greedy) or more")
        _require(self.top_k >= 1, "top_k", self.top_k, "1 or more")
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "a number in (0, 1]")
        _require(self.max_tokens >= 1, "max_tokens", self.max_tokens, "1 or more")


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
        _require(self.num_instructions >= 1, "num_instructions", self.num_instructions, "1 or more")
        _require(abs(sum(self.kind_shares.values()) - 1) < 1e-6, "kind_shares", self.kind_shares, "shares that add up to 1")


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
        _require(self.num_instructions >= 1, "pilot.num_instructions", self.num_instructions, "1 or more")
        for name in ("max_runaway", "max_cut", "max_duplicates", "min_kept"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"pilot.{name}", value, "a share from 0 to 1")


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
        _require(fits, "construction.kind_shares", shares, "positive shares that add up to 1")
        _require(self.num_per_answer >= 1, "construction.num_per_answer", self.num_per_answer, "1 or more")
        _require(self.num_cases >= 0, "construction.num_cases", self.num_cases, "a positive number, or 0 for all")


@dataclass(kw_only=True)
class PairsConfig:
    """Preference pairs: the mix of rejected kinds, and limits."""

    rejected_mix: dict[str, float]
    max_identical_chosen: float
    """Largest share of pairs that may have the same chosen text."""
    min_pairs: int

    def __post_init__(self) -> None:
        _require(
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


@dataclass(kw_only=True)
class LoraConfig:
    """The adapter: rank, scale, and which linear layers carry it."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str = "all-linear"
    frozen_share: float = 0.0
    """Share of the layers, from below, that carry no adapter: what they compute is computed once for all epochs."""

    def __post_init__(self) -> None:
        _require(0 <= self.frozen_share < 1, "train.lora.frozen_share", self.frozen_share, "a share from 0 to below 1")


@dataclass(kw_only=True)
class TrainConfig:
    """The preference-optimisation step."""

    method: TrainMethod
    learning_rate: float
    num_epochs: float
    batch_size: int
    """Pairs per optimizer step."""
    micro_batch_size: int
    """Pairs per forward pass; must divide batch_size."""
    beta: float
    loss_types: list[str]
    loss_weights: list[float]
    max_length: int
    warmup_ratio: float
    scheduler: str
    weight_decay: float
    max_grad_norm: float
    quantization: Quantization
    gradient_checkpointing: bool
    checkpoint_minutes: float
    checkpoint_steps: int = 0
    """Also save every so many optimizer steps; 0 means by time only."""
    lora: LoraConfig
    head_dtype: str = "float32"
    """Of the products with the output layer: float32, bfloat16, or auto, which is bfloat16 for fp32 on a CPU that multiplies it
    natively. A rounding, so `auto` is no part of an adapter's address."""
    reference: Reference = Reference.previous
    backend: str = "peft"
    """What prepares the model that is trained: one of `training.backends.BACKENDS`."""
    launcher: Launcher = Launcher.none
    accelerate_config: str | None = None
    """Of launcher=accelerate: a file, or the name of one in `conf/accelerate/`."""
    replay: float = 0.0
    """Share of the trained pairs that are drawn from the stages before, in equal parts, so that what they taught stays."""
    replay_preferences: bool = True
    """Whether those are trained as preferences; else their chosen responses are only kept likely."""
    merged_share: float = 1.0
    """How much of what the adapter changes is merged: weights between the parent's and the trained ones forget less of what was
    taught before (Wortsman et al. 2022, arXiv:2109.01903)."""

    def __post_init__(self) -> None:
        _require(
            self.method is TrainMethod.dpo or self.reference is Reference.previous,
            "train.reference",
            f"{self.reference}",
            f"train=dpo with it: {self.method} has no reference model",
        )
        _require(
            self.accelerate_config is None or self.launcher is Launcher.accelerate,
            "train.accelerate_config",
            self.accelerate_config,
            "train.launcher=accelerate with it, or leave it out",
        )
        known = self.head_dtype in ("auto", "float32", "bfloat16")
        _require(known, "train.head_dtype", self.head_dtype, "auto, float32 or bfloat16")
        _require(0 <= self.replay < 1, "train.replay", self.replay, "a share from 0 to below 1")
        _require(0 < self.merged_share <= 1, "train.merged_share", self.merged_share, "a share above 0 to 1")
        _require(self.learning_rate > 0, "train.learning_rate", self.learning_rate, "a positive number such as 1e-4")
        _require(
            self.batch_size % self.micro_batch_size == 0,
            "train.micro_batch_size",
            self.micro_batch_size,
            f"a divisor of train.batch_size={self.batch_size}",
        )
        _require(
            len(self.loss_types) == len(self.loss_weights),
            "train.loss_weights",
            self.loss_weights,
            f"one weight for each of train.loss_types={self.loss_types}",
        )
        _require(0 < self.checkpoint_minutes <= 30, "train.checkpoint_minutes", self.checkpoint_minutes, "0 < minutes <= 30")


@dataclass(kw_only=True)
class MergeConfig:
    """Limits of the merge certificate; off limits, the step fails."""

    num_prompts: int = 24
    max_logit_difference: float = 0.02
    min_greedy_agreement: float = 0.99
    max_kl: float = 1e-4
    nf4_max_kl: float = 0.5
    """Of an adapter that was trained on NF4 weights: of the merged model, whose weights are whole, from what was trained."""
    nf4_min_greedy_agreement: float = 0.6
    nf4_min_engine_agreement: float = 0.0
    """Of the tokens that the engine writes with the merged model: as far as they are what was trained; 0 only reports it."""
    dtype: str = "float32"
    """Of the merged model's files; what is added up is fp32 in any case. bfloat16 halves them, and the limits have to allow for
    rounded weights then."""
    device: str = "auto"
    """Where weights in fp32 fit: auto is the engine's device. It is no part of a step's address."""

    def __post_init__(self) -> None:
        _require(self.dtype in ("float32", "bfloat16"), "merge.dtype", self.dtype, "float32 or bfloat16")
        _require(self.device in ("auto", "cpu", "cuda"), "merge.device", self.device, "auto, cpu or cuda")

    def limits(self, quantization: Quantization) -> dict[str, Any]:
        """Those that hold for an adapter trained on such weights; without 4 bits those of 4 bits are no part of them. Beside
        them `dtype` where it is not the default.
        """
        unkeyed = ("device",) if self.dtype != "float32" else ("device", "dtype")
        told = {key: value for key, value in to_dict(self).items() if key not in unkeyed}
        return {key: told[key] for key in told if quantization is Quantization.nf4 or not key.startswith("nf4_")}


@dataclass(kw_only=True)
class EvalConfig:
    """How held-out suites are run. Always greedy."""

    split: str = "test"
    max_tokens: int = 128
    shard_size: int = 48
    num_items: int = 0
    """Evaluate only so many items, drawn by a fixed seed in the suite's proportions; 0 means all. For drafts and tests."""
    raw: bool = True
    raw_items: int = 50
    """Of them, drawn likewise, the base model answers so many without any cue; 0 means all. It never ends, so each takes
    `max_tokens`, and no test compares it with another arm."""
    drift_items: int = 64
    """Instructions that the trained model answers freely, to tell how far it has come from the base model."""

    def __post_init__(self) -> None:
        _require(self.split in ("dev", "test"), "eval.split", self.split, "dev or test")
        for name in ("num_items", "raw_items"):
            value = getattr(self, name)
            _require(value >= 0, f"eval.{name}", value, "a positive number, or 0 for the whole suite")


@dataclass(kw_only=True)
class SafetyConfig:
    """The optional safety filter: a classifier of its own, a second model, looks at every kept answer."""

    name: str = "none"
    """One of `engines.classifiers.CLASSIFIERS`, or none."""
    path: str | None = None
    """The classifier's folder: config.json, safetensors, tokenizer."""
    max_unsafe: float = 0.5
    """From this probability of being unsafe on an answer is dropped."""
    unsafe_labels: list[str] = field(default_factory=list)
    """Of sequence_classifier: the labels that mean unsafe."""
    with_instruction: bool = True
    """Of sequence_classifier: read instruction and answer as a pair of texts; false reads the answer alone."""
    shard_size: int = 60

    def __post_init__(self) -> None:
        _require(0 < self.max_unsafe <= 1, "safety.max_unsafe", self.max_unsafe, "a probability above 0, at most 1")
        _require(self.shard_size >= 1, "safety.shard_size", self.shard_size, "1 or more")

    @property
    def is_on(self) -> bool:
        """Whether there is a filter."""
        return self.name != "none"


@dataclass(kw_only=True)
class Config:
    """A run: complete, typed, named, and saved with its results."""

    run: str = "default"
    parent_run: str | None = None
    seed: int = 1
    preset: str = "demo"
    constitution: str | None = None
    """A file of principles in place of the package's `constitution.yaml`."""
    paths: PathsConfig = field(default_factory=PathsConfig)
    model: ModelConfig
    engine: EngineConfig = field(default_factory=EngineConfig)
    machine: MachineConfig
    """For plans only: where it is that a run will run."""
    stage: StageConfig
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    train: TrainConfig
    merge: MergeConfig = field(default_factory=MergeConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        ok = bool(self.run) and all(c.isalnum() or c in "-_." for c in self.run) and not self.run.startswith(".")
        _require(ok, "run", self.run, "letters, digits, '-', '_' and '.' only")
        _require(self.preset in ("small", "demo", "full"), "preset", self.preset, "small, demo or full")


def to_dict(config: Any) -> dict[str, Any]:
    """A JSON-serialisable dict of any schema object (enums become their values)."""
    return {k: _plain(v) for k, v in dataclasses.asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
