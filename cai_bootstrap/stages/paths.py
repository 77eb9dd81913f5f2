"""The ways by which a stage makes its preference pairs: its steps in order, each found by its digest or made."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cai_bootstrap import constitution
from cai_bootstrap.config import Config, to_dict
from cai_bootstrap.engines.session import Session
from cai_bootstrap.evals import tasks
from cai_bootstrap.stages.stage import Stage, seeds_of
from cai_bootstrap.steps.pair import iter_pairs
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
        stage.make_instructions,
        settings={**c["instructions"], **sampled},
        inputs={"model": parent},
        values={"seeds": seeds["instructions"], "heldout": heldout(), "previous": _instructions_of(making.earlier)},
    )
    candidates = run(
        "candidates",
        stage.draft,
        settings={k: v for k, v in {**c["responses"], **sampled}.items() if k != "zero_shot"},
        inputs={"model": parent, "instructions": instructions},
        values={"shots": seeds["shots"]},
    )
    run(
        "calibration",
        stage.calibrate,
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
        stage.judge,
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
    rejected = run(
        "rejected",
        stage.write_rejected,
        settings={k: c["responses"][k] for k in ("zero_shot", "shard_size")}
        | {"rejected_mix": c["pairs"]["rejected_mix"], **sampled},
        inputs={"model": parent, "kept": kept},
        values={"refusals": seeds["refusals"]},
    )
    inputs = {"model": parent, "candidates": candidates, "kept": kept, "rejected": rejected}
    if making.earlier is not None:
        inputs["earlier"] = making.earlier
    return run("pairs", stage.make_pairs, heavy=False, settings=c["pairs"], inputs=inputs)


@functools.cache
def heldout() -> list[str]:
    """The instructions of every held-out suite, in both splits, and what they quote: what no stage may train on."""
    suites = [tasks.load_suite(name, split) for name in tasks.SUITE_SHA256 for split in tasks.SPLITS]
    told = [item.instruction for suite in suites for item in suite]
    return [*told, *(text for instruction in told for text in _QUOTED.findall(instruction))]


def _instructions_of(pairs: Artifact | None) -> list[str]:
    return [] if pairs is None or not pairs.is_made else [pair.instruction for pair in iter_pairs(pairs)]
