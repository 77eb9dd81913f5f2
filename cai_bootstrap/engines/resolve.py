"""An engine's settings with every `auto` filled in from the machine's measurement, taken once a run and kept with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cai_bootstrap.config import EngineConfig, Quantization, TrainConfig
from cai_bootstrap.store.files import read_sealed, write_sealed
from cai_bootstrap.store.work import Progress

MACHINE_FILE = "machine.json"


def kept_measurement(run_folder: Path) -> dict[str, Any]:
    """What a run keeps of its machine; empty where it has not been measured. Raises CorruptArtifact for a damaged file."""
    return read_sealed(run_folder / MACHINE_FILE, "remove it and run the same command again, which measures anew") or {}


def resolve_engine(run_folder: Path, engine: EngineConfig, progress: Progress) -> EngineConfig:
    """`engine` without `auto`, as it is where it has none.

    Measures in a child, so that no thread settings stay behind, and keeps `machine.json`.
    """
    from cai_bootstrap.engines import measure

    if engine.is_settled:
        return engine
    measured = kept_measurement(run_folder)
    if not measured:
        with progress.task("measuring the machine", None):
            measured = measure_in_child(engine.device)
        write_sealed(run_folder / MACHINE_FILE, measured)
    return measure.resolve(engine, measured)


def measure_in_child(device: str) -> dict[str, Any]:
    """What `measure.measure` returns, from a process that has the machine's threads to itself."""
    from cai_bootstrap.engines.child import Child

    child = Child(_measure, {"device": device})
    measured: dict[str, Any] = child.call("measured")
    child.close()
    return measured


def with_known_device(run_folder: Path, engine: EngineConfig) -> EngineConfig:
    """`engine` with the device that the run was measured on, where it has one and none was set. Measures nothing."""
    measured = kept_measurement(run_folder)
    return replace(engine, device=measured["device"]) if measured and engine.device == "auto" else engine


def settle_training(train: TrainConfig, engine: EngineConfig) -> TrainConfig:
    """`train` with the quantization that is meant by `auto` on the engine's device; without one, on that of this machine.

    A scripted engine stands for no model whose memory would count.
    """
    from cai_bootstrap.engines import measure

    if train.quantization is not Quantization.auto:
        return train
    on_gpu = not engine.is_scripted and (engine.device == "cuda" or (engine.device == "auto" and measure.has_gpu()))
    return replace(train, quantization=Quantization.nf4 if on_gpu else Quantization.none)


def _measure(device: str) -> SimpleNamespace:
    from cai_bootstrap.engines import measure

    return SimpleNamespace(measured=measure.measure(device))
