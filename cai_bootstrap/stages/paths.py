"""The ways by which a stage makes its preference pairs: its steps in order, each found by its digest or made."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cai_bootstrap import constitution
from cai_bootstrap.config import Config, to_dict
from cai_bootstrap.critiques import load_critiques
from cai_bootstrap.engines.session import Session
from cai_bootstrap.evals import tasks
from cai_bootstrap.stages.stage import Stage, seeds_of
from cai_bootstrap.steps.critique import (
    calibrate_critic,
    judge_revisions,
    texts_of,
    write_critiques,
    write_originals,
    write_revisions,
)
from cai_bootstrap.steps.generate import draft_candidates, write_rejected
from cai_bootstrap.steps.judge import calibrate, judge_candidates
from cai_bootstrap.steps.pair import iter_pairs, make_pairs
from cai_bootstrap.steps.prompts import make_instructions
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.runner import bind

Step = Callable[..., Artifact]
_QUOTED = re.compile(r'"([^"]* [^"]* [^"]*)"')
"""A draft, an answer or a question inside an instruction; single words and pairs of them stand everywhere."""


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
    parent: Artifact
    earlier: Artifact | None
    """The pairs of the round before, which come first."""
    roles: Mapping[str, Artifact]
    """Models of stages before by what they do in this one; empty where the parent does everything."""

    def model_for(self, role: str) -> Artifact:
        """Whose turn it is: the model that has the role, the parent where none has."""
        return self.roles.get(role, self.parent)

    def run(self, name: str, function: Callable[..., None], *, heavy: bool = True, **parts: Any) -> Artifact:
        """A step of this round, with the session where it is `heavy`."""
        return self.step(f"{name}{self.suffix}", bind(function, session=self.session) if heavy else function, **parts)


def few_shot_pairs(making: Making) -> Artifact:
    """Instructions from lists, few-shot answers, the best of them kept, and what is rejected against them."""
    run, stage, config, parent = making.run, making.stage, making.config, making.parent
    seeds, sampled, c = seeds_of(stage, config.stage.seeds), config.engine.identity(), to_dict(config.stage)
    principles = [list(entry) for entry in constitution.load().in_order()]

    instructions = run(
        "instructions",
        make_instructions,
        settings={**c["instructions"], **sampled},
        inputs={"model": parent},
        values={"seeds": seeds["instructions"], "heldout": heldout(), "previous": _instructions_of(making.earlier)},
    )
    candidates = run(
        "candidates",
        draft_candidates,
        settings={k: v for k, v in {**c["responses"], **sampled}.items() if k != "zero_shot"},
        inputs={"model": parent, "instructions": instructions},
        values={"shots": seeds["shots"]},
    )
    run(
        "calibration",
        calibrate,
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
    verdicts = run(
        "verdicts",
        judge_candidates,
        settings={
            "methods": c["selection"]["methods"],
            "shard_size": c["selection"]["shard_size"],
            **sampled,
        },
        inputs={"model": parent, "instructions": instructions, "candidates": candidates},
        values={"shots": seeds["shots"], "principles": principles},
    )
    kept = run(
        "kept",
        stage.keep,
        heavy=False,
        settings={"methods": c["selection"]["methods"], "min_scores": c["selection"]["min_scores"]},
        inputs={"instructions": instructions, "candidates": candidates, "verdicts": verdicts},
    )
    if stage.construct is not None:
        kept = run(
            "constructed",
            stage.construct,
            heavy=False,
            settings=c["construction"],
            inputs={"kept": kept},
            values={"refusals": seeds["refusals"]},
        )
    return _reject_and_pair(making, candidates, kept, seeds["refusals"])


def constitutional_pairs(making: Making) -> Artifact:
    """Requests, the model's own answers, critiques by one principle each, revisions, and the best revision over the answer.

    Each round is done by the model that the stage before taught it to (`stage.roles`).
    """
    run, stage, config = making.run, making.stage, making.config
    seeds, sampled, c = seeds_of(stage, config.stage.seeds), config.engine.identity(), to_dict(config.stage)
    principles, size = texts_of(constitution.load().principles), {"shard_size": c["responses"]["shard_size"], **sampled}
    examples = {id_: [list(dataclasses.astuple(of)) for of in given] for id_, given in load_critiques().items()}

    instructions = run(
        "instructions",
        make_instructions,
        settings={**c["instructions"], **sampled},
        inputs={"model": making.model_for("prompts")},
        values={"seeds": seeds["instructions"], "heldout": heldout(), "previous": _instructions_of(making.earlier)},
    )
    originals = run(
        "originals",
        write_originals,
        settings={"sampling": c["responses"]["zero_shot"], **size},
        inputs={"model": making.model_for("answers"), "instructions": instructions},
    )
    critic = {"model": making.model_for("critic")}
    run(
        "calibration",
        calibrate_critic,
        settings=sampled,
        inputs=critic,
        values={"principles": principles, "examples": examples},
    )
    critiques = run(
        "critiques",
        write_critiques,
        settings={"sampling": c["responses"]["sampling"], **size},
        inputs={**critic, "originals": originals},
        values={"principles": principles, "applies": seeds["applies"], "examples": examples},
    )
    revisions = run(
        "revisions",
        write_revisions,
        settings={"sampling": c["responses"]["sampling"], "num_candidates": c["responses"]["num_candidates"], **size},
        inputs={"model": making.model_for("reviser"), "critiques": critiques},
        values={"principles": principles, "examples": examples},
    )
    verdicts = run(
        "verdicts",
        judge_revisions,
        settings=size,
        inputs={**critic, "revisions": revisions},
        values={"principles": principles},
    )
    kept = run(
        "kept",
        stage.keep,
        heavy=False,
        settings={"min_scores": c["selection"]["min_scores"]},
        inputs={"revisions": revisions, "verdicts": verdicts},
        values={"principles": principles, "refusals": seeds["refusals"]},
    )
    return _reject_and_pair(making, revisions, kept, seeds["refusals"])


def _reject_and_pair(making: Making, candidates: Artifact, kept: Artifact, refusals: list[str]) -> Artifact:
    """The last two steps of every way: what the model itself writes to be rejected, and the pairs."""
    run, parent, c = making.run, making.parent, to_dict(making.config.stage)
    rejected = run(
        "rejected",
        write_rejected,
        settings={k: c["responses"][k] for k in ("zero_shot", "shard_size")}
        | {"rejected_mix": c["pairs"]["rejected_mix"], **making.config.engine.identity()},
        inputs={"model": parent, "kept": kept},
        values={"refusals": refusals},
    )
    inputs = {"model": parent, "candidates": candidates, "kept": kept, "rejected": rejected}
    if making.earlier is not None:
        inputs["earlier"] = making.earlier
    return run("pairs", make_pairs, heavy=False, settings=c["pairs"], inputs=inputs)


@functools.cache
def heldout() -> list[str]:
    """The instructions of every held-out suite, in both splits, and what they quote: what no stage may train on."""
    suites = [tasks.load_suite(name, split) for name in tasks.SUITE_SHA256 for split in tasks.SPLITS]
    told = [item.instruction for suite in suites for item in suite]
    return [*told, *(text for instruction in told for text in _QUOTED.findall(instruction))]


def _instructions_of(pairs: Artifact | None) -> list[str]:
    return [] if pairs is None or not pairs.is_made else [pair.instruction for pair in iter_pairs(pairs)]
