"""The ways by which a stage makes its preference pairs: its steps in order, each found by its digest or made."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai_bootstrap import stages
from cai_bootstrap.config import Config, to_dict
from cai_bootstrap.constitution import Constitution, load
from cai_bootstrap.critiques import load_critiques
from cai_bootstrap.engines import classifiers
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import UserError
from cai_bootstrap.evals import tasks
from cai_bootstrap.records import HeldOutItem
from cai_bootstrap.stages.stage import Stage, load_seeds, texts_in
from cai_bootstrap.steps.critique import texts_of, write_critiques, write_originals, write_revisions
from cai_bootstrap.steps.duplicates import content_words, quotes
from cai_bootstrap.steps.flawed import spelt
from cai_bootstrap.steps.gather import gather_prompts
from cai_bootstrap.steps.generate import draft_candidates, write_rejected
from cai_bootstrap.steps.judge import calibrate, judge_candidates
from cai_bootstrap.steps.judgements import RULES
from cai_bootstrap.steps.pair import iter_pairs, make_pairs
from cai_bootstrap.steps.pilot import judge_pilot
from cai_bootstrap.steps.prompts import make_instructions
from cai_bootstrap.steps.revisions import calibrate_critic, judge_revisions
from cai_bootstrap.steps.screen import screen
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.runner import bind

Step = Callable[..., Artifact]
_MIN_TIMES_PILOT = 4
_NUM_PLANTED_A_FORM = 3
_NUM_PLANTED_CASES = 60
_SOUND_SEEDS = ("explicit", "implicit", "generation", "constitutional")


@dataclass(frozen=True, kw_only=True)
class Making:
    """One round of making pairs: what it starts from, and what it works with."""

    step: Step
    """`Runner.step` with this stage's name and this round's seed."""
    suffix: str
    """Ends the names of a later round's steps."""
    session: Session
    config: Config
    stage: Stage
    seeds: Mapping[str, Any]
    """`seeds_of` the stage."""
    parent: Artifact
    earlier: Artifact | None
    """The pairs of the round before, which come first."""
    roles: Mapping[str, Artifact]
    """Models of stages before by what they do in this one; empty where the parent does everything."""
    answers: Mapping[str, Artifact]
    """Kept answers of stages before that this one makes its tasks of too, by stage."""

    @functools.cached_property
    def principles(self) -> Constitution:
        """What is judged by."""
        return principles_of(self.config)

    def model_for(self, role: str) -> Artifact:
        """Whose turn it is: the model that has the role, the parent where none has."""
        return self.roles.get(role, self.parent)

    def run(self, name: str, function: Callable[..., None], *, heavy: bool = True, **parts: Any) -> Artifact:
        """A step of this round, with the session where it is `heavy`."""
        return self.step(f"{name}{self.suffix}", bind(function, session=self.session) if heavy else function, **parts)


@dataclass(frozen=True)
class Answers:
    """What generation came to: instructions, everything that was written to them, and the answers that were kept."""

    instructions: Artifact
    candidates: Artifact
    kept: Artifact


def few_shot_pairs(making: Making) -> Artifact:
    """Instructions from lists, few-shot answers, the best of them kept, and what is rejected against them.

    Instructions and answers are the writer's (`stage.roles`), and it is the writer that selection is calibrated on; what it is
    to leave are the parent's own habits.
    """
    seeds, c = making.seeds, to_dict(making.config.stage)
    making.run(
        "calibration",
        calibrate,
        settings={
            "methods": c["selection"]["methods"],
            "min_auc": c["selection"]["min_auc"],
            "num_candidates": c["responses"]["num_candidates"],
            "sampling": c["responses"]["sampling"],
            **making.config.engine.identity(),
        },
        inputs={"model": making.model_for("writer")},
        values={
            "shots": seeds["shots"],
            "kinds": list(map(list, making.stage.kinds)),
            "principles": [text for _, text in making.principles.in_order()],
            **_more_planted(making.stage),
        },
    )
    _pilot(making, _few_shot_answers)
    answers = _few_shot_answers(making)
    kept = answers.kept
    if making.stage.construct is not None:
        kept = making.run(
            "constructed",
            making.stage.construct,
            heavy=False,
            settings={key: value for key, value in c["construction"].items() if key not in ("answers_of", "num_cases")},
            inputs={"kept": kept, **{f"kept_{stage}": answers for stage, answers in making.answers.items()}},
            values={name: _CONSTRUCTED_FROM[name](making) for name in making.stage.constructed_from},
        )
    return _reject_and_pair(making, answers.candidates, kept)


def _more_planted(stage: Stage) -> dict[str, Any]:
    """The worked examples of a stage's other pools, some of each form, and some committed cases where the stage has them:
    sixteen of its own kinds a set are too few to tell a method by."""
    pools = [load_seeds(name) for name in stage.seeds]
    found = [shot for pool in pools[1:] for name in sorted(pool["shots"]) for shot in pool["shots"][name]]
    for pool in pools:
        of_forms = {name: given for name, given in pool.get("examples", {}).items() if " " in name}
        found += [shot for name in sorted(of_forms) for shot in of_forms[name][:_NUM_PLANTED_A_FORM]]
    if "worked" in stage.constructed_from:
        # Of one word, since two answers of several words seldom say the same, right as both may be.
        cases = [[case[0], case[1]] for case in load_seeds("evaluation")["worked"] if len(content_words(case[1])) == 1]
        found += _spread(cases, _NUM_PLANTED_CASES)
    return {"planted": found} if found else {}


def _few_shot_answers(making: Making) -> Answers:
    run, config, writer = making.run, making.config, making.model_for("writer")
    seeds, sampled, c = making.seeds, config.engine.identity(), to_dict(config.stage)
    methods = c["selection"]["methods"]
    instructions = _instructions(making, writer)
    candidates = run(
        "candidates",
        draft_candidates,
        settings={k: v for k, v in {**c["responses"], **sampled}.items() if k != "zero_shot"},
        inputs={"model": writer, "instructions": instructions},
        values={"shots": seeds["shots"], "examples": seeds["examples"]},
    )
    verdicts = run(
        "verdicts",
        judge_candidates,
        settings={"methods": methods, "shard_size": c["selection"]["shard_size"], **sampled},
        inputs={"model": writer, "instructions": instructions, "candidates": candidates},
        values={"shots": seeds["shots"], "principles": [list(entry) for entry in making.principles.in_order()]},
    )
    kept = run(
        "kept",
        making.stage.keep,
        heavy=False,
        settings={"methods": methods, "min_scores": c["selection"]["min_scores"]},
        inputs={"instructions": instructions, "candidates": candidates, "verdicts": verdicts},
    )
    return Answers(instructions, candidates, _screened(making, kept))


def _screened(making: Making, kept: Artifact) -> Artifact:
    """The kept answers that the safety classifier lets pass; all of them where there is none, without a step."""
    safety = making.config.safety
    if not safety.is_on:
        return kept
    told = {key: value for key, value in to_dict(safety).items() if key not in ("name", "path")}
    identity = {"classifier": safety.name, "sha256": classifiers.folder_sha256(str(safety.path))}
    settings = {**told, **identity, **making.config.engine.identity()}
    return making.run("screened", bind(screen, safety=safety), settings=settings, inputs={"kept": kept})


def _pilot(making: Making, answer: Callable[[Making], Answers]) -> None:
    """The same on some dozens of instructions first, with limits: what they miss stops the stage before its hour of work.

    Only of a first round, and only where the whole is at least four times as large.
    """
    stage = making.config.stage
    if making.earlier is not None or stage.instructions.num_instructions < _MIN_TIMES_PILOT * stage.pilot.num_instructions:
        return
    instructions = dataclasses.replace(stage.instructions, num_instructions=stage.pilot.num_instructions)
    part = stage.pilot.num_instructions / stage.instructions.num_instructions
    committed = {kind: round(part * number) for kind, number in stage.num_committed.items()}
    piloted = dataclasses.replace(stage, instructions=instructions, num_committed=committed)
    config = dataclasses.replace(making.config, stage=piloted)
    answers = answer(dataclasses.replace(making, config=config, suffix=f"{making.suffix}-pilot"))
    making.run(
        "pilot",
        judge_pilot,
        heavy=False,
        settings=to_dict(stage.pilot),
        inputs={"instructions": answers.instructions, "candidates": answers.candidates, "kept": answers.kept},
    )


def _instructions(making: Making, model: Artifact) -> Artifact:
    return making.run(
        "instructions",
        make_instructions,
        settings={**to_dict(making.config.stage.instructions), **making.config.engine.identity()},
        inputs={"model": model},
        values={"seeds": making.seeds["instructions"], "heldout": heldout(), "previous": _instructions_of(making.earlier)},
    )


def constitutional_pairs(making: Making) -> Artifact:
    """Requests, the model's own answers, critiques by one principle each, revisions, and the best revision over the answer.

    Each round is done by the model that the stage before taught it to (`stage.roles`).
    """
    values = {"principles": texts_of(making.principles.principles), "examples": _critiques(making.principles, making.config)}
    identity = making.config.engine.identity()
    judge = {"model": making.model_for("judge")}
    calibration = making.run("calibration", calibrate_critic, settings=identity, inputs=judge, values=values)
    answer = functools.partial(_constitutional_answers, calibration=calibration)
    _pilot(making, answer)
    answers = answer(making)
    return _reject_and_pair(making, answers.candidates, answers.kept)


def _constitutional_answers(making: Making, calibration: Artifact) -> Answers:
    run, config = making.run, making.config
    seeds, sampled, c = making.seeds, config.engine.identity(), to_dict(config.stage)
    principles, size = texts_of(making.principles.principles), {"shard_size": c["responses"]["shard_size"], **sampled}
    examples = _critiques(making.principles, config)
    sampling = c["responses"]["sampling"]

    instructions = _instructions(making, making.model_for("prompts"))
    prompts = run(
        "prompts",
        gather_prompts,
        heavy=False,
        settings={
            "num_committed": config.stage.num_committed,
            "near_duplicate_similarity": c["instructions"]["near_duplicate_similarity"],
        },
        inputs={"instructions": instructions},
        values={"seeds": seeds["instructions"], "heldout": heldout()},
    )
    originals = run(
        "originals",
        write_originals,
        settings={"sampling": c["responses"]["zero_shot"], **size},
        inputs={"model": making.model_for("answers"), "prompts": prompts},
    )
    critiques = run(
        "critiques",
        write_critiques,
        settings={"sampling": sampling, **size},
        inputs={"model": making.model_for("critic"), "originals": originals},
        values={"principles": principles, "applies": _applies(making), "examples": examples},
    )
    revisions = run(
        "revisions",
        write_revisions,
        settings={"sampling": sampling, "num_candidates": c["responses"]["num_candidates"], **size},
        inputs={"model": making.model_for("reviser"), "critiques": critiques},
        values={"principles": principles, "examples": examples},
    )
    verdicts = run(
        "verdicts",
        judge_revisions,
        settings=size,
        inputs={"model": making.model_for("judge"), "revisions": revisions, "calibration": calibration},
        values={"principles": principles, "examples": examples},
    )
    kept = run(
        "kept",
        making.stage.keep,
        heavy=False,
        settings={"min_scores": c["selection"]["min_scores"]},
        inputs={"revisions": revisions, "verdicts": verdicts, "calibration": calibration},
        values={"principles": principles, "examples": examples, "refusals": seeds["refusals"]},
    )
    return Answers(instructions, revisions, _screened(making, kept))


def _reject_and_pair(making: Making, candidates: Artifact, kept: Artifact) -> Artifact:
    """The last two steps of every way: what the model itself writes to be rejected, and the pairs."""
    run, parent, c = making.run, making.parent, to_dict(making.config.stage)
    rejected = run(
        "rejected",
        write_rejected,
        settings={k: c["responses"][k] for k in ("zero_shot", "shard_size")}
        | {"rejected_mix": c["pairs"]["rejected_mix"], **making.config.engine.identity()},
        inputs={"model": parent, "kept": kept},
        values={"refusals": making.seeds["refusals"]},
    )
    inputs = {"model": parent, "candidates": candidates, "kept": kept, "rejected": rejected}
    if making.earlier is not None:
        inputs["earlier"] = making.earlier
    values = {"heldout": [*heldout(), *_goals()]}
    return run("pairs", make_pairs, heavy=False, settings=c["pairs"], inputs=inputs, values=values)


@functools.cache
def heldout() -> list[str]:
    """The instructions of every held-out suite, in both splits, and what they quote: what no stage may train on.

    The rules that stage 4 asks about are no such texts: its tasks and its suite quote the same few.
    """
    told = [item.instruction for item in _heldout_items()]
    rules = set(RULES.values())
    return [*told, *(text for instruction in told for text in quotes(instruction) if text not in rules)]


@functools.cache
def _goals() -> list[str]:
    """The right revisions of the held-out drafts."""
    return [goal for item in _heldout_items() for goal in item.arguments.get("goals", ())]


def _heldout_items() -> Iterator[HeldOutItem]:
    for name, split in itertools.product(tasks.SUITE_SHA256, tasks.SPLITS):
        yield from tasks.load_suite(name, split)


def principles_of(config: Config) -> Constitution:
    """The constitution that a run judges by. Raises as `constitution.load` does."""
    return load(None if config.constitution is None else Path(config.constitution))


def require_principles(config: Config) -> Constitution:
    """As `principles_of`. Raises UserError too, before any work, for worked critiques that the stage cannot be given."""
    name, principles = config.stage.name, principles_of(config)
    if name != stages.CURRICULUM[0] and stages.load(name).path is constitutional_pairs:
        _critiques(principles, config)
    return principles


def _critiques(principles: Constitution, config: Config) -> dict[str, list[list[str]]]:
    worked = load_critiques(principles, config.stage.seeds)
    return {id_: [list(dataclasses.astuple(critique)) for critique in given] for id_, given in worked.items()}


def _applies(making: Making) -> dict[str, list[str]]:
    applies = making.seeds.get("applies")
    if not isinstance(applies, dict):
        raise UserError(f"the seed pool {making.config.stage.seeds} has no 'applies': write ids of principles by form or kind")
    return applies


def _instructions_of(pairs: Artifact | None) -> list[str]:
    return [] if pairs is None or not pairs.is_made else [pair.instruction for pair in iter_pairs(pairs)]


@functools.cache
def _lexicon() -> list[str]:
    """The words of the committed seeds without those of judgements and revisions, where words are misspelt on purpose."""
    return sorted({word for name in _SOUND_SEEDS for text in texts_in(load_seeds(name)) for word in spelt(text)})


def _num_cases(making: Making) -> int:
    construction = making.config.stage.construction
    return 0 if construction is None else construction.num_cases


def _conduct(num: int) -> dict[str, list[list[str]]]:
    """The committed cases of conduct by rule, some `num` in all; every one for 0."""
    by_rule = load_seeds("evaluation")["conduct"]
    return {rule: _spread(cases, -(-num // len(by_rule))) for rule, cases in by_rule.items()}


def _spread(items: list[Any], num: int) -> list[Any]:
    """So many of them, at equal distances; all for 0, or where there are no more."""
    return [items[i * len(items) // num] for i in range(num)] if 0 < num < len(items) else items


_CONSTRUCTED_FROM: dict[str, Callable[[Making], Any]] = {
    "refusals": lambda making: making.seeds["refusals"],
    "evasions": lambda _: load_seeds("evaluation")["evasions"],
    "conduct": lambda making: _conduct(_num_cases(making)),
    "sentences": lambda making: _spread(load_seeds("revision")["sentences"], _num_cases(making)),
    "worked": lambda making: _spread(load_seeds("evaluation")["worked"], _num_cases(making)),
    "lexicon": lambda _: _lexicon(),
    "principles": lambda making: {principle.id: principle.text for principle in making.principles.principles},
}
"""What a stage's `construct` may be given beside the kept answers (`Stage.constructed_from`)."""
