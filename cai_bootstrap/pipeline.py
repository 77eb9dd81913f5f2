"""The one path that every stage takes, top to bottom. `Runner.step` finds each artifact by its digest or makes it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cai_bootstrap import constitution, stages
from cai_bootstrap.config import Config, to_dict
from cai_bootstrap.engines.resolve import resolve_engine
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import MissingArtifact, UserError
from cai_bootstrap.evals import tasks
from cai_bootstrap.lineage import Parent, eval_step, find_parent, require_promoted
from cai_bootstrap.stages.stage import Stage, load_seeds, seeds_of
from cai_bootstrap.steps import decide
from cai_bootstrap.steps.base import audit_model, prepare_base
from cai_bootstrap.steps.evaluate import score_outputs, write_outputs
from cai_bootstrap.steps.pair import iter_pairs
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run

UNTIL = ("pairs", "model", "gate")


class Runner(Protocol):
    """What the path needs of a run: `Run` computes, `plan.Planner` only looks."""

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
        """The artifact of a step."""
        ...


@dataclass
class Outcome:
    """What a stage came to; a part that was not reached is None."""

    arms: dict[str, Artifact] = field(default_factory=dict)
    """What the trained model is compared with: the base model raw (where asked for), cued, fewshot, and the parent."""
    gap: Artifact | None = None
    pairs: Artifact | None = None
    model: Artifact | None = None
    trained: Artifact | None = None
    retained: dict[str, Artifact] = field(default_factory=dict)
    """The trained model's outcomes on its ancestors' suites."""
    gate: Artifact | None = None


def measure_baseline(run: Runner, session: Session, config: Config, suite: str) -> tuple[Artifact, Outcome]:
    """Stage 0: the base model, audited and measured raw, cued and few-shot on a suite. Returns (base model, outcome).

    The worked examples are those of the suite's stage.
    """
    step = functools.partial(run.step, "baseline", seed=config.seed)
    seeds = load_seeds(suite, config.stage.seeds)
    sampled = engine_settings(config)
    base = step("base", prepare_base, settings=to_dict(config.model))
    step(
        "audit",
        bind(audit_model, session=session),
        settings={"sentinels": config.model.sentinels, **sampled},
        inputs={"model": base},
    )
    arms: dict[str, Artifact] = {}
    planned: list[tuple[str, str, list[list[str]]]] = [("raw", "raw", [])] if config.eval.raw else []
    planned += [("cued", "cued", []), *((f"fewshot-{name}", "fewshot", shots) for name, shots in seeds["shots"].items())]
    for name, arm, shots in planned:
        arms[name] = evaluate(step, session, config, f"{suite}-{name}", base, suite, arm, shots)
    fewshot = {name.replace("-", "_"): arm for name, arm in arms.items() if name.startswith("fewshot")}
    gap = step(
        f"{suite}-gap",
        decide.decide_gap,
        settings={"max_p_value": config.stage.gate.max_p_value},
        inputs={"cued": arms["cued"], **fewshot},
    )
    outcome = Outcome(arms={name: arms[name] for name in ("raw", "cued") if name in arms}, gap=gap)
    if is_made(gap):
        outcome.arms["fewshot"] = fewshot[gap.json("shots.json")["better"]]
    else:  # only planned: which set is better will be known then
        outcome.arms["fewshot"] = fewshot[sorted(fewshot)[0]]
    return base, outcome


def bootstrap(
    run: Runner,
    session: Session,
    config: Config,
    stage: Stage,
    origin: Parent,
    outcome: Outcome,
    until: str,
    round_: int,
) -> None:
    """One round of a stage, from its parent's model to its gate; fills in `outcome`."""
    parent = origin.model
    suffix = "" if round_ == 1 else f"-{round_}"
    step = functools.partial(run.step, stage.name, seed=config.seed + round_ - 1)
    heavy = {"session": session}
    seeds, sampled, c = seeds_of(stage, config.stage.seeds), engine_settings(config), to_dict(config.stage)
    suites = [tasks.load_suite(name, split) for name in tasks.SUITE_SHA256 for split in tasks.SPLITS]
    heldout = [item.instruction for suite in suites for item in suite]
    earlier = outcome.pairs
    previous = [pair.instruction for pair in iter_pairs(earlier)] if earlier is not None and is_made(earlier) else []
    principles = constitution.load().in_order()

    instructions = step(
        f"instructions{suffix}",
        bind(stage.make_instructions, **heavy),
        settings={**c["instructions"], **sampled},
        inputs={"model": parent},
        values={"seeds": seeds["instructions"], "heldout": heldout, "previous": previous},
    )
    candidates = step(
        f"candidates{suffix}",
        bind(stage.draft, **heavy),
        settings={k: v for k, v in {**c["responses"], **sampled}.items() if k != "zero_shot"},
        inputs={"model": parent, "instructions": instructions},
        values={"shots": seeds["shots"]},
    )
    step(
        f"calibration{suffix}",
        bind(stage.calibrate, **heavy),
        settings={
            "methods": c["selection"]["methods"],
            "min_auc": c["selection"]["min_auc"],
            "num_candidates": c["responses"]["num_candidates"],
            "sampling": c["responses"]["sampling"],
            **sampled,
        },
        inputs={"model": parent},
        values={
            "shots": seeds["shots"],
            "kinds": list(map(list, stage.kinds)),
            "principles": [text for _, text in principles],
        },
    )
    verdicts = step(
        f"verdicts{suffix}",
        bind(stage.judge, **heavy),
        settings={
            "methods": c["selection"]["methods"],
            "shard_size": c["selection"]["shard_size"],
            **sampled,
        },
        inputs={"model": parent, "instructions": instructions, "candidates": candidates},
        values={"shots": seeds["shots"], "principles": [list(entry) for entry in principles]},
    )
    kept = step(
        f"kept{suffix}",
        stage.keep,
        settings={"methods": c["selection"]["methods"], "min_scores": c["selection"]["min_scores"]},
        inputs={"instructions": instructions, "candidates": candidates, "verdicts": verdicts},
    )
    rejected = step(
        f"rejected{suffix}",
        bind(stage.write_rejected, **heavy),
        settings={k: c["responses"][k] for k in ("zero_shot", "shard_size")}
        | {"rejected_mix": c["pairs"]["rejected_mix"], **sampled},
        inputs={"model": parent, "kept": kept},
        values={"refusals": seeds["refusals"]},
    )
    inputs = {"model": parent, "candidates": candidates, "kept": kept, "rejected": rejected}
    pairs = step(
        f"pairs{suffix}",
        stage.make_pairs,
        settings=c["pairs"],
        inputs=inputs if earlier is None else {**inputs, "earlier": earlier},
    )
    outcome.pairs = pairs
    if until == "pairs":
        return
    outcome.model = train_and_merge(step, session, config, suffix, parent, pairs, suites[0])
    if until == "model":
        return
    outcome.trained = evaluate(step, session, config, f"eval{suffix}", outcome.model, stage.suite, "trained", [])
    if origin.evals:
        outcome.arms["parent"] = evaluate(step, session, config, "parent", parent, stage.suite, "trained", [])
    for suite in origin.evals:
        name = eval_step(suite, stage.suite, suffix)
        outcome.retained[suite] = evaluate(step, session, config, name, outcome.model, suite, "trained", [])
    before = {f"before_{suite}": records for suite, records in origin.evals.items()}
    after = {f"after_{suite}": records for suite, records in outcome.retained.items()}
    outcome.gate = step(
        f"gate{suffix}",
        decide.decide_gate,
        settings=c["gate"],
        inputs={"trained": outcome.trained, **outcome.arms, **before, **after},
        values={"stage": stage.name, "warnings": warnings_of(run, stage.name)},
    )


def evaluate(
    step: Callable[..., Artifact],
    session: Session,
    config: Config,
    name: str,
    model: Artifact,
    suite: str,
    arm: str,
    shots: list[list[str]],
) -> Artifact:
    """A model's outputs on a suite, and from them the scores."""
    which = {"suite": suite, "split": config.eval.split}
    outputs = step(
        f"{name}-outputs",
        bind(write_outputs, session=session),
        settings=eval_settings(config),
        inputs={"model": model},
        values={**which, "arm": arm, "shots": shots},
    )
    suite_sha256 = tasks.SUITE_SHA256[suite]
    return step(name, score_outputs, settings={}, inputs={"outputs": outputs}, values={**which, "suite_sha256": suite_sha256})


def train_and_merge(
    step: Callable[..., Artifact],
    session: Session,
    config: Config,
    suffix: str,
    parent: Artifact,
    pairs: Artifact,
    items: list[Any],
) -> Artifact:
    """The adapter trained on the parent, and both merged into plain weights."""
    from cai_bootstrap import templates
    from cai_bootstrap.steps.merge import merge_adapter
    from cai_bootstrap.steps.train import train_adapter

    # How often to save changes nothing of the result.
    cadence = ("checkpoint_minutes", "checkpoint_steps")
    settings = to_dict(config.train)
    adapter = step(
        f"adapter{suffix}",
        bind(train_adapter, session=session, cadence={key: settings[key] for key in cadence}),
        settings={key: value for key, value in settings.items() if key not in cadence},
        inputs={"model": parent, "pairs": pairs},
    )
    return step(
        f"model{suffix}",
        bind(merge_adapter, session=session),
        settings=to_dict(config.merge),
        inputs={"model": parent, "adapter": adapter},
        values={
            "prompts": [templates.cued(item.instruction) for item in items[:: max(1, len(items) // config.merge.num_prompts)]]
        },
    )


def run_stage(config: Config, until: str = "gate") -> int:
    """Run a stage (and the baseline before it), print its table, and return the exit code: 0 done, 1 failed gate."""
    from cai_bootstrap.report.progress import ConsoleProgress
    from cai_bootstrap.report.stage import describe_power, print_outcome

    if until not in UNTIL:
        raise UserError(f"until={until!r} is not known: write one of {', '.join(UNTIL)}")
    root, started = Path(config.paths.root), time.monotonic()
    name = config.stage.name
    parent = origin_of(root, config)
    for suite in suites_of(name):
        load_seeds(suite, config.stage.seeds)
    progress = ConsoleProgress()
    with Run(root, config.run, progress) as run:
        run.save_config(name, to_dict(config))
        engine = resolve_engine(run.folder, config.engine, progress)
        with Session(engine) as session:
            passed = True
            for suite in suites_of(name):
                base, outcome = measure_baseline(run, session, config, suite)
                assert outcome.gap is not None
                run.record_stage("baseline", outcome.gap, passed=True)
                gap = outcome.gap.json("gate.json")["checks"][0]["passed"]
                skipped = name != "baseline" and not gap
                if skipped:
                    run.record_stage(name, None, passed=True, skipped=True)
                elif name != "baseline":
                    power = outcome.gap.json("power.json")
                    progress.line(describe_power(power))
                    passed = run_rounds(run, session, config, parent or Parent(base), outcome, until)
                seconds = time.monotonic() - started
                print_outcome(config, run, outcome, suite=suite, skipped=skipped, until=until, seconds=seconds)
    return 0 if passed or config.stage.gate.override else 1


def run_rounds(run: Run, session: Session, config: Config, parent: Parent, outcome: Outcome, until: str) -> bool:
    """Train, and after a failed gate add data and train again, up to `stage.max_rounds`. Whether the gate was passed."""
    stage = stages.load(config.stage.name)
    for round_ in range(1, config.stage.max_rounds + 1):
        bootstrap(run, session, config, stage, parent, outcome, until, round_)
        if outcome.gate is None:
            return True  # stopped before the gate, as asked
        passed = bool(outcome.gate.json("gate.json")["passed"])
        run.record_stage(stage.name, outcome.gate, passed=passed, override=config.stage.gate.override)
        if passed:
            return True
    return False


def origin_of(root: Path, config: Config, *, planned: bool = False) -> Parent | None:
    """The configured stage's parent, None when that is the base model. Raises MissingArtifact unless only `planned`."""
    if config.stage.name == "baseline":
        return None
    if config.parent_run is not None:
        require_promoted(root, config, config.stage.parent)
    try:
        return find_parent(root, config)
    except MissingArtifact:
        if planned:
            return None
        raise


def bind(function: Callable[..., None], **resources: Any) -> Callable[..., None]:
    """A step with what it works with (a session); resources are no part of its digest."""
    bound: Any = functools.partial(function, **resources)
    bound.step_name, bound.step_version = function.step_name, function.step_version  # type: ignore[attr-defined]
    return bound  # type: ignore[no-any-return]


def engine_settings(config: Config) -> dict[str, Any]:
    """What of the engine belongs to a step's identity: which one, and a dtype where one was set by hand."""
    return {"engine": config.engine.name, "dtype": config.engine.dtype}


def eval_settings(config: Config) -> dict[str, Any]:
    """What an evaluation's outcome depends on."""
    chosen = config.eval
    settings = {"max_tokens": chosen.max_tokens, "shard_size": chosen.shard_size, **engine_settings(config)}
    return settings | ({"num_items": chosen.num_items} if chosen.num_items else {})


def warnings_of(run: Runner, stage: str) -> list[str]:
    """Warnings about validity that belong to the baseline and this stage so far."""
    if not isinstance(run, Run):
        return []
    found = [text for name in ("baseline", stage) for text in (run.stage(name) or {}).get("warnings", [])]
    return list(dict.fromkeys(found))


def is_made(artifact: Artifact) -> bool:
    """False for an artifact that is only planned."""
    return bool(artifact.manifest)


def plan(configs: list[Config]) -> str:
    """What would run and what is done already, a line a step; writes nothing."""
    from cai_bootstrap.report.plan import Planner, render_plan

    planners = []
    ends: dict[str, Parent] = {}
    """By run: what the stage that was planned before leaves to the next one."""
    for config in configs:
        planner, name = Planner(Path(config.paths.root), config), config.stage.name
        session = Session(config.engine)
        for suite in suites_of(name):
            base, outcome = measure_baseline(planner, session, config, suite)
            if name != "baseline":
                parent = ends.get(config.run) or origin_of(Path(config.paths.root), config, planned=True) or Parent(base)
                bootstrap(planner, session, config, stages.load(name), parent, outcome, "gate", 1)
                assert outcome.model is not None
                assert outcome.trained is not None
                ends[config.run] = Parent(outcome.model, {**outcome.retained, suite: outcome.trained})
        planners.append(planner)
    return render_plan(planners)


def suites_of(stage: str) -> list[str]:
    """The suites that the base model is measured on for a stage: the baseline's are those of every stage there is."""
    names = stages.AVAILABLE[1:] if stage == "baseline" else (stage,)
    return [stages.load(name).suite for name in names]


__all__ = ["Outcome", "Runner", "bind", "bootstrap", "measure_baseline", "plan", "run_stage"]
