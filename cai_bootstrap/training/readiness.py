"""Whether a training can be started as it is configured, told before any work. Importing this imports no library."""

from __future__ import annotations

import importlib.util

from cai_bootstrap.config import EngineConfig, Launcher, Quantization, TrainConfig, TrainMethod
from cai_bootstrap.engines import measure
from cai_bootstrap.errors import UserError
from cai_bootstrap.training.backends import BACKENDS
from cai_bootstrap.training.launch import Launch, read_launch

NEEDS = {
    "bitsandbytes": "run `pip install bitsandbytes`",
    "accelerate": "run `pip install accelerate`",
    "unsloth": "run `pip install -e '.[unsloth]' -c constraints/unsloth.txt` on a machine with a GPU",
    "deepspeed": "run `pip install deepspeed`",
}
"""Libraries that not every training takes, and what installs them."""


def require_ready(train: TrainConfig, engine: EngineConfig) -> None:
    """Raises UserError for what is not known, not installed, not on this machine, or does not go together."""
    if train.backend not in BACKENDS:
        raise UserError(f"train.backend={train.backend!r} is not known: write one of {', '.join(BACKENDS)}")
    chosen = train.quantization
    if chosen is Quantization.nf4 or (chosen is Quantization.auto and not _has("bitsandbytes") and _on_gpu(engine)):
        _require("bitsandbytes", f"train.quantization={chosen}", "train.quantization=none")
    if train.backend == "unsloth":
        _require_unsloth_ready(train, engine)
    if train.launcher is Launcher.accelerate:
        _require_launch_ready(train, engine)


def _require_unsloth_ready(train: TrainConfig, engine: EngineConfig) -> None:
    instead = "train.backend=peft"
    if not _on_gpu(engine):
        raise UserError(f"train.backend=unsloth needs a GPU, and there is none or engine.device=cpu: write {instead}")
    _require("unsloth", "train.backend=unsloth", instead)
    _require_plain(train, "train.backend=unsloth", instead)
    if train.launcher is not Launcher.none:
        raise UserError(f"train.backend=unsloth runs in one process: write train.launcher=none, or {instead}")


def _require_launch_ready(train: TrainConfig, engine: EngineConfig) -> None:
    launch = read_launch(train.accelerate_config)
    named = f"train.accelerate_config={train.accelerate_config}"
    _require("accelerate", "train.launcher=accelerate", "train.launcher=none")
    if launch.kind == "DEEPSPEED":
        _require("deepspeed", named, "train.accelerate_config=fsdp")
    _require_devices(launch, named, engine)
    part = train.micro_batch_size * launch.num_processes
    if train.batch_size % part:
        raise UserError(
            f"train.batch_size={train.batch_size} cannot be divided among {launch.num_processes} processes with "
            f"train.micro_batch_size={train.micro_batch_size}: write a multiple of {part}, or a smaller micro-batch"
        )
    if launch.is_sharded:
        _require_plain(train, named, "train.launcher=none")
        if train.quantization is not Quantization.none:  # which auto is not on a GPU
            raise UserError(
                f"train.quantization={train.quantization} is nf4 on a GPU, and {named} shards whole weights only: write "
                "train.quantization=none, or train.launcher=none"
            )
    elif train.lora.frozen_share and launch.num_processes > 1:
        raise UserError(f"{named} cannot keep what frozen layers make: write train.lora.frozen_share=0, or train.launcher=none")


def _require_devices(launch: Launch, named: str, engine: EngineConfig) -> None:
    on_gpu = _on_gpu(engine)
    if launch.on_cpu and on_gpu:
        raise UserError(f"{named} is for CPUs, and this run is on a GPU: write engine.device=cpu, or another configuration")
    if launch.on_cpu:
        return
    if not on_gpu:
        raise UserError(
            f"{named} is for GPUs, and there is none or engine.device=cpu: write train.launcher=none, or "
            "train.accelerate_config=two_cpus"
        )
    if launch.num_processes > (number := measure.num_gpus()):
        raise UserError(
            f"{named} has {launch.num_processes} processes, and there are {number} GPUs: write a copy of it with "
            f"num_processes: {number}, or train.launcher=none"
        )


def _require_plain(train: TrainConfig, named: str, instead: str) -> None:
    """What takes this package's own output layer and attention, which only whole transformers models have."""
    if train.lora.frozen_share:
        raise UserError(
            f"train.lora.frozen_share={train.lora.frozen_share} does not go with {named}: write train.lora.frozen_share=0, "
            f"or {instead}"
        )
    if train.method is not TrainMethod.dpo:
        raise UserError(f"train={train.method} does not go with {named}: write train=dpo, or {instead}")


def _on_gpu(engine: EngineConfig) -> bool:
    return engine.device != "cpu" and measure.has_gpu()


def _has(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _require(library: str, named: str, instead: str) -> None:
    if not _has(library):
        raise UserError(f"{named} needs {library}, which is not installed: {NEEDS[library]}, or write {instead}")
