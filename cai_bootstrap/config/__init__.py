"""Every schema of the configuration. Hydra composes YAML into these; below the command line only these objects exist.

Cross-field checks stand in `__post_init__`, which runs when the composed config is turned into objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cai_bootstrap.config.check import require, to_dict
from cai_bootstrap.config.engine import EngineConfig, RayConfig, Script, VllmConfig
from cai_bootstrap.config.model import MachineConfig, ModelConfig, ModelShape, ModelSource
from cai_bootstrap.config.stage import (
    ConstructionConfig,
    GateConfig,
    InstructionsConfig,
    PairsConfig,
    PilotConfig,
    ResponsesConfig,
    SamplingConfig,
    SelectionConfig,
    SelectionMethod,
    StageConfig,
    StagePreset,
)
from cai_bootstrap.config.train import Launcher, LoraConfig, MergeConfig, Quantization, Reference, TrainConfig, TrainMethod

__all__ = [
    "Config",
    "ConstructionConfig",
    "EngineConfig",
    "EvalConfig",
    "GateConfig",
    "InstructionsConfig",
    "Launcher",
    "LoraConfig",
    "MachineConfig",
    "MergeConfig",
    "ModelConfig",
    "ModelShape",
    "ModelSource",
    "PairsConfig",
    "PathsConfig",
    "PilotConfig",
    "Quantization",
    "RayConfig",
    "Reference",
    "ResponsesConfig",
    "SafetyConfig",
    "SamplingConfig",
    "Script",
    "SelectionConfig",
    "SelectionMethod",
    "StageConfig",
    "StagePreset",
    "TrainConfig",
    "TrainMethod",
    "VllmConfig",
    "to_dict",
]


@dataclass(kw_only=True)
class PathsConfig:
    """Where things are written. A relative root is taken from the working directory."""

    root: str = "."


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
        require(self.split in ("dev", "test"), "eval.split", self.split, "dev or test")
        for name in ("num_items", "raw_items"):
            value = getattr(self, name)
            require(value >= 0, f"eval.{name}", value, "a positive number, or 0 for the whole suite")


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
        require(0 < self.max_unsafe <= 1, "safety.max_unsafe", self.max_unsafe, "a probability above 0, at most 1")
        require(self.shard_size >= 1, "safety.shard_size", self.shard_size, "1 or more")

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
        require(ok, "run", self.run, "letters, digits, '-', '_' and '.' only")
        require(self.preset in ("small", "demo", "full"), "preset", self.preset, "small, demo or full")
