"""The one path that every stage takes, top to bottom. `Runner.step` finds each artifact by its digest or makes it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cai_bootstrap import stages
from cai_bootstrap.config import Config, Quantization, Reference, SamplingConfig, to_dict
from cai_bootstrap.engines.resolve import resolve_engine, settle_training
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import MissingArtifact, UserError
from cai_bootstrap.evals import tasks
from cai_bootstrap.lineage import Parent, eval_step, find_parent, require_promoted
from cai_bootstrap.stages.paths import Making, require_principles
from cai_bootstrap.stages.stage import Stage, load_seeds, seeds_of
from cai_bootstrap.steps import decide
from cai_bootstrap.steps.base import audit_model, prepare_base
from cai_bootstrap.steps.drift import measure_drift
from cai_bootstrap.steps.evaluate import score_outputs, write_outputs
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run
from cai_bootstrap.store.runner import Runner, bind
from cai_bootstrap.training.launch import LAUNCH

DRIFT_SAMPLING = SamplingConfig(temperature=1.0, top_k=64, top_p=1.0, max_tokens=64)
"""As near to the model's own distribution as engines sample."""
GREEDY_SEED = 1
"""The baseline and every evaluation are greedy and draw nothing: their results hold for each `seed=` and each round, so a
sweep over seeds computes them once. It is the default `seed`."""
UNTIL = ("pairs", "model", "gate")


@dataclass
class Outcome:
    """What a stage came to; a part that was not reached is None."""

    arms: dict[str, Artifact] = field(default_factory=dict)
    """What the trained model is compared with: the base model raw (where asked for), cued, fewshot, and the parent."""
    base: Artifact | None = None
    gap: Artifact | None = None
    pairs: Artifact | None = None
    model: Artifact | None = None
    trained: Artifact | None = None
    retained: dict[str, Artifact] = field(default_factory=dict)
    """The trained model's outcomes on its ancestors' suites."""
    gate: Artifact | None = None
    drift: Artifact | None = None


def measure_baseline(run: Runner, session: Session, config: Config, suite: str) -> tuple[Artifact, Outcome]:
    """Stage 0: the base model, audited and measured raw, cued and few-shot on a suite. Returns (base model, outcome).

    The worked examples are those of the suite's stage.
    """
    step = functools.partial(run.step, "baseline", seed=GREEDY_SEED)
    seeds = load_seeds(suite, config.stage.seeds)
    sampled = config.engine.identity()
    # The shape is for plans: a model's own config.json tells what it is.
    base = step("base", prepare_base, settings={key: value for key, value in to_dict(config.model).items() if key != "shape"})
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
        few = config.eval.raw_items if arm == "raw" else 0
        arms[name] = evaluate(step, session, config, f"{suite}-{name}", base, suite, arm, shots, few)
    fewshot = {name.replace("-", "_"): arm for name, arm in arms.items() if name.startswith("fewshot")}
    gap = step(
        f"{suite}-gap",
        decide.decide_gap,
        settings={
            "max_p_value": config.stage.gate.max_p_value,
            "labels_known": any(
                stages.load(name).construct for name in stages.CURRICULUM[1:] if stages.load(name).suite == suite
            ),
        },
        inputs={"cued": arms["cued"], **fewshot},
    )
    outcome = Outcome(arms={name: arms[name] for name in ("raw", "cued") if name in arms}, base=base, gap=gap)
    if gap.is_made:
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
    suffix = "" if round_ == 1 else f"-{round_}"
    step = functools.partial(run.step, stage.name, seed=config.seed + round_ - 1)
    parent, earlier = origin.model, outcome.pairs
    making = Making(
        step=step,
        suffix=suffix,
        session=session,
        config=config,
        stage=stage,
        seeds=seeds_of(stage, config.stage.seeds),
        parent=parent,
        earlier=earlier,
        roles={**origin.roles, **_roles_of_base(config, outcome.base)},
        answers=origin.answers,
    )
    pairs = outcome.pairs = stage.path(making)
    if until == "pairs":
        return
    assert outcome.base is not None
    outcome.model = train_and_merge(step, session, config, suffix, origin, pairs, outcome.base)
    if until == "model":
        return
    outcome.trained = evaluate(step, session, config, f"eval{suffix}", outcome.model, stage.suite, "trained", [])
    if origin.evals:
        outcome.arms["parent"] = evaluate(step, session, config, "parent", parent, stage.suite, "trained", [])
    outcome.retained = {suite: outcome.trained for suite in origin.evals if suite == stage.suite}
    before = {f"before_{suite}": records for suite, records in origin.evals.items()}
    for suite in [suite for suite in origin.evals if suite != stage.suite]:
        name, num_items = eval_step(suite, stage.suite, suffix), config.stage.gate.retention_items
        outcome.retained[suite] = evaluate(step, session, config, name, outcome.model, suite, "trained", [], num_items)
        if _is_of_another_half(origin.evals[suite], config):
            name = f"parent-{suite}"
            before[f"before_{suite}"] = evaluate(step, session, config, name, parent, suite, "trained", [], num_items)
    told_of = {"pairs": pairs} if stage.decided_from_pairs else {}
    after = {f"after_{suite}": records for suite, records in outcome.retained.items()}
    outcome.gate = step(
        f"gate{suffix}",
        stage.decide,
        settings=to_dict(config.stage.gate),
        inputs={"trained": outcome.trained, **outcome.arms, **before, **after, **told_of},
        values={
            "stage": stage.name,
            "warnings": [*warnings_of(run, stage.name), *making.principles.warnings, *_overridden(origin)],
        },
    )
    told = [item.instruction for name in ("explicit", "implicit") for item in tasks.load_suite(name, "dev")]
    outcome.drift = step(
        f"drift{suffix}",
        bind(measure_drift, session=session),
        settings={"sampling": to_dict(DRIFT_SAMPLING), **config.engine.identity()},
        inputs={"model": outcome.model, "base": outcome.base},
        values={"instructions": told[:: max(1, len(told) // config.eval.drift_items)]},
    )


def _is_of_another_half(records: Artifact, config: Config) -> bool:
    """Whether a parent was measured on other items: on `test`, where jobs on `dev` choose among its children."""
    return records.is_made and records.manifest["values"]["split"] != config.eval.split


def evaluate(
    step: Callable[..., Artifact],
    session: Session,
    config: Config,
    name: str,
    model: Artifact,
    suite: str,
    arm: str,
    shots: list[list[str]],
    num_items: int = 0,
) -> Artifact:
    """A model's outputs on a suite (or on `num_items` of it, where these are fewer than `eval.num_items`), and the scores."""
    step = functools.partial(step, seed=GREEDY_SEED)
    which = {"suite": suite, "split": config.eval.split}
    few = min(filter(None, (num_items, config.eval.num_items)), default=0)
    outputs = step(
        f"{name}-outputs",
        bind(write_outputs, session=session),
        settings=eval_settings(config) | ({"num_items": few} if few else {}),
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
    origin: Parent,
    pairs: Artifact,
    base: Artifact,
) -> Artifact:
    """The adapter trained on the parent, and both merged into plain weights. `base` may be DPO's reference."""
    from cai_bootstrap import templates
    from cai_bootstrap.steps.merge import merge_adapter
    from cai_bootstrap.steps.train import train_adapter

    prompts = [templates.cued(item.instruction) for item in tasks.load_suite("explicit", "dev")]
    # How often to save changes nothing of the result.
    cadence = ("checkpoint_minutes", "checkpoint_steps")
    train = settle_training(config.train, session.config)
    settings = to_dict(train)
    # Nor does it in which processes it runs; as an engine's, the records of several are those of one.
    launch = {key: settings.pop(key) for key in LAUNCH}
    if settings["backend"] == "peft":  # whose adapters are addressed as they were before there was another
        del settings["backend"]
    if settings["head_dtype"] == "auto":  # whatever this machine rounds by
        del settings["head_dtype"]
    parent = origin.model
    share = settings.pop("merged_share")  # one adapter, whatever is made of it
    against_base = settings.pop("reference") == Reference.base and base.digest != parent.digest
    replayed = {f"replay_{stage}": artifact for stage, artifact in origin.pairs.items()}
    adapter = step(
        f"adapter{suffix}",
        bind(train_adapter, session=session, cadence={key: settings[key] for key in cadence} | launch),
        settings={key: value for key, value in settings.items() if key not in cadence},
        inputs={"model": parent, "pairs": pairs, **({"reference": base} if against_base else {}), **replayed},
    )
    return step(
        f"model{suffix}",
        bind(merge_adapter, session=session, device=config.merge.device),
        settings=config.merge.limits(train.quantization),
        inputs={"model": parent, "adapter": adapter},
        values={
            "prompts": prompts[:: max(1, len(prompts) // config.merge.num_prompts)],
            **({} if train.quantization is Quantization.none else {"quantization": str(train.quantization)}),
            **({} if share == 1 else {"share": share}),
        },
    )


def run_stage(config: Config, until: str = "gate", *, made: list[Artifact] | None = None, brief: bool = False) -> int:
    """Run a stage (and the baseline before it), print its table, and return the exit code: 0 done, 1 failed gate.

    `made` gets what was computed, also when the stage fails. With `brief` one line is printed where nothing was.
    """
    from cai_bootstrap.report.progress import ConsoleProgress
    from cai_bootstrap.report.stage import describe_power, finished_before, print_outcome

    if until not in UNTIL:
        raise UserError(f"until={until!r} is not known: write one of {', '.join(UNTIL)}")
    root, started = Path(config.paths.root), time.monotonic()
    name = config.stage.name
    parent = origin_of(root, config)
    for suite in suites_of(name):
        load_seeds(suite, config.stage.seeds)
    progress = ConsoleProgress()
    for warning in require_principles(config).warnings:
        progress.line(f"warning: {warning}")
    with Run(root, config.run, progress, made) as run:
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
                    if run.computed or not brief:  # an earlier job has said it
                        progress.line(describe_power(outcome.gap.json("power.json")))
                    passed = run_rounds(run, session, config, parent or Parent(base), outcome, until)
                seconds = time.monotonic() - started
                quiet = brief and not run.computed
                print_outcome(config, run, outcome, suite=suite, skipped=skipped, until=until, seconds=seconds, quiet=quiet)
            if quiet:
                print(finished_before(config, run), flush=True)
    return 0 if passed or config.stage.gate.override else 1


def run_rounds(run: Run, session: Session, config: Config, parent: Parent, outcome: Outcome, until: str) -> bool:
    """Train, and after a failed gate add data and train again, up to `stage.max_rounds`. Whether the gate was passed."""
    stage = stages.load(config.stage.name)
    for round_ in range(1, config.stage.max_rounds + 1):
        bootstrap(run, session, config, stage, parent, outcome, until, round_)
        if outcome.gate is None:
            return True  # stopped before the gate, as asked
        passed = bool(outcome.gate.json("gate.json")["passed"])
        run.record_stage(stage.name, outcome.gate, passed=passed, override=None if passed else config.stage.gate.override)
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


def _roles_of_base(config: Config, base: Artifact | None) -> dict[str, Artifact]:
    """The roles that the base model plays (`stage.roles`)."""
    played = [role for role, stage in config.stage.roles.items() if stage == stages.CURRICULUM[0]]
    if not played:
        return {}
    assert base is not None
    return dict.fromkeys(played, base)


def eval_settings(config: Config) -> dict[str, Any]:
    """What an evaluation's outcome depends on."""
    chosen = config.eval
    return {"max_tokens": chosen.max_tokens, "shard_size": chosen.shard_size, **config.engine.identity()}


def warnings_of(run: Runner, stage: str) -> list[str]:
    """Warnings about validity that belong to the baseline and this stage so far."""
    return list(dict.fromkeys(text for name in ("baseline", stage) for text in run.warnings(name)))


def _overridden(origin: Parent) -> list[str]:
    """What a gate says of the stages that it builds on."""
    return [f"stage {name} did not pass its gate, which was overridden: {why}" for name, why in origin.overridden.items()]


def suites_of(stage: str) -> list[str]:
    """The suites that the base model is measured on for a stage: the baseline's are those of every stage there is."""
    names = stages.CURRICULUM[1:] if stage == "baseline" else (stage,)
    return [stages.load(name).suite for name in names]


__all__ = ["Outcome", "Runner", "bind", "bootstrap", "measure_baseline", "run_stage"]
