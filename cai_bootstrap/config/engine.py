"""What runs a model: transformers, vLLM, either on a Ray cluster, or the script."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cai_bootstrap.config.check import require


class Script(StrEnum):
    """What `engine=scripted` plays: every gate is passed, or that of one stage is not."""

    passes = "passes"
    fails_explicit = "fails_explicit"
    fails_generation = "fails_generation"


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
        require(self.context >= 0, "engine.vllm.context", self.context, "a number of tokens, or 0 for the model's own")
        require(self.kv_cache_gib >= 1, "engine.vllm.kv_cache_gib", self.kv_cache_gib, "1 or more")
        require(0 < self.memory_share < 1, "engine.vllm.memory_share", self.memory_share, "a share, such as 0.9")
        require(self.quantization in ("none", "fp8"), "engine.vllm.quantization", self.quantization, "none or fp8")


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
        require(self.engine != "ray", "engine.ray.engine", self.engine, "transformers, vllm or scripted")
        require(self.workers >= 1, "engine.ray.workers", self.workers, "1 or more")
        require(self.cpus_per_worker >= 1, "engine.ray.cpus_per_worker", self.cpus_per_worker, "1 or more")
        require(self.gpus_per_worker >= 0, "engine.ray.gpus_per_worker", self.gpus_per_worker, "0 or more")


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
        require(fits, "engine.script", f"{self.script}", "engine=scripted with it, or leave it out")
        require((self.ray is not None) == (self.name == "ray"), "engine.name", self.name, "engine=ray with engine.ray.…")
        require(
            (self.vllm is not None) == (self.runs == "vllm"),
            "engine.vllm",
            "missing" if self.vllm is None else "set",
            "engine=vllm with engine.vllm.…, or leave it out",
        )
        require(self.dtype in ("auto", "float32", "bfloat16"), "engine.dtype", self.dtype, "auto, float32 or bfloat16")
        require(self.batch_size >= 0, "engine.batch_size", self.batch_size, "a positive number, or 0 to measure")
        share = self.max_failed_share
        require(0 <= share < 1, "engine.max_failed_share", share, "a number from 0 up to 1, such as 0.02")
        require(self.threads >= 0, "engine.threads", self.threads, "a positive number, or 0 for all cores")

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
