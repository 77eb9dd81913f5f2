"""`plan`: what stages would run, what is done already and what the rest takes, found by walking the pipeline's own path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from cai_bootstrap import stages
from cai_bootstrap.config import Config, MachineConfig, to_dict
from cai_bootstrap.engines import machine
from cai_bootstrap.engines.resolve import with_known_device
from cai_bootstrap.engines.session import Session
from cai_bootstrap.lineage import Parent, answers_step
from cai_bootstrap.pipeline import bootstrap, measure_baseline, origin_of, suites_of
from cai_bootstrap.report.changes import describe_changes
from cai_bootstrap.report.plan import Planner, planned_rows, render_plan
from cai_bootstrap.store.provenance import digest
from cai_bootstrap.store.run import read_run, run_folder


def plan(configs: list[Config], labels: Mapping[str, str] | None = None) -> str:
    """What would run, what is done already and what the rest takes, a line a step; writes nothing.

    `labels` tell runs apart by their overrides. This machine is measured where a run will be on it and no run has.
    """
    return render_plan(planned_rows(walk(configs), known_machines()), labels or {})


def walk(configs: list[Config]) -> list[Planner]:
    """A planner for each configuration, with all of its steps."""
    planners: list[Planner] = []
    ends: dict[str, Parent] = {}
    """By run: what the stage that was planned before leaves to the next one."""
    planned: dict[str, dict[str, Planner]] = {}
    """By run and stage: what was planned before."""
    for config in configs:
        planner, name = Planner(Path(config.paths.root), config), config.stage.name
        session = _session(config)
        for suite in suites_of(name):
            base, outcome = measure_baseline(planner, session, config, suite)
            if name != "baseline":
                parent = ends.get(config.run) or origin_of(Path(config.paths.root), config, planned=True) or Parent(base)
                before = planned.setdefault(config.run, {})
                parent = _with_planned(parent, config, before)
                bootstrap(planner, session, config, stages.load(name), parent, outcome, "gate", 1)
                assert outcome.model is not None
                assert outcome.trained is not None
                before[name] = planner
                ends[config.run] = Parent(outcome.model, {**outcome.retained, suite: outcome.trained})
        planners.append(planner)
    return planners


def known_machines() -> Callable[[Config], MachineConfig]:
    """The machine of a configuration, measured once for all that run alike."""
    found: dict[str, MachineConfig] = {}

    def known(config: Config) -> MachineConfig:
        key = digest({"machine": to_dict(config.machine), "engine": to_dict(config.engine), "root": config.paths.root})
        if key not in found:
            found[key] = machine.known(config.machine, config.engine, Path(config.paths.root), config.run)
        return found[key]

    return known


def what_changed(config: Config) -> str:
    """What this configuration changes of a stage that its run holds already, in one line; empty where that is nothing."""
    root, name = Path(config.paths.root), config.stage.name
    if name == stages.CURRICULUM[0] or read_run(root, config.run) is None:
        return ""
    planner, session = Planner(root, config), _session(config)
    for suite in suites_of(name):
        base, outcome = measure_baseline(planner, session, config, suite)
        parent = origin_of(root, config, planned=True) or Parent(base)
        bootstrap(planner, session, config, stages.load(name), parent, outcome, "gate", 1)
    return describe_changes(root, config.run, name, to_dict(config), planner.steps)


def _session(config: Config) -> Session:
    """For steps that are only looked up: on the device that the run has, since that settles what `auto` means."""
    return Session(with_known_device(run_folder(Path(config.paths.root), config.run), config.engine))


def _with_planned(parent: Parent, config: Config, before: Mapping[str, Planner]) -> Parent:
    """The parent with what stages that were only planned will leave to this one."""
    roles = {role: before[stage].artifacts["model"] for role, stage in config.stage.roles.items() if stage in before}
    wanted = config.stage.construction.answers_of if config.stage.construction else ()
    artifacts = {stage: before[stage].artifacts for stage in wanted if stage in before}
    answers = {stage: found[answers_step(found, "")] for stage, found in artifacts.items()}
    pairs = {stage: planner.artifacts["pairs"] for stage, planner in before.items() if config.train.replay}
    return replace(
        parent,
        roles={**parent.roles, **roles},
        answers={**parent.answers, **answers},
        pairs={**parent.pairs, **pairs},
    )
