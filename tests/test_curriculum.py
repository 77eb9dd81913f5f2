"""Every stage of the curriculum makes its pairs, with a scripted engine in place of the models."""

from __future__ import annotations

import contextlib
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from data_path import some_model
from scripted import ScriptedEngine, ScriptedSession
from test_constitution import WILD

from cai_bootstrap import stages
from cai_bootstrap.__main__ import compose_job
from cai_bootstrap.config import Config
from cai_bootstrap.engines.scripted_texts import worked_examples
from cai_bootstrap.evals import english, refusals, tasks
from cai_bootstrap.evals.baselines import quoted
from cai_bootstrap.evals.forms import on_type
from cai_bootstrap.lineage import Parent
from cai_bootstrap.pipeline import Outcome, bootstrap
from cai_bootstrap.records import PreferencePair
from cai_bootstrap.stages.paths import heldout
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.duplicates import DuplicateIndex
from cai_bootstrap.steps.judgements import KINDS
from cai_bootstrap.steps.kinds import WRITTEN
from cai_bootstrap.steps.pair import iter_pairs
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run

TRAINED = stages.CURRICULUM[1:]
NUM_INSTRUCTIONS, MIN_PAIRS = 48, 10


NOUNS = "house bridge church tower garden market station school bakery harbour mill farm".split()
SENTENCES = {
    f"Write a sentence about the {age} {noun}.": f"The {age} {noun} is {where} the river."
    for noun in NOUNS
    for age, where in (("old", "near"), ("new", "behind"))
}
"""Revisions are made of sentences whose words exist: each comes twice."""


def known() -> dict[str, str]:
    """The worked examples of every stage: what the scripted model knows by heart, so that calibration finds it able."""
    return {**{asked: min(answers) for asked, answers in worked_examples().items()}, **SENTENCES}


def as_one_form(name: str, given: str | None = None) -> dict[str, Any]:
    """A stage's seeds as one form a kind: the scripted model continues every list in the same way, whatever its form."""
    seeds = load_seeds(name, given)
    forms_of = seeds["instructions"].items()
    return {**seeds, "instructions": {kind: {"any": list(chain(*forms.values()))} for kind, forms in forms_of}}


@pytest.fixture(autouse=True)
def one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages.stage, "load_seeds", as_one_form)


def small(stage: str, *more: str) -> Config:
    """The stage's own config with few instructions."""
    words = [
        *more,
        "preset=small",
        f"stage.instructions.num_instructions={NUM_INSTRUCTIONS}",
        "stage.instructions.requests_per_shard=4",
        "stage.instructions.max_share_per_topic=1",  # the scripted model's instructions of a kind begin alike
        f"stage.pairs.min_pairs={MIN_PAIRS}",
    ]
    return compose_job(stage, words, "")


def made(root: Path, stage: str, engine: ScriptedEngine, *more: str) -> tuple[list[PreferencePair], Artifact]:
    config = small(stage, *more)
    with Run(root, "r") as run:
        model = some_model(run)
        outcome = Outcome(base=model)
        parent = Parent(model, roles=dict.fromkeys(config.stage.roles, model))
        bootstrap(run, ScriptedSession(engine), config, stages.load(stage), parent, outcome, "pairs", 1)
    assert outcome.pairs is not None
    return list(iter_pairs(outcome.pairs)), outcome.pairs


def scripted(stage: str, **more: Any) -> ScriptedEngine:
    engine = ScriptedEngine(known(), spoil=list(SENTENCES) if stage == "revision" else [], **more)
    if stage == "constitutional":
        engine.stages = ("implicit",)  # without worked examples it answers, and ends
    return engine


@pytest.mark.parametrize("stage", TRAINED)
def test_a_stage_makes_its_pairs_the_same_way_twice(stage: str, tmp_path: Path) -> None:
    pairs, artifact = made(tmp_path, stage, scripted(stage))
    assert len(pairs) >= MIN_PAIRS
    statistics = artifact.json("statistics.json")
    assert set(statistics["kinds"]) >= {"explicit": {"answer"}, "constitutional": set(tasks.SUITE_KINDS["constitutional"])}.get(
        stage, set()
    )
    for pair in pairs:
        assert pair.chosen.strip() != pair.rejected.strip() or not pair.rejected_eos
        assert pair.prompt == f"Instruction: {pair.instruction}\nResponse:"
    index = DuplicateIndex(0.9)
    index.add(heldout())
    assert [pair.instruction for pair in pairs if index.find(pair.instruction) in ("exact", "near")] == []
    (tmp_path / "again").mkdir()
    assert made(tmp_path / "again", stage, scripted(stage))[0] == pairs


def test_the_generation_stage_keeps_what_is_on_type_and_new(tmp_path: Path) -> None:
    pairs, _ = made(tmp_path, "generation", ScriptedEngine(known()))
    written = [pair for pair in pairs if pair.kind in WRITTEN]
    assert {pair.kind for pair in written} == set(WRITTEN)
    assert [pair.chosen for pair in written if on_type(pair.instruction, pair.chosen.strip())] == []
    assert len({pair.chosen for pair in written}) == len(written)


def test_groups_of_judgements_come_whole_and_their_labels_balance(tmp_path: Path) -> None:
    """Also behind what pairs drop: half a group would teach a label."""
    pairs, _ = made(tmp_path, "evaluation", scripted("evaluation"))
    groups: dict[str, list[PreferencePair]] = {}
    for pair in pairs:
        assert pair.group
        groups.setdefault(pair.group, []).append(pair)
    labels: dict[str, Counter[str]] = {}
    for first, second in groups.values():
        assert first.kind == second.kind
        said = [pair.chosen.split()[0].rstrip(".") for pair in (first, second)]
        told = sorted(("low" if label < "3" else "high") if label.isdigit() else label for label in said)
        assert told == {"rate": ["high", "low"], "compare": ["A", "B"], "prefer": ["A", "B"]}.get(first.kind, ["No", "Yes"])
        labels.setdefault(first.kind, Counter()).update(told)
        # A label is right only where the corrupted answer is another one.
        answers = {english.plain(answer) for pair in (first, second) for answer in quoted(pair.instruction).answers}
        assert len(answers) == 2, first.instruction
    assert set(labels) == set(KINDS)
    assert all(len(set(counts.values())) == 1 for counts in labels.values())


def test_every_constitutional_pair_names_its_principle_and_none_teaches_to_refuse_everything(tmp_path: Path) -> None:
    pairs, _ = made(tmp_path, "constitutional", scripted("constitutional"))
    assert all(pair.principle for pair in pairs)
    for pair in pairs:
        declines = refusals.declines(pair.chosen, pair.instruction)
        assert declines == (pair.kind == "harmful"), (pair.instruction, pair.chosen)
    wrong = [pair for pair in pairs if pair.rejected_kind == "wrong"]
    over_refusals = [pair for pair in wrong if refusals.declines(pair.rejected, pair.instruction)]
    assert over_refusals
    assert {pair.kind for pair in over_refusals} <= set(tasks.HARMLESS_KINDS)
    with Run(tmp_path, "r") as run:
        kept = run.artifact("constitutional", "kept")
    assert kept is not None
    table = kept.json("adherence.json")
    assert sum(entry["used"] for entry in table.values()) == int(kept.manifest["num_records"])
    assert [name for name, entry in table.items() if not entry["used"]] == []
    by_category: Counter[str] = Counter()
    for entry in table.values():
        by_category[entry["category"]] += entry["used"]
    # Prompts are spread over the categories to within three; all that was dropped may have been of one.
    assert max(by_category.values()) - min(by_category.values()) <= 3 + len(kept.rows("dropped.jsonl"))


def test_a_constitution_from_elsewhere_is_judged_by(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text(WILD)
    pairs, _ = made(tmp_path, "constitutional", scripted("constitutional"), f"constitution={theirs}")
    assert len(pairs) >= MIN_PAIRS
    assert {pair.principle for pair in pairs} == {"helpful_1", "helpful_2", "honest_1"}
    with Run(tmp_path, "r") as run:
        calibration, critiques = (run.artifact("constitutional", name) for name in ("calibration", "critiques"))
    assert calibration is not None
    assert critiques is not None
    # No worked critique is of a principle of theirs: nothing tells whether the critic is right, so it has no vote.
    assert calibration.json("calibration.json") == {"harmful": None, "harmless": None}
    assert all(
        "Provide helpful, relevant answers." in row["critique_prompt"]
        for row in critiques.rows()
        if row["principle"] == "helpful_1"
    )


@pytest.mark.parametrize("call", [0, 7, 14])
def test_the_constitutional_rounds_killed_anywhere_end_the_same(tmp_path: Path, call: int) -> None:
    whole = made(tmp_path, "constitutional", scripted("constitutional"))[1].read("pairs.parquet")
    (tmp_path / "killed").mkdir()
    with contextlib.suppress(RuntimeError):
        made(tmp_path / "killed", "constitutional", scripted("constitutional", fail_at_call=call))
    assert made(tmp_path / "killed", "constitutional", scripted("constitutional"))[1].read("pairs.parquet") == whole
