"""A larger token limit writes anew only what was cut, and comes to what it would have come to from the start."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from data_path import given, prompt, some_model

from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines.engine import Generation, GenerationRequest, OnDone
from cai_bootstrap.engines.session import Session
from cai_bootstrap.engines.transformers import TransformersEngine
from cai_bootstrap.errors import UserError
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.evaluate import write_outputs
from cai_bootstrap.steps.generate import draft_candidates
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run, Work, step
from cai_bootstrap.store.runner import bind

SHOTS = load_seeds("explicit")["shots"]
PROMPTS = [prompt("answer", f"What is it that number {n} says to number {n + 1}?", f"p{n}") for n in range(12)]
PROMPTS += [prompt("respond", f"Reply to: {name} is here.", f"r{n}") for n, name in enumerate(("Anna", "Ben", "Carl"))]


class Counting(TransformersEngine):
    """The real engine, which keeps what it was asked; its answers end early now and then."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, device="cpu", dtype="float32", batch_size=4, threads=1)
        self.asked: list[GenerationRequest] = []

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        self.asked += requests
        made = super().generate(requests, on_done)
        # A random model never ends by itself: after every third prompt this one does, at its fourth token.
        ends = [zlib.crc32(request.prompt.encode()) % 3 == 0 for request in requests]
        return [
            dataclasses.replace(each, text=each.text[:4], token_ids=each.token_ids[:4], finish="eos", logprob=-4.0)
            if end
            else each
            for each, end in zip(made, ends, strict=True)
        ]


class CountingSession(Session):
    """Hands out one engine."""

    def __init__(self, engine: Counting) -> None:
        super().__init__(EngineConfig(device="cpu", dtype="float32", batch_size=4, threads=1, in_process=True))
        self.counting = engine

    def engine(self, folder: Path) -> Counting:
        return self.counting


@pytest.fixture
def engine(tiny_model: Path) -> Counting:
    return Counting(tiny_model)


def evaluated(root: Path, engine: Counting, max_tokens: int) -> Artifact:
    with Run(root, "r") as run:
        return run.step(
            "explicit",
            "eval-outputs",
            bind(write_outputs, session=CountingSession(engine)),
            settings={"max_tokens": max_tokens, "shard_size": 16, "num_items": 40},
            inputs={"model": some_model(run)},
            values={"suite": "explicit", "split": "dev", "arm": "cued", "shots": []},
            seed=1,
        )


def drafted(root: Path, engine: Counting, max_tokens: int, temperature: float = 0.9) -> Artifact:
    with Run(root, "r") as run:
        return run.step(
            "explicit",
            "candidates",
            bind(draft_candidates, session=CountingSession(engine)),
            settings={
                "num_candidates": 4,
                "sampling": {"temperature": temperature, "max_tokens": max_tokens},
                "shard_size": 8,
            },
            inputs={
                "model": some_model(run),
                "instructions": given(run, "instructions", records__jsonl=[each.to_row() for each in PROMPTS]),
            },
            values={"shots": SHOTS},
            seed=1,
        )


@pytest.mark.parametrize("make", [evaluated, drafted])
def test_only_what_was_cut_is_written_anew_and_the_same_comes_of_it(tmp_path: Path, engine: Counting, make: Any) -> None:
    small, large, by = (6, 24, "item_id") if make is evaluated else (12, 24, "prompt_id")
    short = make(tmp_path / "grown", engine, small)
    cut = {row[by] for row in short.rows() if row["finish"] == "length"}
    whole = {row[by] for row in short.rows()} - cut
    assert cut
    assert whole, "this shows nothing where every text is cut"
    engine.asked.clear()
    grown = make(tmp_path / "grown", engine, large)
    num_each = 1 if make is evaluated else 4
    assert len(engine.asked) == num_each * len(cut)
    assert grown.manifest["grown_from"] == short.digest
    fresh = make(tmp_path / "fresh", engine, large)
    assert grown.digest == fresh.digest
    for one, other in zip(grown.rows(), fresh.rows(), strict=True):
        assert one.pop("logprob", 0) == pytest.approx(other.pop("logprob", 0), rel=1e-5)  # sums of another batch
        assert one == other
    assert "grown_from" not in fresh.manifest


def test_another_setting_or_a_smaller_limit_takes_nothing_over(tmp_path: Path, engine: Counting) -> None:
    drafted(tmp_path, engine, 12)
    assert "grown_from" not in drafted(tmp_path, engine, 40, temperature=0.8).manifest
    assert "grown_from" not in drafted(tmp_path, engine, 6).manifest
    # Of several the largest.
    middle = drafted(tmp_path, engine, 20)
    assert drafted(tmp_path, engine, 24).manifest["grown_from"] == middle.digest


def test_a_damaged_shorter_artifact_is_not_taken_over(tmp_path: Path, engine: Counting) -> None:
    short = drafted(tmp_path, engine, 12)
    (short.path / "manifest.json").write_text("{")
    assert "grown_from" not in drafted(tmp_path, engine, 20).manifest


def test_a_step_grows_with_one_of_its_settings(tmp_path: Path) -> None:
    @step(version=1, grows="sampling.max_tokens")
    def nothing(work: Work) -> None: ...

    with Run(tmp_path, "r") as run, pytest.raises(UserError, match=r"'sampling.max_tokens', which is none of its settings"):
        run.step("explicit", "candidates", nothing, settings={"sampling": 3}, seed=1)


def test_an_artifact_of_an_earlier_version_is_not_looked_at(tmp_path: Path) -> None:
    def write(work: Work) -> None:
        work.write_json("content.json", None)

    with Run(tmp_path, "r") as run:
        run.step("explicit", "drafts", step(version=1)(write), settings={}, seed=1)
        made = run.step("explicit", "drafts", step(version=2, grows="max_tokens")(write), settings={"max_tokens": 4}, seed=1)
    assert "grown_from" not in made.manifest
