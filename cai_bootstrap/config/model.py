"""The base model, and the machine that a plan reckons with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cai_bootstrap.config.check import require


class ModelSource(StrEnum):
    """How a base model is obtained."""

    gguf_package = "gguf_package"
    path = "path"
    hub = "hub"
    tiny_random = "tiny_random"


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
            require(value >= 1, f"model.shape.{name}", value, "1 or more")


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
        require(self.device in ("auto", "cpu", "cuda"), "machine.device", self.device, "auto, cpu or cuda")
        for name in ("generation_efficiency", "training_efficiency", "bandwidth_efficiency"):
            value = getattr(self, name)
            require(0 < value <= 1, f"machine.{name}", value, "a share above 0, at most 1")
        for name in ("load_gb_s", "fetch_gb_s"):
            value = getattr(self, name)
            require(value > 0, f"machine.{name}", value, "a positive number of 1e9 bytes/s")
        of_card = ("memory_gib", "ram_gib", "tflops", "cpu_tflops", "bandwidth_gb_s")
        for name in (*of_card, "start_s", "step_ms", "dollars_per_hour"):
            value = getattr(self, name)
            require(value >= 0, f"machine.{name}", value, "0 or more")
            known = value > 0 or self.name == "auto" or name not in of_card
            require(known, f"machine.{name}", value, "a positive number: only machine=auto is measured")
