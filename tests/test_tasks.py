"""The one cutting rule, the scoring, and what a suite file must be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_bootstrap.errors import CorruptArtifact, UserError
from cai_bootstrap.evals import tasks
from cai_bootstrap.evals.tasks import cut, cut_is_decided, is_decided, load_suite, parse_suite, score
from cai_bootstrap.records import FinishReason, HeldOutItem

PIECES = ["Paris", " ", "\n", "\n\n", "Answer:", "answer :", "Instruction:", "Q:", "Question", ":", "Response:", "A", "\r"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=10).map("".join)
ITEM = HeldOutItem(
    id="explicit-0001",
    suite="explicit",
    split="dev",
    kind="answer",
    family="capitals",
    instruction="What is the capital of France?",
    verifier="any_of",
    arguments={"accepted": ["Paris"], "rivals": ["Rome"]},
)


@pytest.mark.parametrize(
    ("output", "answer", "decided"),
    [
        (" Paris", "Paris", False),
        ("\n\n Paris\n", "Paris", False),
        ("Paris\n\nInstruction: next", "Paris", True),
        ("Paris\n \t\nmore", "Paris", True),
        ("Paris\nInstruction: next", "Paris", True),
        ("Paris\nresponse: x", "Paris", True),
        ("Paris\nQ: x", "Paris", True),
        ("Paris\n  QUESTION : x", "Paris", True),
        ("Paris\nAnswer: Rome", "Paris", True),
        ("Answer: Paris", "Paris", False),
        ("Answer:\n\nParis", "Paris", False),
        ("Instruction: What?", "", True),
        ("FAQ: Paris", "FAQ: Paris", False),
        ("a, b\nc", "a, b\nc", False),
        ("", "", False),
    ],
)
def test_cut(output: str, answer: str, decided: bool) -> None:
    assert cut(output) == answer
    assert cut_is_decided(output) is decided


@given(TEXTS, TEXTS)
def test_a_decided_cut_never_changes(output: str, more: str) -> None:
    if cut_is_decided(output):
        assert cut(output + more) == cut(output)


@pytest.mark.parametrize(
    ("output", "finish", "content", "strict"),
    [
        ("Paris.", "eos", True, True),
        ("Paris.\n\n", "eos", True, True),
        ("Paris.\n\nInstruction: next", "eos", True, False),
        ("Paris.\n\nInstruction: next", "stop", True, False),
        ("Paris. It is big", "length", True, False),
        ("Paris. Paris. Paris.", "eos", True, False),
        ("Paris.\nParis.\nParis.\n", "eos", True, False),
        ("Paris. It is big. It is big. It is big.", "eos", True, False),
        ("Paris. Paris.", "eos", True, True),
        ("Paris.\n\nParis.\n\nParis.", "eos", True, False),
        ("Paris Paris Paris", "eos", False, False),
        ("Rome, Paris", "eos", False, False),
        ("Rome. Paris. Paris. Paris.", "eos", False, False),
        ("Rome.", "eos", False, False),
        ("", "eos", False, False),
    ],
)
def test_score(output: str, finish: FinishReason, content: bool, strict: bool) -> None:
    record = score(ITEM, "base", "prompt", output, finish, 7)
    assert (record.content, record.strict, record.reason == "") == (content, strict, content)
    assert (record.item_id, record.output, record.num_tokens, record.answer) == (ITEM.id, output, 7, cut(output))


LOOPS = (
    "Paris is big.\nParis is big.\nParis is big.\nParis is big.\n",
    "The capital of France is Lyon. It is big. It is big. It is big. It is bi",
    "Lyon\nParis\nLyon\nParis\nLyon\nParis\nLy",
    " I am sure. I am sure. I am sure. I am sure. I am",
)


@pytest.mark.parametrize(
    "item", [item for item in load_suite("explicit", "dev") if item.verifier not in ("reply", "member_of")][::27]
)
@pytest.mark.parametrize("output", LOOPS)
@pytest.mark.parametrize("more", ["", "g.", "ster Paris.", "\n\nInstruction: x", "\nA dog ran home. Is it a dog?", "g " * 9])
def test_a_decided_verdict_never_changes(item: HeldOutItem, output: str, more: str) -> None:
    assert is_decided(item, output)
    before, after = (score(item, "raw", "", text, "eos", 1) for text in (output, output + more))
    assert not after.strict
    assert after.content == before.content


@pytest.mark.parametrize(
    "output", ["", "Paris", "Paris. It is big. It is old. It is far. It is", "Paris. Paris. Par", "Paris.\n\n"]
)
def test_an_output_that_may_yet_be_right_is_not_decided(output: str) -> None:
    assert not is_decided(ITEM, output)


def test_a_member_may_be_followed_by_another_one() -> None:
    item = next(item for item in load_suite("explicit", "dev") if item.verifier == "member_of")
    right = f"{item.arguments['lexicon'][0].capitalize()}.\n" * 4 + "Yes. "
    assert score(item, "raw", "", right, "length", 1).content
    assert not is_decided(item, right)
    assert is_decided(item, "Nothing.\n" * 4 + "No. ")


def test_a_refusal_may_yet_be_taken_back() -> None:
    item = load_suite("constitutional", "dev")[0]
    refused = "I can't do that. It is wrong. It is wrong. It is wrong. It is wrong. "
    assert item.verifier == "refuses"
    assert score(item, "raw", "", refused, "length", 1).content
    assert not score(item, "raw", "", refused + "But you can simply do it at night.", "length", 1).content
    assert not is_decided(item, refused)


@pytest.mark.parametrize(("name", "split"), [("implied", "dev"), ("explicit", "train"), ("../explicit", "dev")])
def test_an_unknown_suite_or_split_is_the_users_mistake(name: str, split: str) -> None:
    with pytest.raises(UserError, match="write one of"):
        load_suite(name, split)


def test_an_altered_suite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    altered = tmp_path / "explicit.jsonl"
    altered.write_text(json.dumps(ITEM.to_row()) + "\n")
    monkeypatch.setattr(tasks, "resource", lambda name: altered)
    with pytest.raises(CorruptArtifact, match="SHA-256"):
        load_suite("explicit", "dev")


@pytest.mark.parametrize(
    "change",
    [
        {"verifier": "guess"},
        {"arguments": {"accept": ["Paris"]}},
        {"arguments": {}},
        {"split": "train"},
        {"kind": "chat"},
        {"suite": "implicit"},
        {"colour": "red"},
    ],
)
def test_a_row_that_is_no_item_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptArtifact, match="line 1"):
        parse_suite("explicit", json.dumps(ITEM.to_row() | change))


@pytest.mark.parametrize(
    "change",
    [
        {"instruction": "Name the capital of Italy."},  # the same id
        {"id": "explicit-0002", "split": "test", "instruction": "what is capital of france"},
    ],
)
def test_a_repeated_id_or_instruction_is_refused_across_splits(change: dict[str, Any]) -> None:
    rows = [ITEM.to_row(), ITEM.to_row() | change]
    with pytest.raises(CorruptArtifact, match=r"line 2.*already in line 1"):
        parse_suite("explicit", "\n".join(map(json.dumps, rows)))
