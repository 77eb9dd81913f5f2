"""A run's pairs and drops as tables, and the errors for runs that have none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from data_path import KNOWN, LEAK, PILOT, all_pairs, configured, some_model
from scripted import ScriptedEngine

from cai_bootstrap.errors import CorruptArtifact, MissingArtifact, UserError
from cai_bootstrap.report.pairs import DROPPED_COLUMNS, load_dropped, load_pairs, lost_instructions
from cai_bootstrap.steps.pair import PAIRS, iter_pairs
from cai_bootstrap.store.run import Run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run `r`, whose stage `explicit` made pairs in two rounds. Read it, never write it."""
    folder = tmp_path_factory.mktemp("pairs")
    all_pairs(folder, ScriptedEngine(KNOWN, spoil=[LEAK]), num_rounds=2)
    return folder


def test_the_last_rounds_pairs_are_loaded_as_they_stand(root: Path) -> None:
    with Run(root, "r") as run:
        first, last = run.artifact("explicit", "pairs"), run.artifact("explicit", "pairs-2")
    assert first is not None
    assert last is not None
    pairs = load_pairs(root, "r", "explicit")
    expected = list(iter_pairs(last))
    assert len(pairs) == len(expected) > len(list(iter_pairs(first)))
    for column in ("id", "kind", "prompt", "chosen", "rejected", "rejected_eos", "rejected_kind", "score", "selection"):
        assert pairs[column].tolist() == [getattr(pair, column) for pair in expected]


def test_every_drop_is_loaded_under_the_name_of_its_step(root: Path) -> None:
    dropped = load_dropped(str(root), "r")
    assert tuple(dropped.columns) == DROPPED_COLUMNS
    names = ["instructions", "kept", "pairs", "instructions-2", "kept-2", "pairs-2"]
    with Run(root, "r") as run:
        for name in names:
            artifact = run.artifact("explicit", name)
            assert artifact is not None
            rows, found = artifact.rows("dropped.jsonl"), dropped[dropped["step"] == name]
            assert found["reason"].tolist() == [row["reason"] for row in rows]
            assert found["instruction"].tolist() == [row["instruction"] for row in rows]
    assert dropped["step"].drop_duplicates().tolist() == [name for name in names if name in set(dropped["step"])]
    assert {"instructions", "kept", "instructions-2", "kept-2"} <= set(dropped["step"])
    assert "held-out (exact)" in set(dropped.loc[dropped["instruction"] == LEAK, "reason"])


def test_what_a_pilot_dropped_stands_apart(tmp_path: Path) -> None:
    all_pairs(tmp_path, ScriptedEngine(KNOWN, spoil=[LEAK]), config=configured(40, 15, *PILOT))
    steps = set(load_dropped(tmp_path, "r")["step"])
    assert "instructions" in steps
    assert steps <= {"instructions", "kept", "pairs"}
    piloted = load_dropped(tmp_path, "r", pilot=True)
    assert "instructions-pilot" in set(piloted["step"]) <= {"instructions-pilot", "kept-pilot"}
    assert LEAK in set(piloted["instruction"])


def test_an_answer_that_tasks_were_made_of_is_not_lost() -> None:
    used, unused, common = (f"0123abcd-0000{number}" for number in range(3))
    paired = [f"{used}-echo-rate-0", f"{used}-echo-rate-1", "worked-3-echo-rate-0"]
    pairs = pd.DataFrame({"provenance": [json.dumps({"prompt_id": id_}) for id_ in paired]})
    told = [
        ("instructions", "too short", None),
        ("kept", "another candidate is better", used),
        ("kept", "another candidate is better", unused),
        ("constructed", "no corruption fits", unused),
        ("constructed", "not surely a sound sentence", "sentence-7"),
        ("pairs", "this answer is chosen often enough", f"{used}-echo-rate-2"),
        ("pairs", "this answer is chosen often enough", f"{common}-echo-rate-0"),
        ("pairs", "this answer is chosen often enough", "worked-4-echo-rate-0"),
    ]
    rows = [{"step": step, "reason": reason, "prompt_id": id_} for step, reason, id_ in told]
    lost = lost_instructions(pairs, pd.DataFrame(rows, columns=list(DROPPED_COLUMNS)))
    assert lost["reason"].tolist() == ["no corruption fits", "this answer is chosen often enough"]
    assert lost["prompt_id"].tolist() == [unused, f"{common}-echo-rate-0"]


@pytest.mark.parametrize("load", [load_pairs, load_dropped])
def test_what_is_not_there_is_named(root: Path, load: Callable[..., object]) -> None:
    with pytest.raises(MissingArtifact, match=r"no run=nobody.*stage=explicit run=nobody"):
        load(root, "nobody")
    with pytest.raises(UserError, match="stage=baseline has no steps: write one of explicit"):
        load(root, "r", "baseline")
    with pytest.raises(UserError, match=r"run name '\.\./r' is not valid"):
        load(root, "../r")


def test_a_run_without_pairs_has_no_drops_and_says_so(tmp_path: Path) -> None:
    with Run(tmp_path, "r") as run:
        some_model(run)
    with pytest.raises(MissingArtifact, match=r"run=r has no pairs of stage=explicit yet: run `python -m cai_bootstrap"):
        load_pairs(tmp_path, "r")
    assert load_dropped(tmp_path, "r").empty
    assert tuple(load_dropped(tmp_path, "r").columns) == DROPPED_COLUMNS


def test_pairs_that_were_altered_or_removed_are_not_loaded(tmp_path: Path) -> None:
    artifact = all_pairs(tmp_path, ScriptedEngine(KNOWN))[1].pairs
    assert artifact is not None
    file = artifact.path / PAIRS
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(CorruptArtifact, match=r"pairs\.parquet has sha256"):
        load_pairs(tmp_path, "r")
    (artifact.path / "manifest.json").unlink()
    with pytest.raises(MissingArtifact, match="explicit/pairs of run=r was removed"):
        load_pairs(tmp_path, "r")
