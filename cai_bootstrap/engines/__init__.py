"""Engines by name. `start` gives one in a child process, or in this process where the configuration asks for that."""

from __future__ import annotations

from pathlib import Path

from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines.engine import Engine
from cai_bootstrap.errors import UserError


def _transformers(folder: Path, *, device: str, dtype: str, batch_size: int, threads: int) -> Engine:
    from cai_bootstrap.engines.transformers import TransformersEngine

    return TransformersEngine(folder, device=device, dtype=dtype, batch_size=batch_size, threads=threads)


ENGINES = {"transformers": _transformers}


def start(config: EngineConfig, folder: Path) -> Engine:
    """An engine for the model in `folder`. `config` has no `auto` left: see `measure.resolve`."""
    if config.name not in ENGINES:
        raise UserError(f"engine.name={config.name!r} is not known: write one of {', '.join(sorted(ENGINES))}")
    build = ENGINES[config.name]
    arguments = {
        "folder": folder,
        "device": config.device,
        "dtype": config.dtype,
        "batch_size": config.batch_size,
        "threads": config.threads,
    }
    if config.in_process:
        return build(**arguments)  # type: ignore[arg-type]
    from cai_bootstrap.engines.child import ChildEngine

    return ChildEngine(build, arguments)
