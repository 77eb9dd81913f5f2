"""Preference pairs: negatives, the mix, what is taught, and the file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from data_path import (
    KINDS,
    completion,
    configured,
    given,
    some_model,
)
from scripted import answer_to, instruction_of, invented

from cai_bootstrap import templates
from cai_bootstrap.config import to_dict
from cai_bootstrap.errors import StepFailed
from cai_bootstrap.evals import english
from cai_bootstrap.steps.negatives import Answer, Written, is_worse
from cai_bootstrap.steps.pair import iter_pairs, make_pairs
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run

# ---- pairs

REFUSALS = [f"I cannot help with the {invented(str(n))}." for n in range(50)]


def kept_row(number: int, kind: str, text: str | None = None) -> dict[str, Any]:
    instruction = instruction_of(kind, str(number))
    return {
        "prompt_id": f"p{number:03d}",
        "kind": kind,
        "instruction": instruction,
        "text": text or answer_to(instruction),
        "score": 1.0,
        "selection": "agreement",
        "completion_id": f"p{number:03d}-0",
        "completion_logprob": -2.0,
        "completion_seed": 7,
        "rendered_prompt": "shots",
        "scores": {"agreement": 1.0},
        "principle": None,
        "instruction_source": "shard 0, seed 1",
    }


def paired(run: Run, rows: list[dict[str, Any]], heldout: Sequence[str] = (), **changed: Any) -> Artifact:
    settings = {**to_dict(configured().stage)["pairs"], **changed}
    continued = [
        completion(f" It goes on {row['prompt_id']}", "length" if n % 3 else "eos", prompt_id=row["prompt_id"]).to_row()
        for n, row in enumerate(rows)
    ]
    files = {"zero_shot__jsonl": continued, "run_on__jsonl": continued[::4], "refusals__json": REFUSALS}
    return run.step(
        "explicit",
        "pairs",
        make_pairs,
        settings=settings,
        inputs={
            "model": some_model(run),
            "candidates": given(run, "c", records__jsonl=[]),
            "kept": given(run, "k", records__jsonl=rows),
            "rejected": given(run, "w", **files),
        },
        values={"heldout": list(heldout)},
        seed=1,
    )


ROWS = [kept_row(n, KINDS[n % 3]) for n in range(200)]


def test_pairs_follow_the_mix_and_teach_an_end_only_where_one_is(tmp_path: Path) -> None:
    with Run(tmp_path, "r") as run:
        made = paired(run, ROWS)
    pairs = list(iter_pairs(made))
    assert len(pairs) == 200
    counts = Counter(pair.rejected_kind for pair in pairs)
    mix = configured().stage.pairs.rejected_mix
    assert set(counts) == set(mix)
    for kind, share in mix.items():
        assert abs(counts[kind] - share * 200) <= 2, counts
    for pair in pairs:
        assert pair.prompt == templates.cued(pair.instruction)
        assert pair.chosen_eos
        assert pair.chosen.startswith(" ")
        assert pair.chosen.strip() != pair.rejected.strip()
        if pair.rejected_kind == "refusal":
            assert pair.rejected.strip() in REFUSALS
        if pair.rejected_kind in ("zero_shot", "rambling"):
            number = int(pair.provenance["prompt_id"][1:])
            assert pair.rejected_eos == (number % 3 == 0)  # the others were cut off: no end is taught
            assert pair.rejected.endswith(f"It goes on p{number:03d}")
        else:
            assert pair.rejected_eos
    told = made.json("statistics.json")
    assert told["num_pairs"] == 200
    assert made.manifest["num_records"] == 200  # what a plan reckons its training with
    assert told["rejected_kinds"] == dict(counts)


@pytest.mark.parametrize(
    ("kind", "instruction", "chosen", "own", "finish", "worse"),
    [
        ("answer", "What do bees make?", "Honey.", "They make honey.", "eos", False),
        ("answer", "What do bees make?", "Honey.", "Sand.", "eos", False),
        ("answer", "What do bees make?", "Honey.", "What do bees make?", "eos", True),
        ("answer", "What do bees make?", "Honey.", "Honey.", "length", True),
        ("generate", "Write one sentence about winter.", "Winter is cold.", "The winter has long nights.", "eos", False),
        ("generate", "Write one sentence about winter.", "Winter is cold.", "Winter", "eos", True),
        ("write_fact", "Write a fact about bees.", "Bees make honey.", "Bees live in a hive.", "eos", False),
        ("write_fact", "Write a fact about bees.", "Bees make honey.", "Do bees make honey?", "eos", True),
    ],
)
def test_a_habit_is_rejected_only_where_it_is_worse(
    kind: str, instruction: str, chosen: str, own: str, finish: str, worse: bool
) -> None:
    assert is_worse(Written(own, finish, 1), Answer("p", kind, instruction, chosen, 1.0)) == worse


def test_a_misplaced_reply_is_one_to_a_message_of_another_sort(tmp_path: Path) -> None:
    forms = ("good_news", "bad_news", "needs", "offers", "thanks")
    rows = [
        kept_row(n, "opener", f"Reply {n}.") | {"instruction_source": f"form {forms[n % 5]}, shard 0, seed 1"}
        for n in range(40)
    ]
    rows += [kept_row(n, "answer") for n in range(40, 50)]
    with Run(tmp_path, "r") as run:
        pairs = list(iter_pairs(paired(run, rows, rejected_mix={"misplaced": 0.8, "off_topic": 0.2})))
    misplaced = [pair for pair in pairs if pair.rejected_kind == "misplaced"]
    assert [pair.kind for pair in misplaced] == ["opener"] * 40
    form = {row["prompt_id"]: forms[n % 5] for n, row in enumerate(rows[:40])}
    seen = {(form[pair.provenance["prompt_id"]], pair.provenance["rejected_source"].rpartition(" ")[2]) for pair in misplaced}
    assert ("bad_news", "good_news") in seen
    assert not seen & {("bad_news", "needs"), ("needs", "bad_news"), ("good_news", "offers"), ("offers", "good_news")}
    assert not any(sort == other for sort, other in seen)


def test_without_another_sort_a_reply_is_off_topic(tmp_path: Path) -> None:
    rows = [kept_row(n, "opener", f"Reply {n}.") | {"instruction_source": "form thanks, shard 0, seed 1"} for n in range(9)]
    with Run(tmp_path, "r") as run:
        pairs = list(
            iter_pairs(paired(run, [*rows, kept_row(9, "answer")], rejected_mix={"misplaced": 0.9, "echo": 0.1}, min_pairs=5))
        )
    assert all(pair.provenance["rejected_source"] == "answer to p009" for pair in pairs if pair.rejected_kind == "misplaced")


def test_an_echo_says_what_the_instruction_says(tmp_path: Path) -> None:
    mix = {"echo": 1.0}
    rows = [
        kept_row(n, kind, text)
        for n, (kind, text) in enumerate(
            [("complete", "fork."), ("respond", "Well done!"), ("answer", "Honey"), ("generate", "The wind is strong.")] * 6
        )
    ]
    with Run(tmp_path, "r") as run:
        pairs = list(iter_pairs(paired(run, rows, rejected_mix=mix, max_identical_chosen=1.0)))
    assert len(pairs) == 24
    for pair in pairs:
        if pair.kind == "generate":
            assert english.is_tautology(pair.rejected)
            continue
        said, asked = english.words(pair.rejected), english.words(pair.instruction)
        assert set(said) <= set(asked)
        assert pair.rejected_eos
        assert pair.rejected.endswith(".") == (pair.kind == "complete" or pair.instruction.endswith("."))


def test_a_wrong_number_replaces_a_number(tmp_path: Path) -> None:
    rows = [kept_row(n, "answer", f"It is {n + 10}.") for n in range(40)]
    with Run(tmp_path, "r") as run:
        made = paired(run, rows, rejected_mix={"factual": 1.0}, max_identical_chosen=1.0)
    for pair in list(iter_pairs(made)):
        right, wrong = (int("".join(filter(str.isdigit, text))) for text in (pair.chosen, pair.rejected))
        assert 0 < abs(right - wrong) <= 3


def test_what_meets_a_held_out_item_is_dropped_with_its_group(tmp_path: Path) -> None:
    asked = {
        3: 'Is the answer "A mole digs long tunnels." to "Who lives below the lawn?" correct?',
        4: 'Is the answer "A mole." to "Who lives below the lawn?" correct?',
        5: "Which animal lives below the lawn?",
        6: 'Is the answer "Yes." to "Who can fly?" correct?',
    }
    rows = [{**row, **({"instruction": asked[n]} if n in asked else {})} for n, row in enumerate(ROWS[:40])]
    rows[3]["group"] = rows[4]["group"] = "the mole"
    rows[8]["text"] = "The bees build their hive."
    heldout = [
        "A mole digs long tunnels.",
        "Which animals live below the lawns?",
        "The bees build their hive.",
        "Yes.",
        "A mole.",
    ]
    with Run(tmp_path, "r") as run:
        made = paired(run, rows, heldout, min_pairs=10)
    met = [row["prompt_id"] for row in made.rows("dropped.jsonl") if row["reason"] == "meets a held-out item"]
    assert met == ["p003", "p004", "p005", "p008"]
    assert {pair.provenance["prompt_id"] for pair in iter_pairs(made)} == {row["prompt_id"] for row in rows} - set(met)


def test_no_answer_is_chosen_too_often(tmp_path: Path) -> None:
    rows = [kept_row(n, "answer", "Yes." if n % 2 else None) for n in range(100)]
    with Run(tmp_path, "r") as run:
        made = paired(run, rows, max_identical_chosen=0.05)
    pairs = list(iter_pairs(made))
    common = Counter(pair.chosen for pair in pairs)[" Yes."]
    assert 1 < common <= 0.05 * 100
    reasons = Counter(row["reason"] for row in made.rows("dropped.jsonl"))
    assert reasons["this answer is chosen often enough"] == 50 - common


def test_a_file_of_several_row_groups_reads_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run(tmp_path / "a", "r") as run:
        whole = paired(run, ROWS)
    monkeypatch.setattr("cai_bootstrap.steps.pair._ROW_GROUP", 33)
    with Run(tmp_path / "b", "r") as run:
        parts = paired(run, ROWS)
    assert pq.ParquetFile(parts.file("pairs.parquet")).num_row_groups == 7
    assert list(iter_pairs(parts)) == list(iter_pairs(whole))
    assert len(pd.read_parquet(parts.file("pairs.parquet"))) == 200


def test_too_few_pairs_fail(tmp_path: Path) -> None:
    with Run(tmp_path, "r") as run, pytest.raises(StepFailed, match=r"20 pairs came, 21 are needed: raise stage\.instr"):
        paired(run, ROWS[:20], min_pairs=21)


def test_an_unknown_rejected_kind_fails(tmp_path: Path) -> None:
    with Run(tmp_path, "r") as run, pytest.raises(StepFailed, match="'silly' is not known: write one of zero_shot"):
        paired(run, ROWS, rejected_mix={"silly": 1.0})


def test_pairs_are_the_same_bytes_twice_and_read_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run(tmp_path / "one", "r") as run:
        path = paired(run, ROWS).file("pairs.parquet")
    with Run(tmp_path / "two", "r") as run:
        assert paired(run, ROWS).read("pairs.parquet") == path.read_bytes()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    import datasets

    frame = pd.read_parquet(path)
    data = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
    told = "id kind instruction prompt chosen rejected chosen_eos rejected_eos"
    known = "rejected_kind score selection principle group provenance"
    assert list(frame.columns) == data.column_names == f"{told} {known}".split()
    assert len(frame) == data.num_rows == 200
    assert frame.chosen_eos.dtype == bool
    source = json.loads(frame.provenance[0])
    assert source["template"] == templates.digest()
    assert {"model", "sampling", "engine", "chosen_prompt", "chosen_seed", "rejected_source"} <= set(source)
