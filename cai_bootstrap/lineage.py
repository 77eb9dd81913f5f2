"""A stage's parent: the merged model of the nearest trained stage before it, and how that did on every suite so far."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cai_bootstrap import stages
from cai_bootstrap.config import Config
from cai_bootstrap.errors import MissingArtifact, UserError
from cai_bootstrap.store.artifacts import Artifact, Store
from cai_bootstrap.store.run import read_config, read_run


@dataclass(frozen=True)
class Parent:
    """The model that a stage starts from."""

    model: Artifact
    evals: dict[str, Artifact] = field(default_factory=dict)
    """Its outcomes by suite: its own stage's and those of all stages before it; none for the base model."""
    roles: dict[str, Artifact] = field(default_factory=dict)
    """Models of other stages by what they do in this one (`stage.roles`)."""
    answers: dict[str, Artifact] = field(default_factory=dict)
    """The kept answers of other stages, by stage (`stage.construction.answers_of`)."""
    pairs: dict[str, Artifact] = field(default_factory=dict)
    """The pairs of the stages before, by stage, where some of them are trained again (`train.replay`)."""
    overridden: dict[str, str] = field(default_factory=dict)
    """By stage before whose failed gate was overridden: the reason."""


def eval_step(suite: str, own_suite: str, suffix: str) -> str:
    """The name of the step that holds a trained model's outcomes on a suite, its own stage's or an ancestor's."""
    return f"eval{suffix}" if suite == own_suite else f"eval-{suite}{suffix}"


def round_suffix(entry: Mapping[str, Any]) -> str:
    """What ends the names of the round that a stage's recorded gate decided on: later rounds' steps have names of their own."""
    gate = next((name for name, digest in entry["steps"].items() if digest == entry["gate"]["digest"]), "gate")
    return gate.removeprefix("gate")


def gate_of(root: Path, stage: str, entry: Mapping[str, Any]) -> Artifact | None:
    """The gate that a run's entry on a stage records, its `gate.json` in it; None where there is none, or it was removed.

    Found by its digest: a later round's has a name of its own, and so has the baseline's.
    """
    address = None if entry["gate"] is None else entry["gate"]["digest"]
    step = next((name for name, found in entry["steps"].items() if found == address), None)
    return None if address is None or step is None else Store(root).find(stage, step, address)


def answers_step(steps: Collection[str], suffix: str) -> str:
    """The name of the step that holds a stage's kept answers: of those that the safety filter let pass, where it ran."""
    return f"screened{suffix}" if f"screened{suffix}" in steps else f"kept{suffix}"


def parent_run(root: Path, run: str, stage: str) -> str:
    """The run that a stage of `run` had its parent from, as its saved configuration says: most often `run` itself."""
    config = read_config(root, run, stage) or {}  # none where it has not begun
    return str(config.get("parent_run") or run)


def entry_of(root: Path, run: str, stage: str) -> dict[str, Any] | None:
    """What a run's `run.json` holds on a stage; None where there is no such run, or it has not begun the stage."""
    entry: dict[str, Any] | None = ((read_run(root, run) or {}).get("stages") or {}).get(stage)
    return entry


def outdated(root: Path, run: str) -> dict[str, str]:
    """By stage of a run that was trained on something that its parent's run no longer holds: the stage that was made anew.

    That is the nearest stage before it whose model is another one now, or `baseline` where it is the base model.
    """
    state = (read_run(root, run) or {}).get("stages") or {}
    found: dict[str, str] = {}
    for stage in stages.CURRICULUM[1:]:
        model = _model_of(root, stage, state.get(stage))
        if model is None:
            continue
        parents = parent_run(root, run, stage)
        theirs = state if parents == run else (read_run(root, parents) or {}).get("stages") or {}
        before, digest = _held_before(theirs, stage)
        trained_on = model.manifest["inputs"].get("model", digest)
        if parents == run and before in found:
            found[stage] = found[before]
        elif digest is not None and trained_on != digest:
            found[stage] = before
    return found


def _model_of(root: Path, stage: str, entry: Mapping[str, Any] | None) -> Artifact | None:
    """The model of a stage that came to its gate, None where it has none or it was removed."""
    digest = _model_digest(entry)
    return None if entry is None or digest is None else Store(root).find(stage, f"model{round_suffix(entry)}", digest)


def _model_digest(entry: Mapping[str, Any] | None) -> str | None:
    if entry is None or entry["gate"] is None or entry["skipped"]:
        return None
    digest: str | None = entry["steps"].get(f"model{round_suffix(entry)}")
    return digest


def _held_before(state: Mapping[str, Any], stage: str) -> tuple[str, str | None]:
    """The nearest stage before that one that has a model in this run, and the model's digest; or the baseline's base."""
    for name in reversed(stages.CURRICULUM[1 : stages.CURRICULUM.index(stage)]):
        digest = _model_digest(state.get(name))
        if digest is not None:
            return name, digest
    baseline = state.get(stages.CURRICULUM[0]) or {"steps": {}}
    return stages.CURRICULUM[0], baseline["steps"].get("base")


def find_parent(root: Path, config: Config) -> Parent | None:
    """The parent of the configured stage, None when that is the base model.

    A skipped stage passes its own parent through. Raises MissingArtifact when the stage before has not passed its gate
    in `parent_run` (or in this run), or when its model was removed, and UserError for a role that the stage does not have,
    for one of a stage that comes later, and where one of parent and engine is scripted and the other is not.
    """
    known = stages.load(config.stage.name).roles
    for role in config.stage.roles:
        if role not in known:
            raise UserError(f"stage.roles.{role} is no role of stage={config.stage.name}: write one of {', '.join(known)}")
    before = stages.CURRICULUM[1 : stages.CURRICULUM.index(config.stage.name)]
    parent = _nearest(root, config, before)
    if parent is None:
        return None
    for role, stage in config.stage.roles.items():
        if stage == stages.CURRICULUM[0]:  # the base model, which every stage has at hand
            continue
        _require_before(f"stage.roles.{role}", stage, config, stages.CURRICULUM[: len(before) + 1])
        found = _nearest(root, config, before[: before.index(stage) + 1])
        parent.roles[role] = parent.model if found is None else found.model
    for stage in config.stage.construction.answers_of if config.stage.construction else ():
        _require_before("stage.construction.answers_of", stage, config, before)
        entry = require_promoted(root, config, stage)
        if not entry.get("skipped"):
            name = answers_step(entry["steps"], round_suffix(entry))
            parent.answers[stage] = _held(root, config.parent_run or config.run, stage, entry, name)
    for stage in before if config.train.replay else ():
        entry = require_promoted(root, config, stage)
        if not entry.get("skipped"):
            parent.pairs[stage] = _held(root, config.parent_run or config.run, stage, entry, f"pairs{round_suffix(entry)}")
    for stage, _, entry in ancestry(root, config.parent_run or config.run, before):
        if (entry["gate"] or {}).get("override"):
            parent.overridden[stage] = str(entry["gate"]["override"])
    return parent


def ancestry(root: Path, run: str, names: Sequence[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """(stage, its run, its entry in `run.json`) of those of these stages that there are, in their order.

    The last is looked for in `run`, each one before in the run that the one after it had its parent from.
    """
    found = []
    for name in reversed(names):
        entry = entry_of(root, run, name)
        if entry is not None:
            found.append((name, run, entry))
            run = parent_run(root, run, name)
    return found[::-1]


def _require_before(key: str, stage: str, config: Config, before: Sequence[str]) -> None:
    if stage not in before:
        raise UserError(f"{key}={stage!r} is no stage before {config.stage.name}: write one of {', '.join(before)}")


def _nearest(root: Path, config: Config, names: Sequence[str]) -> Parent | None:
    """The promoted model of the last of these stages that was not skipped."""
    for name in reversed(names):
        entry = require_promoted(root, config, name)
        if entry.get("skipped"):
            gap = _gap(root, config, name)
            if gap is not None:
                _require_same_kind(config, f"the skipping of stage {name}", name, gap)
        else:
            parent = _promoted(root, config.parent_run or config.run, name, entry)
            _require_same_kind(config, f"the model of stage {name}", name, parent.model)
            return parent
    return None


def _gap(root: Path, config: Config, stage: str) -> Artifact | None:
    """What a stage was skipped for: the base model's figures on its suite."""
    baseline = entry_of(root, config.parent_run or config.run, stages.CURRICULUM[0]) or {"steps": {}}
    step = f"{stages.load(stage).suite}-gap"
    return Store(root).find("baseline", step, baseline["steps"][step]) if step in baseline["steps"] else None


def _require_same_kind(config: Config, what: str, stage: str, artifact: Artifact) -> None:
    """What is scripted is no parent of a real model, nor the other way round. Raises UserError."""
    run, engine = config.parent_run or config.run, config.engine.name
    if artifact.is_scripted and not config.engine.is_scripted:
        raise UserError(
            f"{what} of run={run} is scripted and claims nothing, engine={engine} cannot start from it: write another "
            f"run=NAME, or make that stage anew with `python -m cai_bootstrap stage={stage} run={run}`"
        )
    if config.engine.is_scripted and not artifact.is_scripted:
        raise UserError(f"{what} of run={run} is no scripted one, engine={engine} cannot start from it: write another run=NAME")


def require_promoted(root: Path, config: Config, stage: str) -> dict[str, Any]:
    """What the run holds of a stage whose gate was passed, overridden, or skipped. Raises MissingArtifact."""
    run = config.parent_run or config.run
    entry = entry_of(root, run, stage) or {}
    gate, anew = entry.get("gate"), outdated(root, run).get(stage)
    if anew is None and (entry.get("skipped") or (gate and (gate["passed"] or gate["override"]))):
        return entry
    state = "has not passed its gate" if gate else "has not run"
    if anew is not None:
        state = f"was trained before {'the base model' if anew == stages.CURRICULUM[0] else f'stage {anew}'} was made anew"
    raise MissingArtifact(
        f"stage={config.stage.name} needs stage {stage} of run={run}, which {state}: run "
        f"`python -m cai_bootstrap stage={stage} run={run}` first"
    )


def _held(root: Path, run: str, stage: str, entry: Mapping[str, Any], step: str) -> Artifact:
    """What a run recorded as a stage's step. Raises MissingArtifact when it was removed."""
    found = Store(root).find(stage, step, entry["steps"][step]) if step in entry["steps"] else None
    if found is None:
        raise MissingArtifact(f"{step} of stage {stage} of run={run} is gone: run stage={stage} run={run} again")
    return found


def _promoted(root: Path, run: str, stage: str, entry: dict[str, Any]) -> Parent:
    suffix = round_suffix(entry)
    held = functools.partial(_held, root, run, stage, entry)
    own = stages.load(stage).suite
    suites = [stages.load(name).suite for name in stages.CURRICULUM[1 : stages.CURRICULUM.index(stage) + 1]]
    # A skipped ancestor has no model, so nobody was measured for keeping what it teaches.
    names = {suite: eval_step(suite, own, suffix) for suite in suites}
    return Parent(held(f"model{suffix}"), {suite: held(name) for suite, name in names.items() if name in entry["steps"]})
