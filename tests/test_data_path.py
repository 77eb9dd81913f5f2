"""The data path as one, with a scripted engine in place of a model, and killed anywhere."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from data_path import (
    HELDOUT,
    INSTRUCTIONS,
    KNOWN,
    LEAK,
    all_pairs,
    configured,
)
from scripted import ScriptedEngine, answer_to

from cai_bootstrap.evals import tasks
from cai_bootstrap.steps.duplicates import DuplicateIndex
from cai_bootstrap.steps.evaluate import draw
from cai_bootstrap.steps.pair import iter_pairs
from cai_bootstrap.store.run import Run

# ---- evaluation


def test_a_draw_keeps_the_proportions_and_the_order() -> None:
    items = tasks.load_suite("explicit", "test")
    assert draw(items, 0) == items == draw(items, len(items) + 1)
    drawn = draw(items, 40)
    assert drawn == draw(list(items), 40) == [item for item in items if item in drawn]
    share = {kind: count * 40 / len(items) for kind, count in Counter(item.kind for item in items).items()}
    found = Counter(item.kind for item in drawn)
    assert all(abs(found[kind] - expected) <= 0.5 for kind, expected in share.items())
    assert {item.kind for item in draw(items, 1)} == {item.kind for item in items}  # no kind is lost


# ---- the whole path

STEPS = ["calibration", "instructions", "candidates", "verdicts", "kept", "rejected", "pairs"]


def test_the_data_path_makes_pairs_once(tmp_path: Path) -> None:
    run, first = all_pairs(tmp_path, ScriptedEngine(KNOWN, spoil=[LEAK]))
    assert (run.computed, run.reused) == (STEPS, [])
    assert first.pairs is not None
    pairs = list(iter_pairs(first.pairs))
    assert len(pairs) >= 15
    # The scripted model's right answer is the one that its samples agree on and that its instruction makes likely.
    assert all(pair.chosen.strip() == answer_to(pair.instruction) for pair in pairs)
    assert not {pair.instruction for pair in pairs} & {*HELDOUT, *KNOWN}
    engine = ScriptedEngine(KNOWN)
    run, again = all_pairs(tmp_path, engine)
    assert (run.computed, run.reused) == ([], STEPS)
    assert (engine.calls, engine.num_scored) == ([], 0)
    assert again.pairs is not None
    assert again.pairs.digest == first.pairs.digest


def test_a_second_round_adds_to_the_first(tmp_path: Path) -> None:
    _, first = all_pairs(tmp_path, ScriptedEngine(KNOWN))
    run, both = all_pairs(tmp_path, ScriptedEngine(KNOWN), num_rounds=2)
    assert run.reused == STEPS
    assert run.computed == [f"{name}-2" for name in STEPS]
    assert first.pairs is not None
    assert both.pairs is not None
    earlier, pairs = list(iter_pairs(first.pairs)), list(iter_pairs(both.pairs))
    assert pairs[: len(earlier)] == earlier
    assert len(pairs) >= 1.5 * len(earlier)
    known = DuplicateIndex(INSTRUCTIONS.near_duplicate_similarity)
    known.add(pair.instruction for pair in earlier)
    assert [pair.instruction for pair in pairs[len(earlier) :] if known.find(pair.instruction)] == []


def test_only_as_many_rejected_outputs_are_written_as_the_mix_asks_for(tmp_path: Path) -> None:
    outcome = all_pairs(tmp_path, ScriptedEngine(KNOWN))[1]
    assert outcome.pairs is not None
    pairs = list(iter_pairs(outcome.pairs))
    with Run(tmp_path, "r") as run:
        kept, rejected = run.artifact("explicit", "kept"), run.artifact("explicit", "rejected")
    assert kept is not None
    assert rejected is not None
    ids = {row["prompt_id"] for row in kept.rows()}
    mix = configured().stage.pairs.rejected_mix
    for kind, file in (("zero_shot", "zero_shot.jsonl"), ("rambling", "run_on.jsonl")):
        made = [row["prompt_id"] for row in rejected.rows(file)]
        assert len(made) == len(set(made)) == math.ceil(mix[kind] * len(ids))
        assert set(made) <= ids
        used = {pair.provenance["prompt_id"] for pair in pairs if pair.rejected_kind == kind}
        assert used <= set(made)
        assert len(used) >= 0.8 * len(made)


@pytest.mark.parametrize("call", range(0, 60, 7))
def test_the_data_path_killed_anywhere_ends_the_same(tmp_path: Path, call: int, whole_pairs: bytes) -> None:
    engine = ScriptedEngine(KNOWN, fail_at_call=call)
    try:
        all_pairs(tmp_path, engine)
    except RuntimeError:
        all_pairs(tmp_path, ScriptedEngine(KNOWN))
    with Run(tmp_path, "r") as run:
        made = run.artifact("explicit", "pairs")
    assert made is not None
    assert made.read("pairs.parquet") == whole_pairs


@pytest.fixture(scope="module")
def whole_pairs(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    outcome = all_pairs(tmp_path_factory.mktemp("whole"), ScriptedEngine(KNOWN))[1]
    assert outcome.pairs is not None
    return outcome.pairs.read("pairs.parquet")
