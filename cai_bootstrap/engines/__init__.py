"""Engines by name. `start` gives one in a child process, or in this process where the configuration asks for that."""

from __future__ import annotations

import importlib.util
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


def _vllm(folder: Path, config: EngineConfig) -> Engine:
    from cai_bootstrap.engines.vllm import VllmEngine

    assert config.vllm is not None  # checked by EngineConfig
    return VllmEngine(
        folder,
        device=config.device,
        dtype=config.dtype,
        batch_size=config.batch_size,
        threads=config.threads,
        own=config.vllm,
    )


def _ray(folder: Path, config: EngineConfig) -> Engine:
    from cai_bootstrap.engines.ray import RayEngine

    return RayEngine(folder, config, _guarded)


ENGINES = {"transformers": _transformers, "scripted": _scripted, "vllm": _vllm, "ray": _ray}
NEEDS = {
    "vllm": "run `make setup-vllm` on a CPU, `pip install -e '.[vllm]'` on a GPU",
    "ray": "run `pip install -e '.[ray]'`",
}
"""Libraries of engines that are not always installed, and what installs them."""


def require_ready(config: EngineConfig) -> None:
    """Raises UserError for an engine that is not known, whose library is missing, or whose cluster does not answer."""
    for name in dict.fromkeys([config.name, config.runs]):
        if name not in ENGINES:
            raise UserError(f"engine.name={name!r} is not known: write one of {', '.join(sorted(ENGINES))}")
        if name in NEEDS and importlib.util.find_spec(name) is None:
            raise UserError(f"engine={name} needs {name}, which is not installed: {NEEDS[name]}")
    if config.ray is not None:
        from cai_bootstrap.engines.ray import require_reachable

        require_reachable(config.ray.address)


def start(config: EngineConfig, folder: Path) -> Engine:
    """An engine for the model in `folder`. `config` has no `auto` left: see `measure.resolve`."""
    require_ready(config)
    if config.ray is not None:
        return _ray(folder, config)  # its workers are processes already
    if config.in_process:
        return _guarded(folder, config)
    from cai_bootstrap.engines.child import ChildEngine

    return ChildEngine(_guarded, {"folder": folder, "config": config})


def _guarded(folder: Path, config: EngineConfig) -> Engine:
    return Guarded(ENGINES[config.name](folder, config))
