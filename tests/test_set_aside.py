"""One bad record costs that record: it is set aside with its reason and counted, and too many of them stop the step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from data_path import given, prompt, some_model
from scripted import ScriptedEngine, ScriptedSession, instruction_of

from cai_bootstrap import engines
from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines.engine import Generation, GenerationRequest, OnDone
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import RecordError, StepFailed, UserError
from cai_bootstrap.evals import tasks
from cai_bootstrap.records import EvalRecord, Prompt
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.evaluate import score_outputs, write_outputs
from cai_bootstrap.steps.filter import keep_best
from cai_bootstrap.steps.generate import draft_candidates
from cai_bootstrap.steps.judge import judge_candidates
from cai_bootstrap.steps.shards import by_shards
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run, Work, step
from cai_bootstrap.store.runner import bind

SEEDS = load_seeds("explicit")
Rows = list[dict[str, Any]]


def session(share: float = 0.5) -> Session:
    return Session(EngineConfig(device="cpu", dtype="float32", batch_size=1, threads=1, max_failed_share=share))


def shouted(part: list[str], seeds: list[int]) -> Rows:
    """Texts in capitals; one with a digit cannot be processed."""
    if any(character.isdigit() for text in part for character in text):
        raise RecordError("it holds a digit")
    return [{"text": text.upper()} for text in part]


@step(version=1)
def shout(work: Work, texts: list[str], share: float, instead: bool = False) -> None:
    rows = by_shards(
        work,
        session(share),
        "shouting",
        texts,
        len(texts),
        shouted,
        name=lambda text: f"<{text}>",
        instead=(lambda text: [{"text": ""}]) if instead else None,
    )
    work.write_rows("records.jsonl", rows)


def run_shout(root: Path, texts: Sequence[str], share: float = 0.5, **more: Any) -> Artifact:
    values = {"texts": list(texts), "share": share, **more}
    with Run(root, "default") as run:
        return run.step("explicit", "drafts", shout, settings={"shard_size": 4}, values=values, seed=1)


TEXTS = ["a", "b", "c", "d", "e", "f4", "g", "h", "i"]


def test_a_bad_record_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    made = run_shout(tmp_path, TEXTS)
    assert [row["text"] for row in made.rows()] == ["A", "B", "C", "D", "E", "G", "H", "I"]
    assert made.rows("dropped.jsonl") == [{"id": "<f4>", "reason": "failed: it holds a digit"}]
    assert made.manifest["warnings"] == ["1 of 9 records failed and were set aside (shouting); the first: it holds a digit"]


def test_in_its_place_may_stand_something_else(tmp_path: Path) -> None:
    made = run_shout(tmp_path, TEXTS, instead=True)
    assert [row["text"] for row in made.rows()] == ["A", "B", "C", "D", "E", "", "G", "H", "I"]
    assert len(made.rows("dropped.jsonl")) == 1


@pytest.mark.parametrize(("num_bad", "share", "stops"), [(2, 0.25, False), (3, 0.25, True), (1, 0.0, True), (0, 0.0, False)])
def test_too_many_bad_records_stop_the_step(tmp_path: Path, num_bad: int, share: float, stops: bool) -> None:
    texts = [f"{number}" if number < num_bad else chr(97 + number) for number in range(8)]
    if not stops:
        assert len(run_shout(tmp_path, texts, share).rows()) == 8 - num_bad
        return
    message = rf"{num_bad} of 8 records failed \(shouting\), more than engine.max_failed_share={share} allows; <0>: it holds a"
    with pytest.raises(StepFailed, match=message):
        run_shout(tmp_path, texts, share)
    # The next call is no way round the limit.
    with pytest.raises(StepFailed, match=message):
        run_shout(tmp_path, texts, share)


def test_what_failed_for_a_while_has_spoilt_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(part: list[str], seeds: list[int]) -> Rows:
        raise RecordError("the engine is down")

    whole = run_shout(tmp_path / "whole", ["a", "b", "c", "d", "e"])
    sound = shouted
    monkeypatch.setitem(globals(), "shouted", broken)
    with pytest.raises(StepFailed, match="3 of 5 records failed"):
        run_shout(tmp_path / "broken", ["a", "b", "c", "d", "e"])
    monkeypatch.setitem(globals(), "shouted", sound)
    after = run_shout(tmp_path / "broken", ["a", "b", "c", "d", "e"])
    assert after.rows() == whole.rows()
    assert not after.manifest["warnings"]


def test_what_fails_once_goes_well_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def failing_once(part: list[str], seeds: list[int]) -> Rows:
        calls.append(len(part))
        if len(calls) == 1:
            raise RecordError("a cosmic ray")
        return [{"text": text.upper()} for text in part]

    monkeypatch.setitem(globals(), "shouted", failing_once)
    made = run_shout(tmp_path, ["a", "b", "c", "d"])
    assert calls == [4, 2, 2]
    assert [row["text"] for row in made.rows()] == ["A", "B", "C", "D"]
    assert not made.manifest["warnings"]


class Choking(ScriptedEngine):
    """Can take no prompt that asks the one instruction, as if it were longer than the context."""

    def __init__(self, instruction: str, *, scoring: bool = False) -> None:
        super().__init__()
        self.instruction, self.scoring = instruction, scoring

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        self._take([request.prompt for request in requests] if not self.scoring else [])
        return super().generate(requests, on_done)

    def completion_logprobs(self, pairs: Sequence[tuple[str, str]], on_done: OnDone | None = None) -> list[tuple[float, int]]:
        self._take([asked for asked, _ in pairs])
        return super().completion_logprobs(pairs, on_done)

    def _take(self, prompts: Sequence[str]) -> None:
        if any(self.instruction in text.rsplit("Instruction:", 1)[-1] for text in prompts):
            raise RecordError("a prompt needs 9000 tokens, the model's context is 8192")


PROMPTS = [prompt(kind, instruction_of(kind, str(n)), f"p{n}") for n, kind in enumerate(["generate"] * 6)]


def kept(root: Path, engine: ScriptedEngine, prompts: Sequence[Prompt] = PROMPTS) -> dict[str, Artifact]:
    """Candidates, verdicts and kept answers of the prompts."""
    scripted = ScriptedSession(engine)
    scripted.config.max_failed_share = 0.2
    settings: dict[str, Any] = {"num_candidates": 2, "sampling": {"temperature": 0.7, "max_tokens": 32}, "shard_size": 4}
    methods = {"generate": "relevance"}
    with Run(root, "r") as run:
        made = {
            "model": some_model(run),
            "instructions": given(run, "instructions", records__jsonl=[p.to_row() for p in prompts]),
        }

        def make(name: str, function: Any, inputs: Sequence[str], settings: dict[str, Any], **values: Any) -> None:
            named = {key: made[key] for key in inputs}
            made[name] = run.step("explicit", name, function, settings=settings, inputs=named, values=values, seed=1)

        with_model = ("model", "instructions")
        shots = {"shots": SEEDS["shots"]}
        make("candidates", bind(draft_candidates, session=scripted), with_model, settings, **shots)
        judging = {"methods": methods, "shard_size": 4}
        judge = bind(judge_candidates, session=scripted)
        make("verdicts", judge, (*with_model, "candidates"), judging, principles=[["p", "Be kind."]], **shots)
        keeping = {"methods": methods, "min_scores": {"relevance": -1e9}}
        make("kept", keep_best, ("instructions", "candidates", "verdicts"), keeping)
    return made


@pytest.mark.parametrize("scoring", [False, True])
def test_the_other_instructions_go_on_to_be_kept(tmp_path: Path, scoring: bool) -> None:
    bad = PROMPTS[2]
    whole = kept(tmp_path / "whole", ScriptedEngine())
    made = kept(tmp_path / "choked", Choking(bad.instruction, scoring=scoring))
    assert bad.id in {row["prompt_id"] for row in whole["kept"].rows()}
    expected = {row["prompt_id"]: row["text"] for row in whole["kept"].rows() if row["prompt_id"] != bad.id}
    assert {row["prompt_id"]: row["text"] for row in made["kept"].rows()} == expected
    assert made["verdicts" if scoring else "candidates"].manifest["warnings"]
    (dropped,) = [row for row in made["kept"].rows("dropped.jsonl") if row["prompt_id"] == bad.id and row["text"] is None]
    assert dropped["reason"] == f"no fit candidate ({'not judged' if scoring else 'none'})"


def test_a_held_out_item_over_the_context_counts_as_unanswered(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = tasks.load_suite("explicit", "dev")[:12]
    items[5] = dataclasses.replace(items[5], instruction="What is this? " + "sun " * 5000)
    monkeypatch.setattr(tasks, "load_suite", lambda suite, split: items)
    config = EngineConfig(in_process=True, device="cpu", dtype="float32", batch_size=4, threads=1, max_failed_share=0.1)
    with Run(tmp_path, "r") as run, Session(config) as real:
        real.engine = lambda folder: engines.start(config, tiny_model)  # type: ignore[method-assign]
        outputs = run.step(
            "explicit",
            "eval-outputs",
            bind(write_outputs, session=real),
            settings={"max_tokens": 8, "shard_size": 5},
            inputs={"model": some_model(run)},
            values={"suite": "explicit", "split": "dev", "arm": "cued", "shots": []},
            seed=1,
        )
        values = {"suite": "explicit", "split": "dev", "suite_sha256": "s"}
        scored = run.step("explicit", "eval", score_outputs, settings={}, inputs={"outputs": outputs}, values=values, seed=1)
    assert [row["item_id"] for row in outputs.rows()] == [item.id for item in items]
    records = [EvalRecord.from_row(row) for row in scored.rows()]
    assert [record.finish == "failed" for record in records] == [number == 5 for number in range(12)]
    assert not records[5].content
    assert not records[5].strict
    assert "the model's context is 3072" in outputs.manifest["warnings"][0]


class Quantized(ScriptedEngine):
    @property
    def description(self) -> dict[str, str | int | float]:
        return {**super().description, "quantization": "fp8"}


def test_other_weights_than_the_merged_are_told(tmp_path: Path) -> None:
    told = "served by weights in fp8, which differ from those that were trained and merged"
    assert kept(tmp_path / "other", Quantized())["candidates"].manifest["warnings"] == [told]
    assert kept(tmp_path / "same", ScriptedEngine())["candidates"].manifest["warnings"] == []


def test_a_share_is_a_share() -> None:
    with pytest.raises(UserError, match=r"engine.max_failed_share=1.5 is not valid"):
        session(1.5)
