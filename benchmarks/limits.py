"""What the machine can do at most, and what the work needs at least.

Decoding a batch of n rows reads every weight once and does 2·n operations with each: n / max(bytes / bandwidth,
2·n·weights / matrix rate) tokens per second. Prefill and training are bound by the matrix rate.
"""

from __future__ import annotations

import functools
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

_SHAPES = ((256, 640, 2048), (256, 2048, 640), (64, 640, 16384))
"""(rows, inner, outer): a 270M model's feed-forward products for a micro-batch, and a part of its output layer."""


def base_model() -> Path:
    """The embedded base model, converted once into the user's cache folder."""
    from cai_bootstrap.__main__ import compose_job
    from cai_bootstrap.engines import base_models

    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cai_bootstrap" / "benchmarks" / "gemma-3-270m"
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")  # so that what is there is whole
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        base_models.prepare(compose_job("explicit", [], "").model, partial, print)
        partial.rename(folder)
    return folder


def weights(model: Path) -> tuple[int, int]:
    """Numbers of weights of the body's matrices and of the output layer."""
    from safetensors import safe_open

    body = head = 0
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(str(path), framework="np") as file:
            for name in file.keys():  # noqa: SIM118 — no mapping
                shape = file.get_slice(name).get_shape()
                if len(shape) == 2 and ("embed" in name or "lm_head" in name):
                    head = shape[0] * shape[1]
                elif len(shape) == 2:
                    body += shape[0] * shape[1]
    return body, head


def matrix_gflops(threads: int, seconds: float = 1.5) -> float:
    """1e9 fp32 operations per second in matrix products of these shapes, all threads: the best of many, plain or packed."""
    import torch

    from cai_bootstrap.engines import packed

    torch.set_num_threads(threads)

    def taken(product: Callable[[], torch.Tensor]) -> float:
        product()
        count, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds / 18:
            product()
            count += 1
        return (time.perf_counter() - begin) / count

    best = float("inf")
    for _ in range(3):
        total, work = 0.0, 0.0
        for rows, inner, outer in _SHAPES:
            left, weight = torch.randn(rows, inner), torch.randn(outer, inner)
            ways = [functools.partial(torch.nn.functional.linear, left, weight)]
            if packed.is_supported(weight):
                ways.append(functools.partial(packed.multiply, left, packed.pack(weight)))
            total += min(map(taken, ways))
            work += 2 * rows * inner * outer
        best = min(best, total / work)
    return 1e-9 / best
