"""The machine that a plan reckons with: one by name, or this one, by the measurement that a run keeps or by a new one."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

from cai_bootstrap.config import EngineConfig, MachineConfig
from cai_bootstrap.engines import measure
from cai_bootstrap.engines.resolve import kept_measurement, measure_in_child
from cai_bootstrap.store.run import run_folder, run_names

_ANSWER_S = 10.0


def device_of(engine: EngineConfig) -> str:
    """`cpu` or `cuda`: what the engine will run on here, without asking torch."""
    if engine.device != "auto":
        return engine.device
    return "cuda" if card_memory_gib() else "cpu"


@functools.cache  # a process is started for it, and a sweep asks for each of its jobs
def card_memory_gib() -> float:
    """Memory in GiB of the first NVIDIA card that this process may use, by its driver; 0 without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0.0
    asked = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    with contextlib.suppress(subprocess.TimeoutExpired, OSError):
        found = subprocess.run(asked, capture_output=True, text=True, timeout=_ANSWER_S, check=False).stdout.split()
        return float(found[0]) / 1024 if found and found[0].replace(".", "", 1).isdigit() else 0.0
    return 0.0


def known(machine: MachineConfig, engine: EngineConfig, root: Path, run: str, *, rates: bool = True) -> MachineConfig:
    """`machine` without `auto` and 0: as it is when it has a name, else this one. Writes nothing.

    Memory is all that there is, not what is free now. Without `rates` nothing is measured, and rates stay 0; so they do for a
    scripted engine, which takes no time worth telling.
    """
    if machine.name != "auto":
        return machine
    device = device_of(engine)
    ram = measure.total_memory_gib()
    memory = ram if device == "cpu" else card_memory_gib()
    here = dataclasses.replace(machine, device=device, memory_gib=machine.memory_gib or memory, ram_gib=machine.ram_gib or ram)
    if not rates or engine.is_scripted:
        return here
    found = _kept(root, run) or measure_in_child(engine.device)
    rate = found["bf16_gflops" if dtype_of(engine, found["device"]) == "bfloat16" else "fp32_gflops"] / 1e3
    return dataclasses.replace(
        here,
        tflops=here.tflops or rate,
        cpu_tflops=here.cpu_tflops or (rate if device == "cpu" else 0.0),
        bandwidth_gb_s=here.bandwidth_gb_s or found["bandwidth_gb_s"],
    )


def dtype_of(engine: EngineConfig, device: str) -> str:
    """The dtype that the engine will run in, as far as it can be told before a measurement."""
    if engine.dtype != "auto":
        return engine.dtype
    return "bfloat16" if device == "cuda" else "float32"


def _kept(root: Path, run: str) -> dict[str, Any] | None:
    """The measurement of this run, or of another one under the same root."""
    kept = (kept_measurement(run_folder(root, name)) for name in dict.fromkeys([run, *run_names(root)]))
    return next((found for found in kept if found), None)
