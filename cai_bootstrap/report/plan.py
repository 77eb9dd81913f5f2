"""`plan`: the pipeline's own path, walked without computing anything."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cai_bootstrap.config import Config
from cai_bootstrap.report.status import table
from cai_bootstrap.store.artifacts import Artifact, Store
from cai_bootstrap.store.work import step_digest, step_facts


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One step of a plan."""

    stage: str
    name: str
    digest: str
    cached: bool
    begun: bool
    minutes: float | None
    facts: Mapping[str, Any]
    """What the digest was taken of, as a manifest has it."""


class Planner:
    """Takes the place of a run: looks each step up, notes whether it is there, writes nothing."""

    def __init__(self, root: Path, config: Config) -> None:
        self.config = config
        self.store = Store(root)
        self.steps: list[PlannedStep] = []
        self.artifacts: dict[str, Artifact] = {}
        """By the name of their step: what is there, or stands for what will be."""
        self._warned: dict[str, list[str]] = {}

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
        facts = step_facts(function, settings, digests, dict(values or {}), seed)
        address = step_digest(facts)
        found = self.store.find(stage, name, address)
        folder = self.store.folder(stage, name, address)
        begun = folder.with_name(folder.name + ".partial").exists()
        minutes = None if found is None else found.manifest["seconds"] / 60
        self.steps.append(
            PlannedStep(
                stage=stage, name=name, digest=address, cached=found is not None, begun=begun, minutes=minutes, facts=facts
            )
        )
        self.artifacts[name] = found or Artifact(stage, name, address, folder, {})
        self._warned.setdefault(stage, []).extend([] if found is None else found.manifest["warnings"])
        return self.artifacts[name]

    def warnings(self, stage: str) -> list[str]:
        """What the steps of a stage that are there warn of. Of the others nobody knows: what takes warnings is to do then."""
        return list(dict.fromkeys(self._warned.get(stage, [])))


def render_plan(planners: Sequence[Planner], labels: Mapping[str, str]) -> str:
    """A table of every planned step, how many are left, and for several runs how many each one finds or computes.

    A step that an earlier run of the same plan is to compute is no work for the later ones: its state names that run.
    """
    rows: list[tuple[str, ...]] = []
    maker: dict[tuple[str, ...], str] = {}
    """By step: the first run that needs it."""
    states: dict[str, Counter[str]] = {}
    seen: set[tuple[str, ...]] = set()
    for planner in planners:
        run = planner.config.run
        for planned in planner.steps:
            address = (planner.config.paths.root, planned.stage, planned.name, planned.digest)
            if (run, *address) in seen:  # several suites of one run begin with the same steps
                continue
            seen.add((run, *address))
            first = maker.setdefault(address, run)
            state = "done" if planned.cached else f"by {first}" if first != run else "begun" if planned.begun else "to do"
            took = "–" if planned.minutes is None else f"{planned.minutes:.1f}"
            rows.append((run, planned.stage, planned.name, state, took))
            states.setdefault(run, Counter())["shared" if state.startswith("by ") else state] += 1
    lines = table(("run", "stage", "step", "state", "minutes taken"), rows)
    if len(states) > 1:
        lines += [f"{run} ({labels.get(run, run)}): {_in_words(counted)}" for run, counted in states.items()]
    counted = sum(states.values(), Counter[str]())
    shared = f", {counted['shared']} shared with an earlier run" if counted["shared"] else ""
    left = counted["to do"] + counted["begun"]
    return "\n".join([*lines, f"{counted['done']} of {len(rows)} steps are done, {left} to do{shared}"])


def _in_words(counted: Counter[str]) -> str:
    left = counted["to do"] + counted["begun"]
    return f"{counted.total()} steps, {counted['done']} done, {counted['shared']} shared with an earlier run, {left} to do"
