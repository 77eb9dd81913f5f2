"""What each step of a plan takes on a machine: tokens, memory at its peak, time, cost and disk; and which setting would fit."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai_bootstrap import estimates
from cai_bootstrap.config import Config, MachineConfig, ModelShape, ModelSource, Quantization
from cai_bootstrap.engines import measure
from cai_bootstrap.engines.machine import dtype_of
from cai_bootstrap.errors import UserError
from cai_bootstrap.estimates import GIB, Calls, Peak
from cai_bootstrap.steps.workload import Workload
from cai_bootstrap.store.artifacts import Artifact

_SMALL_STEP_S = 0.3
"""Filtering, pairing, scoring and gates: seconds in all."""
_DEQUANTISING_S = 237.0
"""Per 1e9 weights of a GGUF that becomes safetensors: 63.6 s for Gemma 3 270M."""
_OWN_LAYER_MS = 0.8
"""Python's share of a layer in our own decoding loop."""
_LONGER = 1.5
"""The longest prompt of a call, as a multiple of the mean one."""
_MERGE_PROMPTS, _MERGE_WIDTH = 24, 24
_ROOM = 0.85
"""A run is refused only where this share of what it takes at least is too much: what is mapped or swapped still runs."""
_LARGE_SHARE = 0.92
"""Of a card, for vLLM: what is left holds the CUDA context and what other libraries take."""
_ROUNDING_GIB = 1e-6
_NUM_TOKENS = re.compile(rb'"num_tokens": ?(\d+)')


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a step takes; None where it cannot be told."""

    read: float | None = None
    written: float | None = None
    peak: Peak | None = None
    phase: str = ""
    """generation, training or merging, where a model is in memory."""
    beside: bool = False
    """Whether that memory is the processor's, on a machine with a card."""
    seconds: float | None = None
    disk_bytes: float = 0.0


def shape_of_model(config: Config) -> ModelShape | None:
    """The shape of the configured base model, by `model.shape` or its folder's config.json; None where neither tells."""
    if config.model.source is ModelSource.path and config.model.path is not None:
        path = Path(config.model.path).expanduser() / "config.json"
        return estimates.shape_of(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
    return config.model.shape


class Forecaster:
    """Forecasts the steps of one configuration in their order: a model is loaded once for all steps that follow with it."""

    def __init__(self, config: Config, machine: MachineConfig) -> None:
        """`machine` is known: see `engines.machine.known`."""
        self.config, self.machine = config, machine
        self.shape = shape_of_model(config)
        self._loaded = ""

    def of(self, function: str, work: Workload, inputs: Mapping[str, Artifact]) -> Forecast:
        """A step that is to do, by its function's name."""
        name = function.rpartition(".")[2]
        if self.shape is None or not self.machine.tflops:
            return Forecast(disk_bytes=work.disk_bytes)
        if name == "prepare_base":
            return self._base(self.shape)
        if name == "train_adapter":
            self._loaded = ""
            return self._training(self.shape, work)
        if name == "merge_adapter":
            self._loaded = ""
            return self._merging(self.shape)
        if not work.calls:
            return Forecast(seconds=_SMALL_STEP_S, disk_bytes=work.disk_bytes)
        return self._generation(self.shape, work, inputs)

    def _base(self, shape: ModelShape) -> Forecast:
        source, number = self.config.model.source, estimates.num_parameters(shape)
        size = number * (4 if source in (ModelSource.gguf_package, ModelSource.tiny_random) else 2)
        seconds = {
            ModelSource.gguf_package: number * 1e-9 * _DEQUANTISING_S,
            ModelSource.hub: size / (self.machine.fetch_gb_s * 1e9),
        }.get(source, 5.0)
        return Forecast(seconds=seconds, disk_bytes=size)

    def _generation(self, shape: ModelShape, work: Workload, inputs: Mapping[str, Artifact]) -> Forecast:
        peak = generation_peak(self.config, self.machine, shape, work.calls)
        seconds = 0.0
        calls: list[tuple[str, Calls]] = [("model", each) for each in work.calls] + list(work.also)
        for role, each in calls:
            seconds += self._load(shape, inputs[role].digest if role in inputs else role) + self._call(shape, peak, each)
        return Forecast(
            read=sum(each.read for _, each in calls),
            written=sum(each.written for _, each in calls),
            peak=peak,
            phase="generation",
            seconds=seconds,
            disk_bytes=work.disk_bytes,
        )

    def _load(self, shape: ModelShape, digest: str) -> float:
        """Seconds until the model is loaded, none where it is."""
        if digest == self._loaded:
            return 0.0
        self._loaded = digest
        # Merged models lie there in fp32 (`training.merging`), whatever they are served in.
        return estimates.loading_seconds(4.0 * estimates.num_parameters(shape), self.machine)

    def _call(self, shape: ModelShape, peak: Peak, calls: Calls) -> float:
        engine, dtype = self.config.engine, dtype_of(self.config.engine, self.machine.device)
        batch = float(batch_size(self.config, self.machine))
        machine = self.machine
        quantization = "none"
        if engine.runs == "vllm":
            assert engine.vllm is not None  # EngineConfig asks for it
            quantization = engine.vllm.quantization
            batch = min(batch, max(1.0, estimates.vllm_rows(shape, peak, dtype, calls.own + calls.out)))
        else:
            machine = dataclasses.replace(machine, step_ms=machine.step_ms + _OWN_LAYER_MS * shape.layers)
        weights = estimates.weight_bytes(shape, dtype, quantization)
        seconds = estimates.generation_seconds(shape, calls, machine, weights=weights, dtype=dtype, batch=batch)
        return seconds / engine.at_once

    def _training(self, shape: ModelShape, work: Workload) -> Forecast:
        train, machine = self.config.train, self.machine
        quantization = quantization_of(self.config, machine.device)
        common: dict[str, Any] = {
            "lora": train.lora,
            "gradient_checkpointing": train.gradient_checkpointing,
            "quantization": quantization,
        }
        seconds = estimates.loading_seconds(4.0 * estimates.num_parameters(shape), machine)
        seconds += estimates.training_seconds(shape, machine, tokens=work.tokens, scored=work.scored, **common)
        share = work.referenced
        seconds += estimates.training_seconds(
            shape, machine, tokens=share * work.tokens, scored=share * work.scored, passes=0, **common
        )
        if train.lora.frozen_share:
            frozen = dataclasses.replace(train.lora, frozen_share=1 - train.lora.frozen_share)
            seconds += estimates.training_seconds(
                shape, machine, tokens=work.tokens / work.epochs, scored=0, passes=0, **{**common, "lora": frozen}
            )
        return Forecast(
            read=work.tokens,
            peak=training_peak(self.config, machine, shape, work),
            phase="training",
            seconds=seconds,
            disk_bytes=estimates.num_lora(shape, train.lora) * 4 + work.disk_bytes,
        )

    def _merging(self, shape: ModelShape) -> Forecast:
        on_card = merge_device(self.config, self.machine) == "cuda"
        return Forecast(
            peak=merging_peak(self.config, self.machine, shape),
            phase="merging",
            beside=self.machine.device == "cuda" and not on_card,
            seconds=estimates.merging_seconds(
                shape, self.machine, on_card=on_card, num_prompts=_MERGE_PROMPTS, width=_MERGE_WIDTH
            ),
            disk_bytes=4.0 * estimates.num_parameters(shape),
        )


def made(artifact: Artifact) -> Forecast:
    """What a step that is done took: its seconds and bytes by its manifest, tokens where its records count them."""
    read = written = None
    peak: Peak | None = None
    files = artifact.manifest["files"]
    if "training.json" in files:
        told = artifact.json("training.json")
        read = float(sum(told["tokens"][name] for name in ("prompt", "chosen", "rejected")))
        peak = Peak({"measured": told["peak_memory_gib"] * GIB})
    for name in files:
        if name.endswith(".jsonl"):
            found = [int(number) for number in _NUM_TOKENS.findall((artifact.path / name).read_bytes())]
            written = (written or 0.0) + sum(found) if found else written
    return Forecast(
        read=read,
        written=written,
        peak=peak,
        seconds=artifact.manifest["seconds"],
        disk_bytes=sum(file["bytes"] for file in files.values()),
    )


def batch_size(config: Config, machine: MachineConfig) -> int:
    """Rows that are decoded together: what is set, or what a measurement would choose."""
    return config.engine.batch_size or measure.choose_batch_size(machine.device, 2, machine.memory_gib)


def quantization_of(config: Config, device: str) -> str:
    """`nf4` or `none`: of the frozen weights of a training."""
    wanted = str(config.train.quantization)
    return ("nf4" if device == "cuda" else "none") if wanted == "auto" else wanted


def merge_device(config: Config, machine: MachineConfig) -> str:
    """Where the merge runs: `cpu` or `cuda`."""
    return machine.device if config.merge.device == "auto" else config.merge.device


def generation_peak(config: Config, machine: MachineConfig, shape: ModelShape, calls: Sequence[Calls]) -> Peak:
    """The peak of an engine that does these calls."""
    engine = config.engine
    dtype = dtype_of(engine, machine.device)
    if engine.vllm is not None and engine.runs == "vllm":
        own = engine.vllm
        return estimates.vllm_peak(
            shape,
            dtype=dtype,
            device=machine.device,
            quantization=own.quantization,
            context=own.context or 4096,
            memory_gib=machine.memory_gib,
            share=own.memory_share,
            kv_gib=own.kv_cache_gib,
        )
    rows = round(max((min(each.rows, batch_size(config, machine)) for each in calls), default=1))
    context = round(max((_LONGER * each.own + each.longest for each in calls), default=1))
    prefix = max((each.prefix for each in calls), default=0) / max(1, rows)
    return estimates.generation_peak(
        shape, dtype=dtype, device=machine.device, batch_size=max(1, rows), context=round(context + prefix)
    )


def training_peak(config: Config, machine: MachineConfig, shape: ModelShape, work: Workload) -> Peak:
    """The peak of a training on such pairs."""
    train = config.train
    scored = work.scored / max(work.tokens, 1.0)
    return estimates.training_peak(
        shape,
        estimates.TrainSettings(
            dtype=dtype_of(config.engine, machine.device),
            device=machine.device,
            quantization=quantization_of(config, machine.device),
            lora=train.lora,
            micro_batch_size=train.micro_batch_size,
            width=work.width,
            scored=round(scored * work.width),
            gradient_checkpointing=train.gradient_checkpointing,
            kept_tokens=work.tokens / work.epochs if train.lora.frozen_share else 0.0,
        ),
    )


def merging_peak(config: Config, machine: MachineConfig, shape: ModelShape) -> Peak:
    """The peak of a merge with its certificate."""
    return estimates.merging_peak(shape, device=merge_device(config, machine), num_prompts=_MERGE_PROMPTS, width=_MERGE_WIDTH)


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
