"""Engines by name. `start` gives one in a child process, or in this process where the configuration asks for that."""

from __future__ import annotations

from pathlib import Path

from cai_bootstrap.config import EngineConfig, Script
from cai_bootstrap.engines.engine import Engine
from cai_bootstrap.engines.failures import Guarded
from cai_bootstrap.errors import UserError


def _transformers(folder: Path, config: EngineConfig) -> Engine:
    from cai_bootstrap.engines.transformers import TransformersEngine

    return TransformersEngine(
        folder, device=config.device, dtype=config.dtype, batch_size=config.batch_size, threads=config.threads
    )


def _scripted(folder: Path, config: EngineConfig) -> Engine:
    from cai_bootstrap.engines.scripted import ScriptedEngine

    return ScriptedEngine(folder, script=config.script or Script.passes)


ENGINES = {"transformers": _transformers, "scripted": _scripted}


def start(config: EngineConfig, folder: Path) -> Engine:
    """An engine for the model in `folder`. `config` has no `auto` left: see `measure.resolve`."""
    if config.name not in ENGINES:
        raise UserError(f"engine.name={config.name!r} is not known: write one of {', '.join(sorted(ENGINES))}")
    if config.in_process:
        return _guarded(folder, config)
    from cai_bootstrap.engines.child import ChildEngine

    return ChildEngine(_guarded, {"folder": folder, "config": config})


def _guarded(folder: Path, config: EngineConfig) -> Engine:
    return Guarded(ENGINES[config.name](folder, config))
