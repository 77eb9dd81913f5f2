"""What the tests of the data path share: a configuration, inputs, and records."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from pathlib import Path
from typing import Any

from scripted import ScriptedEngine, ScriptedSession

from cai_bootstrap import stages
from cai_bootstrap.__main__ import compose_job
from cai_bootstrap.config import Config
from cai_bootstrap.evals import tasks
from cai_bootstrap.lineage import Parent
from cai_bootstrap.pipeline import Outcome, bootstrap
from cai_bootstrap.records import Completion, FinishReason, Prompt
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run, Work, step

KINDS = ("answer", "complete", "generate", "respond")
SEEDS = load_seeds("explicit")
# The scripted model continues every list in the same way, whatever its form.
ONE_FORM = {
    kind: {"any": [text for texts in forms.values() for text in texts]} for kind, forms in SEEDS["instructions"].items()
}
OF_FORMS = [shot for name, shots in SEEDS["examples"].items() if " " in name for shot in shots]
KNOWN = dict([*itertools.chain(*SEEDS["shots"].values()), *OF_FORMS])
HELDOUT = [item.instruction for split in tasks.SPLITS for item in tasks.load_suite("explicit", split)]
LEAK = next(text for text in HELDOUT if text.startswith("Which ") and 4 <= len(text.split()) <= 10)
NO_QUESTION = "Look at the picture below."


PILOT = (
    "stage.pilot.num_instructions=10",
    "stage.pilot.max_runaway=1",
    "stage.pilot.max_cut=1",
    "stage.pilot.max_duplicates=1",
    "stage.pilot.min_kept=0",
)
"""Words for a pilot before forty instructions that stops nothing."""


@functools.cache
def configured(num_instructions: int = 40, min_pairs: int = 15, *more: str) -> Config:
    words = [f"stage.instructions.num_instructions={num_instructions}", f"stage.pairs.min_pairs={min_pairs}", *more]
    return compose_job("explicit", ["preset=small", "stage.instructions.requests_per_shard=4", *words], "")


INSTRUCTIONS = configured().stage.instructions


@step(version=1)
def give(work: Work, files: dict[str, Any]) -> None:
    """An artifact with these files, as an earlier step would leave it."""
    work.record_engine({"engine": "scripted"})
    for name, content in files.items():
        work.write_rows(name, content) if name.endswith(".jsonl") else work.write_json(name, content)


def given(run: Run, name: str, **files: Any) -> Artifact:
    named = {key.replace("__", "."): value for key, value in files.items()}
    return run.step("explicit", name, give, settings={"sampling": {}}, values={"files": named}, seed=1)


def some_model(run: Run) -> Artifact:
    return given(run, "parent", model__json={})


def completion(text: str, finish: FinishReason = "stop", *, prompt_id: str = "p", number: int = 0) -> Completion:
    return Completion(
        id=f"{prompt_id}-{number}",
        prompt_id=prompt_id,
        text=text,
        finish=finish,
        num_tokens=4,
        logprob=-2.0,
        rendered_prompt="shots",
        seed=number,
    )


def prompt(kind: str, instruction: str, id_: str = "p") -> Prompt:
    return Prompt(id=id_, kind=kind, instruction=instruction, source="shard 0, seed 1")


def all_pairs(root: Path, engine: ScriptedEngine, num_rounds: int = 1, config: Config | None = None) -> tuple[Run, Outcome]:
    """The run `r` under `root` with the pairs of so many rounds, made by the pipeline with a scripted engine."""
    config, outcome = config or configured(), Outcome()
    with Run(root, "r") as run:
        base = some_model(run)
        run.computed.clear()
        run.reused.clear()
        (root / "seeds.yaml").write_text(json.dumps({**SEEDS, "instructions": ONE_FORM}))
        config = dataclasses.replace(config, stage=dataclasses.replace(config.stage, seeds=str(root / "seeds.yaml")))
        for number in range(1, num_rounds + 1):
            bootstrap(run, ScriptedSession(engine), config, stages.load("explicit"), Parent(base), outcome, "pairs", number)
    return run, outcome
