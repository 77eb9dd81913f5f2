"""`plan`: the pipeline's own path, walked without computing anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cai_bootstrap.config import Config
from cai_bootstrap.report.status import table
from cai_bootstrap.store.artifacts import Artifact, Store
from cai_bootstrap.store.run import step_digest


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One step of a plan."""

    stage: str
    name: str
    cached: bool
    begun: bool
    minutes: float | None


class Planner:
    """Takes the place of a run: looks each step up, notes whether it is there, writes nothing."""

    def __init__(self, root: Path, config: Config) -> None:
        self.config = config
        self.store = Store(root)
        self.steps: list[PlannedStep] = []

    def step(
        self,
        stage: str,
        name: str,
        function: Callable[..., None],
        *,
        settings: Mapping[str, Any],
        inputs: Mapping[str, Artifact] | None = None,
        values: Mapping[str, Any] | None = None,
        seed: int,
    ) -> Artifact:
        """The artifact when it is there, else a stand-in with its digest and no manifest."""
        digests = {key: artifact.digest for key, artifact in (inputs or {}).items()}
        address = step_digest(function, settings, digests, dict(values or {}), seed)
        found = self.store.find(stage, name, address)
        folder = self.store.folder(stage, name, address)
        begun = folder.with_name(folder.name + ".partial").exists()
        minutes = None if found is None else found.manifest["seconds"] / 60
        self.steps.append(PlannedStep(stage=stage, name=name, cached=found is not None, begun=begun, minutes=minutes))
        return found or Artifact(stage, name, address, folder, {})


def render_plan(planners: Sequence[Planner]) -> str:
    """A table of every planned step, and how many are left."""
    rows: list[tuple[str, ...]] = []
    for planner in planners:
        for planned in planner.steps:
            state = "done" if planned.cached else "begun" if planned.begun else "to do"
            took = "–" if planned.minutes is None else f"{planned.minutes:.1f}"
            rows.append((planner.config.run, planned.stage, planned.name, state, took))
    rows = list(dict.fromkeys(rows))
    left = sum(row[3] != "done" for row in rows)
    lines = table(("run", "stage", "step", "state", "minutes taken"), rows)
    return "\n".join([*lines, f"{len(rows) - left} of {len(rows)} steps are done, {left} to do"])
