"""What does not fit a machine's memory or disk, and which setting would make it fit."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai_bootstrap.config import Config, MachineConfig, ModelShape, Quantization
from cai_bootstrap.errors import UserError
from cai_bootstrap.estimates import GIB, Calls, Peak
from cai_bootstrap.report.forecast import (
    batch_size,
    generation_peak,
    merge_device,
    merging_peak,
    shape_of_model,
    training_peak,
)
from cai_bootstrap.steps.workload import Workload

_ROOM = 0.85
"""A run is refused only where this share of what it takes at least is too much: what is mapped or swapped still runs."""
_LARGE_SHARE = 0.92
"""Of a card, for vLLM: what is left holds the CUDA context and what other libraries take."""
_ROUNDING_GIB = 1e-6


def limit_gib(config: Config, machine: MachineConfig, phase: str) -> float:
    """The memory that a phase has."""
    if machine.device != "cuda" or (phase == "merging" and merge_device(config, machine) != "cuda"):
        return machine.ram_gib
    served = config.engine.vllm if phase == "generation" and config.engine.runs == "vllm" else None
    return machine.memory_gib * (1.0 if served is None else served.memory_share)


@dataclass(frozen=True)
class _Phase:
    name: str
    peak: Callable[[Config], Peak]
    """Under a changed configuration."""


def misfits(config: Config, machine: MachineConfig, shape: ModelShape, works: Mapping[str, Workload]) -> list[str]:
    """One line for each phase that does not fit the memory, with the first setting that would make it fit.

    `works` are the largest pieces of work by phase.
    """
    lines = []
    for phase in _phases(machine, shape, works):
        peak, limit = phase.peak(config), limit_gib(config, machine, phase.name)
        if peak.gib <= limit + _ROUNDING_GIB:
            continue
        remedy = _remedy(config, machine, phase)
        lines.append(f"does not fit: {phase.name}, {peak.gib:.0f} GiB of {limit:.0f} ({_largest(peak)}): {remedy}")
    return lines


def full_disks(wanted: Mapping[str, float]) -> list[str]:
    """One line for each root whose disk has less room than the bytes that are `wanted` there. The root need not exist yet."""
    lines = []
    for root, size in wanted.items():
        here = Path(root).expanduser().absolute()
        free = shutil.disk_usage(next(folder for folder in (here, *here.parents) if folder.is_dir())).free
        if size > free:
            told = f"disk, {size / GIB:.1f} GiB of {free / GIB:.1f} that are free under paths.root"
            lines.append(f"does not fit: {told}: write paths.root=DIR on a larger disk")
    return lines


def _largest(peak: Peak) -> str:
    """The two parts that take most."""
    parts = sorted(peak.parts.items(), key=lambda part: -part[1])[:2]
    return ", ".join(f"{name} {size / GIB:.0f}" for name, size in parts)


def _phases(machine: MachineConfig, shape: ModelShape, works: Mapping[str, Workload]) -> Iterator[_Phase]:
    if (generating := works.get("generation")) is not None:
        yield _Phase("generation", lambda c: generation_peak(c, machine, shape, generating.calls))
    if (training := works.get("training")) is not None:
        yield _Phase("training", lambda c: training_peak(c, machine, shape, training))
    if "merging" in works:
        yield _Phase("merging", lambda c: merging_peak(c, machine, shape))


def _remedy(config: Config, machine: MachineConfig, phase: _Phase) -> str:
    for changed, words in _remedies(config, machine, phase.name):
        taken = phase.peak(changed).gib
        if taken <= limit_gib(changed, machine, phase.name) + _ROUNDING_GIB:
            return f"write {words} ({taken:.0f} GiB)"
    smallest = min(phase.peak(changed).gib for changed, _ in [(config, ""), *_remedies(config, machine, phase.name)])
    return f"no setting helps: take a smaller model=… or {smallest:.0f} GiB"


def _remedies(config: Config, machine: MachineConfig, phase: str) -> Iterator[tuple[Config, str]]:
    """Configurations to try in turn, what costs least first, with what is to be written."""
    if phase == "merging":
        if machine.device == "cuda":
            yield dataclasses.replace(config, merge=dataclasses.replace(config.merge, device="cpu")), "merge.device=cpu"
        return
    if phase == "training":
        yield from _training_remedies(config)
        return
    engine = config.engine
    if engine.vllm is not None:
        contexts: list[dict[str, Any]] = [{"context": size} for size in (2048, 1024) if size < (engine.vllm.context or 4096)]
        ways = list(contexts)
        if machine.device == "cuda" and engine.vllm.memory_share < _LARGE_SHARE:
            ways.insert(0, {"memory_share": _LARGE_SHARE})
        if machine.device == "cuda" and engine.vllm.quantization == "none":
            ways += [{"quantization": "fp8"}, *({"quantization": "fp8", **way} for way in contexts)]
        for way in ways:
            words = " ".join(f"engine.vllm.{key}={value}" for key, value in way.items())
            smaller = dataclasses.replace(engine, vllm=dataclasses.replace(engine.vllm, **way))
            yield dataclasses.replace(config, engine=smaller), words
        return
    size = batch_size(config, machine)
    while (size := size // 2) >= 1:
        yield dataclasses.replace(config, engine=dataclasses.replace(engine, batch_size=size)), f"engine.batch_size={size}"


def _training_remedies(config: Config) -> Iterator[tuple[Config, str]]:
    train = config.train
    sizes = [size for size in range(train.micro_batch_size - 1, 0, -1) if train.batch_size % size == 0]
    ways: list[dict[str, Any]] = [{"micro_batch_size": size} for size in sizes]
    if not train.gradient_checkpointing:
        ways += [
            {"gradient_checkpointing": True},
            *({"gradient_checkpointing": True, "micro_batch_size": size} for size in sizes),
        ]
    if str(train.quantization) == "none":
        least = {"gradient_checkpointing": True, "micro_batch_size": 1}
        ways += [{"quantization": Quantization.nf4}, {"quantization": Quantization.nf4, **least}]
    for way in ways:
        words = " ".join(f"train.{key}={str(value).lower()}" for key, value in way.items())
        yield dataclasses.replace(config, train=dataclasses.replace(train, **way)), words


_SMALLEST = Workload(calls=[Calls(count=1, rows=1, own=64, out=16, longest=16)], tokens=64, scored=16, width=64)


def require_fit(config: Config, machine: MachineConfig) -> None:
    """Raises UserError, before any work, for a model that the machine cannot hold whatever is written to it in small pieces.

    One row and one pair at a time, since a batch that does not fit is halved; with room, since what is only mapped or swapped
    still runs. Nothing is refused where the model's shape or the memory is not known, or elsewhere (a cluster).
    """
    shape = shape_of_model(config)
    if shape is None or config.engine.ray is not None or config.engine.is_scripted or not machine.memory_gib:
        return
    train = dataclasses.replace(config.train, micro_batch_size=1)
    engine = dataclasses.replace(config.engine, batch_size=1)
    if engine.vllm is not None:
        engine = dataclasses.replace(engine, vllm=dataclasses.replace(engine.vllm, kv_cache_gib=1))
    least = dataclasses.replace(config, train=train, engine=engine)
    works = {"generation": _SMALLEST, "training": _SMALLEST, "merging": _SMALLEST}
    for phase in _phases(machine, shape, works):
        if config.stage.name == "baseline" and phase.name != "generation":
            continue
        taken, limit = phase.peak(least).gib, limit_gib(least, machine, phase.name)
        if _ROOM * taken > limit:
            raise UserError(
                f"model={config.model.name} does not fit: {phase.name} takes {taken:.0f} GiB or more of memory, and here are "
                f"{limit:.0f}: {_remedy(least, machine, phase)}"
            )
