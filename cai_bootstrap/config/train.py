"""The training step and the merge behind it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cai_bootstrap.config.check import require, to_dict


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
        require(0 <= self.frozen_share < 1, "train.lora.frozen_share", self.frozen_share, "a share from 0 to below 1")


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
        require(
            self.method is TrainMethod.dpo or self.reference is Reference.previous,
            "train.reference",
            f"{self.reference}",
            f"train=dpo with it: {self.method} has no reference model",
        )
        require(
            self.accelerate_config is None or self.launcher is Launcher.accelerate,
            "train.accelerate_config",
            self.accelerate_config,
            "train.launcher=accelerate with it, or leave it out",
        )
        known = self.head_dtype in ("auto", "float32", "bfloat16")
        require(known, "train.head_dtype", self.head_dtype, "auto, float32 or bfloat16")
        require(0 <= self.replay < 1, "train.replay", self.replay, "a share from 0 to below 1")
        require(0 < self.merged_share <= 1, "train.merged_share", self.merged_share, "a share above 0 to 1")
        require(self.learning_rate > 0, "train.learning_rate", self.learning_rate, "a positive number such as 1e-4")
        require(
            self.batch_size % self.micro_batch_size == 0,
            "train.micro_batch_size",
            self.micro_batch_size,
            f"a divisor of train.batch_size={self.batch_size}",
        )
        require(
            len(self.loss_types) == len(self.loss_weights),
            "train.loss_weights",
            self.loss_weights,
            f"one weight for each of train.loss_types={self.loss_types}",
        )
        require(0 < self.checkpoint_minutes <= 30, "train.checkpoint_minutes", self.checkpoint_minutes, "0 < minutes <= 30")


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
        require(self.dtype in ("float32", "bfloat16"), "merge.dtype", self.dtype, "float32 or bfloat16")
        require(self.device in ("auto", "cpu", "cuda"), "merge.device", self.device, "auto, cpu or cuda")

    def limits(self, quantization: Quantization) -> dict[str, Any]:
        """Those that hold for an adapter trained on such weights; without 4 bits those of 4 bits are no part of them. Beside
        them `dtype` where it is not the default.
        """
        unkeyed = ("device",) if self.dtype != "float32" else ("device", "dtype")
        told = {key: value for key, value in to_dict(self).items() if key not in unkeyed}
        return {key: told[key] for key in told if quantization is Quantization.nf4 or not key.startswith("nf4_")}
