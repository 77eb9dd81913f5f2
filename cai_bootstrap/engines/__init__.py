"""Engines by name. `start` gives one in a child process, or in this process where the configuration asks for that."""

from __future__ import annotations

import gc
import importlib.util
from pathlib import Path

from cai_bootstrap.config import EngineConfig, Script
from cai_bootstrap.engines.engine import Engine
from cai_bootstrap.engines.failures import Guarded
from cai_bootstrap.engines.measure import require_device
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

    return RayEngine(folder, config, _Held)


ENGINES = {"transformers": _transformers, "scripted": _scripted, "vllm": _vllm, "ray": _ray}
_GIVE_BACK = {"transformers"}
"""Engines that give a model's memory back while their process lives; of vLLM's some stays."""
NEEDS = {
    "vllm": "run `make setup-vllm` on a CPU, `pip install -e '.[vllm]'` on a GPU",
    "ray": "run `pip install -e '.[ray]'`",
}
"""Libraries of engines that are not always installed, and what installs them."""


def require_ready(config: EngineConfig) -> None:
    """Raises UserError for an engine that is not known, whose library or device is missing, or whose cluster is."""
    for key, name, known in (
        ("engine.name", config.name, set(ENGINES)),
        ("engine.ray.engine", config.runs, set(ENGINES) - {"ray"}),
    ):
        if name not in known:
            raise UserError(f"{key}={name!r} is not known: write one of {', '.join(sorted(known))}")
        if name in NEEDS and importlib.util.find_spec(name) is None:
            raise UserError(f"engine={name} needs {name}, which is not installed: {NEEDS[name]}")
    if config.ray is None:
        require_device(config.device)
    else:  # whose workers are on machines of their own
        from cai_bootstrap.engines.ray import require_reachable

        require_reachable(config.ray.address)


def start(config: EngineConfig, folder: Path) -> Engine:
    """An engine for the model in `folder`. `config` has no `auto` left: see `measure.resolve`."""
    require_ready(config)
    if config.ray is not None:
        return _ray(folder, config)  # its workers are processes already
    if config.in_process:
        return _Held(folder, config)
    from cai_bootstrap.engines.child import ChildEngine

    return ChildEngine(_Held, {"folder": folder, "config": config})


def switch(engine: Engine, config: EngineConfig, folder: Path) -> Engine:
    """`engine` with the model in `folder` instead of its own, where its process can load it; otherwise a new one.

    `engine` is closed where it is not what is returned, a failure included.

    A process that goes on has its libraries imported and its tokenizer read: of a small model's start nearly all.
    """
    from cai_bootstrap.engines.child import ChildEngine

    if isinstance(engine, ChildEngine) and config.name in _GIVE_BACK:
        try:
            engine.load(folder)
        except BaseException:  # an engine without a model is of no use
            engine.close()
            raise
        return engine
    engine.close()
    return start(config, folder)


class _Held(Guarded):
    """An engine that gives way to another model's in the same process."""

    def __init__(self, folder: Path, config: EngineConfig) -> None:
        super().__init__(ENGINES[config.name](folder, config))
        self._config = config

    def load(self, folder: Path) -> None:
        """The old model's memory is free before the new one is read."""
        self._engine.close()
        gc.collect()  # modules refer to each other
        self._engine = ENGINES[self._config.name](folder, self._config)
