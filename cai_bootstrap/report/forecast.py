"""What each step of a plan takes on a machine: tokens, memory at its peak, time, and disk."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai_bootstrap import estimates
from cai_bootstrap.config import Config, MachineConfig, ModelShape, ModelSource
from cai_bootstrap.engines import measure
from cai_bootstrap.engines.machine import dtype_of
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
        computed = work.computed * work.tokens
        seconds += estimates.training_seconds(shape, machine, tokens=computed, scored=work.scored, **common)
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
            disk_bytes=float(estimates.BYTES[self.config.merge.dtype] * estimates.num_parameters(shape)),
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
        if name.endswith(".jsonl") and artifact.manifest.get("engine"):  # scores repeat what their outputs count
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


def head_bytes(config: Config, machine: MachineConfig) -> int:
    """Of each weight of the output layer in a training on a CPU; of another machine's processor the larger number is taken."""
    wanted = config.train.head_dtype
    rounded = wanted == "bfloat16" or (wanted == "auto" and machine.name == "auto" and measure.has_fast_bf16())
    return 2 if rounded else 4


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
            head_bytes=head_bytes(config, machine),
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
