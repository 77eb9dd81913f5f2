"""`plan`: the pipeline's own path, walked without computing anything, and what each step of it will take."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cai_bootstrap import estimates
from cai_bootstrap.config import Config, MachineConfig
from cai_bootstrap.estimates import GIB, Peak
from cai_bootstrap.report.fit import full_disks, misfits
from cai_bootstrap.report.forecast import Forecast, Forecaster, made, shape_of_model
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
class Row:
    """A line of the plan."""

    config: Config
    step: PlannedStep
    state: str
    forecast: Forecast
    work: Workload
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


def planned_rows(planners: Sequence[Planner], known: Callable[[Config], MachineConfig]) -> list[Row]:
    """Every planned step of every run once, with what it takes on the machine that `known` gives for its configuration.

    A step that an earlier run of the same plan is to compute is no work for the later ones: its state names that run.
    """
    rows: list[Row] = []
    maker: dict[tuple[str, ...], str] = {}
    """By step: the first run that needs it."""
    records, seen = _Records(), set[tuple[str, ...]]()
    for planner in planners:
        config, run = planner.config, planner.config.run
        # What is done needs no machine, and measuring one takes seconds.
        machine = config.machine if all(planned.cached for planned in planner.steps) else known(config)
        forecaster = Forecaster(config, machine)
        for planned in planner.steps:
            address = (config.paths.root, planned.stage, planned.name, planned.digest)
            if (run, *address) in seen:  # several suites of one run begin with the same steps
                continue
            seen.add((run, *address))
            first, work = maker.setdefault(address, run), Workload()
            state = "done" if planned.cached else f"by {first}" if first != run else "begun" if planned.begun else "to do"
            if not planned.cached:
                work = records.work(config, planned)
            forecast = Forecast()
            if planned.cached:
                forecast = made(planned.artifact)
            elif first == run:
                forecast = forecaster.of(planned.facts["function"], work, planned.inputs)
            rows.append(Row(config=config, step=planned, state=state, forecast=forecast, work=work, machine=machine))
    return rows


def render_plan(rows: Sequence[Row], labels: Mapping[str, str]) -> str:
    """A table of the steps with what each takes, sums by stage, what does not fit, and how many steps are left.

    For several runs it says of each how many steps it finds or computes; `labels` tell what they set.
    """
    states: dict[str, Counter[str]] = {}
    for row in rows:
        states.setdefault(row.config.run, Counter())["shared" if row.state.startswith("by ") else row.state] += 1
    lines = table(_COLUMNS, [_cells(row) for row in rows])
    if left := [row for row in rows if row.left]:
        lines += ["", *_sums(left), *_most_memory(left), *_lacking(left)]
        lines += [*dict.fromkeys(assumptions(row.machine) for row in left), ""]
    if len(states) > 1:
        lines += [f"{run} ({labels.get(run, run)}): {_in_words(counted)}" for run, counted in states.items()]
    counted = sum(states.values(), Counter[str]())
    shared = f", {counted['shared']} shared with an earlier run" if counted["shared"] else ""
    to_do = counted["to do"] + counted["begun"]
    return "\n".join([*lines, f"{counted['done']} of {len(rows)} steps are done, {to_do} to do{shared}"])


def _lacking(left: Sequence[Row]) -> list[str]:
    """What does not fit, once for all stages and runs of which it is said alike."""
    largest: dict[tuple[str, str, str], Row] = {}
    for row in left:
        key = (row.config.run, row.config.stage.name, row.forecast.phase)
        held = largest.get(key)
        if row.forecast.peak and (held is None or held.forecast.peak is None or row.forecast.peak.gib > held.forecast.peak.gib):
            largest[key] = row
    found: dict[str, None] = {}
    for (*_, phase), row in largest.items():
        shape = shape_of_model(row.config)
        if shape is not None:
            found |= dict.fromkeys(misfits(row.config, row.machine, shape, {phase: row.work}))
    wanted: dict[str, float] = {}
    for row in left:
        if row.machine.name == "auto":  # of another machine's disk nothing is known
            root = row.config.paths.root
            wanted[root] = wanted.get(root, 0.0) + row.forecast.disk_bytes
    return [*found, *full_disks(wanted)]


_RAM = " RAM"
"""Marks memory that is not the card's."""
_UNBROKEN, _WIDTH = "\u00a0", 110
_COLUMNS = ("run", "stage", "step", "state", "read", "written", "GiB", "minutes", "$", "disk")


def _cells(row: Row) -> tuple[str, ...]:
    forecast, planned = row.forecast, row.step
    seconds = forecast.seconds
    dollars = (
        None if seconds is None or not row.left or not row.machine.dollars_per_hour else estimates.cost(seconds, row.machine)
    )
    return (
        row.config.run,
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


def _sums(left: Sequence[Row]) -> list[str]:
    """By stage what is left to do, then in all."""
    stages = list(dict.fromkeys(row.step.stage for row in left))
    cells = [_sum(stage, [row for row in left if row.step.stage == stage]) for stage in stages]
    return table(("stage", "to do", "read", "written", "GiB", "hours", "$", "disk"), [*cells, _sum("in all", left)])


def _most_memory(left: Sequence[Row]) -> list[str]:
    """Of generation, training and merging the step that takes most memory, with the parts of its peak."""
    largest: dict[str, tuple[Peak, Row]] = {}
    for row in left:
        peak, phase = row.forecast.peak, row.forecast.phase
        if peak is not None and (phase not in largest or peak.gib > largest[phase][0].gib):
            largest[phase] = peak, row
    lines = []
    for phase, (peak, row) in largest.items():
        ram = _RAM if row.forecast.beside else ""
        lines += [f"most memory in {phase}: {row.step.stage}/{row.step.name}, {peak.gib:.1f} GiB{ram}:", *_parts(peak)]
    return lines


def _parts(peak: Peak) -> list[str]:
    """The parts of a peak in GiB, without those that round to nothing, in lines that end behind a part."""
    shown = {name.replace(" ", _UNBROKEN): size / GIB for name, size in peak.parts.items() if size >= 0.005 * GIB}
    parts = ", ".join(f"{name}{_UNBROKEN}{size:.{1 if size >= 0.1 else 2}f}" for name, size in shown.items())
    return [f"  {line.replace(_UNBROKEN, ' ')}" for line in textwrap.wrap(parts, _WIDTH)]


def _sum(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
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
