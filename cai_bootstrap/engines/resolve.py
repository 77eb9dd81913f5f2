"""An engine's settings with every `auto` filled in from the machine's measurement, taken once a run and kept with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cai_bootstrap.config import EngineConfig
from cai_bootstrap.store.files import read_sealed, write_sealed
from cai_bootstrap.store.work import Progress

MACHINE_FILE = "machine.json"


def resolve_engine(run_folder: Path, engine: EngineConfig, progress: Progress) -> EngineConfig:
    """`engine` without `auto`, as it is where it has none.

    Measures in a child, so that no thread settings stay behind, and keeps `machine.json`.
    """
    from cai_bootstrap.engines import measure

    if engine.is_settled:
        return engine
    path = run_folder / MACHINE_FILE
    measured = read_sealed(path, "remove it and run the same command again, which measures anew") or {}
    if not measured:
        with progress.task("measuring the machine", None):
            measured = measure_in_child(engine.device)
        write_sealed(path, measured)
    return measure.resolve(engine, measured)


def measure_in_child(device: str) -> dict[str, Any]:
    """What `measure.measure` returns, from a process that has the machine's threads to itself."""
    from cai_bootstrap.engines.child import Child

    child = Child(_measure, {"device": device})
    measured: dict[str, Any] = child.call("measured")
    child.close()
    return measured


def _measure(device: str) -> SimpleNamespace:
    from cai_bootstrap.engines import measure

    return SimpleNamespace(measured=measure.measure(device))
