"""What this machine can do, measured once a run: matrix rates, bandwidth, and the settings that follow from them."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from cai_bootstrap.config import EngineConfig
from cai_bootstrap.errors import UserError

_ROWS, _INNER, _OUTER = 512, 640, 2048
"""A 270M model's feed-forward product for 512 tokens: what the time of a run goes into."""
_ROUNDS = 5
_VECTOR_BYTES = 256 << 20
"""Larger than any cache, so that memory is measured."""
_MIN_BF16_SPEEDUP = 4.0
"""On a CPU, bfloat16 is about 90 times slower than fp32 with AVX2 alone, and 2 to 3 times faster with AVX512-bf16.
That is not worth it: what a resumed run is promised to equal to the bit, and what the gates compare, is fp32."""
_ROWS_PER_CORE = 32
"""Decoding rates of a 270M model on two cores still rise from 32 to 64 rows and are flat after that."""
_CPU_ROW_GIB, _GPU_ROW_GIB = 0.06, 0.25
"""Memory per row of a batch, with room: cache and activations of a 270M model on a CPU, of a 7B to 32B one on a GPU."""
_RESERVED_GIB = 4.0
"""Left for the model and for everything else on the machine."""


def measure(device: str = "auto") -> dict[str, Any]:
    """Measure the machine in under 6 seconds.

    Returns {device, device_name, cores (physical, usable), threads, fp32_gflops, bf16_gflops (1e9 operations/s, all
    cores), bf16_speedup (on one core), bandwidth_gb_s (1e9 bytes/s read), dtype, dtype_reason, batch_size, memory_gib
    (free, of the device), torch}. Raises UserError for a device that is not there.
    """
    import torch

    require_device(device)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    cores = usable_cores()
    before = torch.get_num_threads()
    try:
        # The dtype is chosen on one thread and by processor time: threads wait for each other, and on a busy machine
        # that alone has turned the ratio from 2.2 into 7.
        torch.set_num_threads(1)
        single_fp32, single_bf16 = _matrix_gflops(chosen, time.process_time if chosen == "cpu" else time.perf_counter)
        torch.set_num_threads(cores)
        fp32, bf16 = _matrix_gflops(chosen, time.perf_counter)
        bandwidth = _bandwidth_gb_s(chosen)
    finally:
        torch.set_num_threads(before)
    if chosen == "cpu":
        memory_gib, name = free_memory_gib(), _cpu_name()
    else:
        memory_gib, name = torch.cuda.mem_get_info()[0] / 2**30, torch.cuda.get_device_name()
    dtype, reason = choose_dtype(chosen, single_fp32, single_bf16)
    return {
        "device": chosen,
        "device_name": name,
        "cores": cores,
        "threads": cores,
        "fp32_gflops": round(fp32, 2),
        "bf16_gflops": round(bf16, 2),
        "bf16_speedup": round(single_bf16 / single_fp32, 3),
        "bandwidth_gb_s": round(bandwidth, 2),
        "dtype": dtype,
        "dtype_reason": reason,
        "batch_size": choose_batch_size(chosen, cores, memory_gib),
        "memory_gib": round(memory_gib, 2),
        "torch": torch.__version__,
    }


def resolve(config: EngineConfig, measured: dict[str, Any]) -> EngineConfig:
    """`config` with every `auto` and 0 replaced by what `measure` returned; what was set by hand stays."""
    return dataclasses.replace(
        config,
        device=measured["device"] if config.device == "auto" else config.device,
        dtype=measured["dtype"] if config.dtype == "auto" else config.dtype,
        batch_size=config.batch_size or measured["batch_size"],
        threads=config.threads or measured["threads"],
    )


def has_gpu() -> bool:
    """Whether torch sees a GPU. A build for CPUs tells by its version, without the seconds that importing torch takes."""
    if importlib.metadata.version("torch").endswith("+cpu"):
        return False
    import torch

    return torch.cuda.is_available()


def require_device(wanted: str) -> None:
    """Raises UserError for an `engine.device` that is not known, or not on this machine."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise UserError(f"engine.device={wanted!r} is not valid: write auto, cpu or cuda")
    if wanted == "cuda" and not has_gpu():
        raise UserError("engine.device='cuda' is not there (torch sees no GPU): write engine.device=auto or cpu")


def num_gpus() -> int:
    """How many torch sees."""
    import torch

    return torch.cuda.device_count()


def choose_dtype(device: str, fp32_gflops: float, bf16_gflops: float) -> tuple[str, str]:
    """(dtype, reason): bfloat16 only where it was measured to be faster, on a CPU by at least `_MIN_BF16_SPEEDUP`."""
    speedup = bf16_gflops / fp32_gflops
    needed = _MIN_BF16_SPEEDUP if device == "cpu" else 1.0
    dtype = "bfloat16" if speedup >= needed else "float32"
    return (
        dtype,
        f"bfloat16 runs at {speedup:.2g} times the rate of float32 here; it is taken from {needed:.2g} times on",
    )


def choose_batch_size(device: str, cores: int, memory_gib: float) -> int:
    """Rows decoded together: bounded by free memory, on a CPU by the cores too; a power of two from 1 to 256."""
    fitting = (memory_gib - _RESERVED_GIB) / (_CPU_ROW_GIB if device == "cpu" else _GPU_ROW_GIB)
    wanted = min(fitting, _ROWS_PER_CORE * cores, 64) if device == "cpu" else min(fitting, 256)
    return 1 << max(0, int(wanted).bit_length() - 1) if wanted >= 1 else 1


@functools.cache
def has_fast_bf16() -> bool:
    """Whether the processor multiplies bf16 natively, at twice fp32's rate or so. Elsewhere it is emulated, and slower."""
    told = Path("/proc/cpuinfo")
    return told.exists() and re.search(r"\b(avx512_bf16|amx_bf16)\b", told.read_text(encoding="utf-8")) is not None


def usable_cores() -> int:
    """Physical cores that this process may use: by the machine, its affinity, and its control group's quota."""
    logical = psutil.cpu_count(logical=True) or 1
    physical = psutil.cpu_count(logical=False) or logical
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    # Two hardware threads share one core's multipliers: only as many threads as cores make products faster.
    limit = min(physical, -(-allowed * physical // logical))
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        limit = min(limit, max(1, int(quota[0]) // int(quota[1])))
    return max(1, limit)


def free_memory_gib() -> float:
    """Memory in GiB that this process can still take: the machine's, or its control group's where that is less."""
    free = psutil.virtual_memory().available
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        # Cached files count as used, but the kernel gives them back when asked.
        cached = re.search(r"^inactive_file (\d+)$", _read("/sys/fs/cgroup/memory.stat"), re.MULTILINE)
        free = min(free, max(0, int(limit) - int(used) + (int(cached.group(1)) if cached else 0)))
    return free / 2**30


def total_memory_gib() -> float:
    """Memory in GiB that this process may take at most: the machine's, or its control group's where that is less."""
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    total = psutil.virtual_memory().total
    return min(total, int(limit) if limit.isdigit() else total) / 2**30


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:  # not Linux, or no control group: no limit of this kind
        return ""


def _cpu_name() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "CPU"


def _matrix_gflops(device: str, clock: Callable[[], float]) -> tuple[float, float]:
    """The rates in float32 and in bfloat16."""
    import torch

    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    pairs = {
        dtype: (
            torch.ones(_ROWS, _INNER, dtype=dtype, device=device),
            torch.ones(_INNER, _OUTER, dtype=dtype, device=device),
        )
        for dtype in best
    }
    # By turns: what else runs on the machine then slows both, and their ratio, which decides the dtype, holds better.
    for _ in range(_ROUNDS):
        for dtype, (left, right) in pairs.items():
            seconds = _seconds_per_call(functools.partial(torch.matmul, left, right), device, clock, budget_s=0.12)
            best[dtype] = min(best[dtype], seconds)
        if best[torch.bfloat16] > 0.2:  # emulated: more rounds would only take long
            break
    operations = 2 * _ROWS * _INNER * _OUTER
    return operations / best[torch.float32] / 1e9, operations / best[torch.bfloat16] / 1e9


def _bandwidth_gb_s(device: str) -> float:
    import torch

    vector = torch.ones(_VECTOR_BYTES // 4, dtype=torch.float32, device=device)
    return _VECTOR_BYTES / _seconds_per_call(vector.sum, device, time.perf_counter, budget_s=0.6) / 1e9


def _seconds_per_call(call: Callable[[], object], device: str, clock: Callable[[], float], budget_s: float) -> float:
    """The fastest of the calls that fit into `budget_s` after a first one that warms up, which counts if it is slow."""
    import torch

    best, start = float("inf"), clock()
    for index in range(1000):
        begin = clock()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        end = clock()
        if index > 0 or end - begin > budget_s / 2:
            best = min(best, end - begin)
        if end - start > budget_s:
            break
    return best
