"""`plan`: the pipeline's own path, walked without computing anything, and what each step of it will take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cai_bootstrap import estimates
from cai_bootstrap.config import Config, MachineConfig
from cai_bootstrap.estimates import GIB, Peak
from cai_bootstrap.report.forecast import Forecast, Forecaster, made, misfits
from cai_bootstrap.report.status import table
from cai_bootstrap.steps.workload import Asked, Workload, workload
from cai_bootstrap.store.artifacts import Artifact, Store
from cai_bootstrap.store.work import step_digest, step_facts

_NONE = "–"


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One step of a plan."""

    stage: str
    name: str
    digest: str
    cached: bool
    begun: bool
    facts: Mapping[str, Any]
    """What the digest was taken of, as a manifest has it."""
    artifact: Artifact
    """What is there, or stands for what will be."""
    inputs: Mapping[str, Artifact] = field(default_factory=dict)


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
        artifact = self.artifacts[name] = found or Artifact(stage, name, address, folder, {})
        self.steps.append(
            PlannedStep(
                stage=stage,
                name=name,
                digest=address,
                cached=found is not None,
                begun=begun,
                facts=facts,
                artifact=artifact,
                inputs=dict(inputs or {}),
            )
        )
        self._warned.setdefault(stage, []).extend([] if found is None else found.manifest["warnings"])
        return artifact

    def warnings(self, stage: str) -> list[str]:
        """What the steps of a stage that are there warn of. Of the others nobody knows: what takes warnings is to do then."""
        return list(dict.fromkeys(self._warned.get(stage, [])))


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A line of the plan."""

    run: str
    step: PlannedStep
    state: str
    forecast: Forecast
    machine: MachineConfig

    @property
    def left(self) -> bool:
        """Whether it is work of this plan."""
        return self.state in ("to do", "begun")


class _Records:
    """How many records every artifact of a plan holds or will hold, by its digest."""

    def __init__(self) -> None:
        self._counts: dict[str, float] = {}

    def work(self, config: Config, planned: PlannedStep) -> Workload:
        """What a step will do, from what the steps before it are to leave."""
        counts = {name: self._count(artifact) for name, artifact in planned.inputs.items()}
        model = planned.inputs.get("model")
        asked = Asked(
            stage=planned.stage,
            settings=planned.facts["settings"],
            values=planned.facts["values"],
            counts=counts,
            config=config,
            trained=model is not None and model.name.startswith("model"),
        )
        found = workload(planned.facts["function"], asked)
        self._counts[planned.digest] = found.records
        return found

    def _count(self, artifact: Artifact) -> float:
        if artifact.is_made:
            return float(artifact.manifest.get("num_records") or 0)
        return self._counts.get(artifact.digest, 0.0)


def render_plan(
    planners: Sequence[Planner], labels: Mapping[str, str], known: Callable[[Config], MachineConfig] | None = None
) -> str:
    """A table of every planned step with what it takes, sums by stage, what does not fit, and how many steps are left.

    A step that an earlier run of the same plan is to compute is no work for the later ones: its state names that run. `known`
    gives the machine of a configuration.
    """
    rows: list[_Row] = []
    lacking: dict[str, None] = {}
    maker: dict[tuple[str, ...], str] = {}
    """By step: the first run that needs it."""
    states: dict[str, Counter[str]] = {}
    records, seen = _Records(), set[tuple[str, ...]]()
    for planner in planners:
        config, run = planner.config, planner.config.run
        machine = config.machine if known is None or all(planned.cached for planned in planner.steps) else known(config)
        forecaster = Forecaster(config, machine)
        largest: dict[str, tuple[Peak, Workload]] = {}
        for planned in planner.steps:
            address = (config.paths.root, planned.stage, planned.name, planned.digest)
            if (run, *address) in seen:  # several suites of one run begin with the same steps
                continue
            seen.add((run, *address))
            first = maker.setdefault(address, run)
            state = "done" if planned.cached else f"by {first}" if first != run else "begun" if planned.begun else "to do"
            forecast = Forecast()
            if planned.cached:
                forecast = made(planned.artifact)
            else:
                work = records.work(config, planned)
                if not state.startswith("by "):
                    forecast = forecaster.of(planned.facts["function"], work, planned.inputs)
                if forecast.peak is not None and forecast.peak.gib > largest.get(forecast.phase, (Peak({}), work))[0].gib:
                    largest[forecast.phase] = (forecast.peak, work)
            rows.append(_Row(run=run, step=planned, state=state, forecast=forecast, machine=machine))
            states.setdefault(run, Counter())["shared" if state.startswith("by ") else state] += 1
        if forecaster.shape is not None and largest:
            works = {phase: work for phase, (_, work) in largest.items()}
            lacking |= dict.fromkeys(misfits(config, machine, forecaster.shape, works))
    lines = table(_COLUMNS, [_cells(row) for row in rows])
    if known is not None and any(row.left for row in rows):
        lines += ["", *_sums(rows), *lacking, *dict.fromkeys(assumptions(row.machine) for row in rows if row.left), ""]
    if len(states) > 1:
        lines += [f"{run} ({labels.get(run, run)}): {_in_words(counted)}" for run, counted in states.items()]
    counted = sum(states.values(), Counter[str]())
    shared = f", {counted['shared']} shared with an earlier run" if counted["shared"] else ""
    left = counted["to do"] + counted["begun"]
    return "\n".join([*lines, f"{counted['done']} of {len(rows)} steps are done, {left} to do{shared}"])


_RAM = " RAM"
"""Marks memory that is not the card's."""
_COLUMNS = ("run", "stage", "step", "state", "read", "written", "GiB", "minutes", "$", "disk")


def _cells(row: _Row) -> tuple[str, ...]:
    forecast, planned = row.forecast, row.step
    seconds = forecast.seconds
    dollars = None if seconds is None or not row.left or not row.machine.dollars_per_hour else estimates.cost(seconds, row.machine)
    return (
        row.run,
        planned.stage,
        planned.name,
        row.state,
        _short(forecast.read),
        _short(forecast.written),
        _NONE if forecast.peak is None else f"{forecast.peak.gib:.1f}{_RAM if forecast.beside else ''}",
        _NONE if seconds is None else f"{seconds / 60:.1f}",
        _NONE if dollars is None else f"{dollars:.2f}",
        _bytes(forecast.disk_bytes),
    )


def _sums(rows: Sequence[_Row]) -> list[str]:
    """By stage what is left to do, then in all, and the phase that takes most memory with its parts."""
    left = [row for row in rows if row.left]
    stages = list(dict.fromkeys(row.step.stage for row in left))
    cells = [_sum(stage, [row for row in left if row.step.stage == stage]) for stage in stages]
    lines = table(("stage", "to do", "read", "written", "GiB", "hours", "$", "disk"), [*cells, _sum("in all", left)])
    for beside in (False, True):
        found = [(row.forecast.peak, row) for row in left if row.forecast.peak is not None and row.forecast.beside is beside]
        if found:
            peak, row = max(found, key=lambda entry: entry[0].gib)
            parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in peak.parts.items() if size >= 0.05 * GIB)
            place = f"{row.step.stage}/{row.step.name}"
            lines += [f"most memory{_RAM if beside else ''}: {place} ({row.forecast.phase}), {peak.gib:.1f} GiB:", f"  {parts}"]
    return lines


def _sum(name: str, rows: Sequence[_Row]) -> tuple[str, ...]:
    told = [row.forecast for row in rows]
    seconds = [one.seconds for one in told]
    dollars = sum(estimates.cost(row.forecast.seconds or 0.0, row.machine) for row in rows)
    peaks = [one.peak.gib for one in told if one.peak is not None and not one.beside]
    return (
        name,
        str(len(rows)),
        _short(sum(one.read or 0.0 for one in told)),
        _short(sum(one.written or 0.0 for one in told)),
        f"{max(peaks):.1f}" if peaks else _NONE,
        _NONE if None in seconds else f"{sum(filter(None, seconds)) / 3600:.2f}",
        _NONE if None in seconds or not dollars else f"{dollars:.2f}",
        _bytes(sum(one.disk_bytes for one in told)),
    )


def assumptions(machine: MachineConfig) -> str:
    """What times and costs rest on, in one line."""
    if not machine.tflops:
        return "no times: the engine plays no real model, or nothing is known of the machine"
    rates = f"{machine.tflops:.3g} TFLOP/s × {machine.generation_efficiency:g} ({machine.training_efficiency:g} in training)"
    memory = f"{machine.bandwidth_gb_s:,.0f} GB/s × {machine.bandwidth_efficiency:g}"
    paid = f", ${machine.dollars_per_hour:.2f} an hour" if machine.dollars_per_hour else ""
    return f"assumed: {machine.name}, {rates}, {memory}{paid}; lengths of Gemma 3 270M"


def _short(number: float | None) -> str:
    """Three digits and a unit: 812, 45.1k, 3.20M."""
    if number is None:
        return _NONE
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def _bytes(number: float) -> str:
    return f"{number / GIB:.1f}G" if number >= 0.1 * GIB else f"{number / 2**20:.1f}M"


def _in_words(counted: Counter[str]) -> str:
    left = counted["to do"] + counted["begun"]
    return f"{counted.total()} steps, {counted['done']} done, {counted['shared']} shared with an earlier run, {left} to do"
