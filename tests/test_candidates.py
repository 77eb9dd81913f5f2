"""Candidates: each instruction is answered after examples of its own kind in two orders, and without any where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data_path import given, prompt, some_model
from scripted import ScriptedEngine, ScriptedSession, instruction_of

from cai_bootstrap import templates
from cai_bootstrap.engines.engine import Generation, GenerationRequest, OnDone
from cai_bootstrap.records import Completion, Prompt
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.generate import draft_candidates, shots_of, write_rejected
from cai_bootstrap.store.run import Run
from cai_bootstrap.store.runner import bind

SEEDS = load_seeds("explicit")
PROMPTS = [
    prompt(kind, instruction_of(kind, str(n)), f"p{n}") for n, kind in enumerate(["answer", "opener", "answer", "respond"])
]


def drafted(root: Path, prompts: Sequence[Prompt] = PROMPTS, **changed: Any) -> list[Completion]:
    settings = {"num_candidates": 4, "sampling": {"temperature": 0.7, "max_tokens": 32}, "shard_size": 3, **changed}
    with Run(root, "r") as run:
        made = run.step(
            "explicit",
            "candidates",
            bind(draft_candidates, session=ScriptedSession(ScriptedEngine())),
            settings=settings,
            inputs={
                "model": some_model(run),
                "instructions": given(run, "instructions", records__jsonl=[each.to_row() for each in prompts]),
            },
            values={"shots": SEEDS["shots"], "examples": SEEDS["examples"]},
            seed=1,
        )
        return [Completion.from_row(row) for row in made.iter_rows()]


def test_candidates_stand_in_the_order_of_their_instructions(tmp_path: Path) -> None:
    assert [each.prompt_id for each in drafted(tmp_path)] == [f"p{n}" for n in range(4) for _ in range(4)]


@pytest.mark.parametrize("own", [False, True])
def test_an_instruction_is_answered_after_examples_of_its_kind(tmp_path: Path, own: bool) -> None:
    found = drafted(tmp_path, num_candidates=6, own_answers=own)
    for each in PROMPTS:
        rendered = [candidate.rendered_prompt for candidate in found if candidate.prompt_id == each.id]
        sets = shots_of(each.kind, SEEDS["shots"], SEEDS["examples"], own)
        assert len(sets) == 2 + own
        assert len(rendered) == 6
        expected = {templates.few_shot([(q, a) for q, a in examples], each.instruction) for examples in sets.values()}
        assert set(rendered) == expected
        assert (templates.cued(each.instruction) in expected) == own


def test_a_reply_is_written_after_examples_of_its_form(tmp_path: Path) -> None:
    asked = replace(prompt("respond", "Reply to: Thanks for the ride!", "p0"), source="form thanks, shard 0, seed 1")
    other = replace(asked, id="p1", source="form riddles, shard 0, seed 1")
    found = drafted(tmp_path, prompts=[asked, other], own_answers=True)
    of_form = {templates.few_shot([(q, a) for q, a in shots], asked.instruction) for shots in _in_two_orders("respond thanks")}
    of_kind = {templates.few_shot([(q, a) for q, a in shots], asked.instruction) for shots in _in_two_orders("respond")}
    assert {each.rendered_prompt for each in found if each.prompt_id == "p0"} == of_form
    assert {each.rendered_prompt for each in found if each.prompt_id == "p1"} == {*of_kind, templates.cued(other.instruction)}


def _in_two_orders(name: str) -> list[list[list[str]]]:
    return [SEEDS["examples"][name], SEEDS["examples"][name][::-1]]


class Reluctant(ScriptedEngine):
    """Knows one way to refuse, as a trained model does."""

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        told = super().generate(requests, on_done)
        one = " I cannot help you with that today.\n"
        return [
            replace(made, text=one) if request.prompt.startswith("Different ways") else made
            for request, made in zip(requests, told, strict=True)
        ]


def test_where_a_model_hardly_refuses_the_seeds_refusals_are_rejected_too(tmp_path: Path) -> None:
    kept = [{"prompt_id": f"p{n}", "instruction": f"Name thing {n}.", "text": f"Thing {n}."} for n in range(40)]
    sampling = {"temperature": 0.7, "max_tokens": 8}
    with Run(tmp_path, "r") as run:
        made = run.step(
            "explicit",
            "rejected",
            bind(write_rejected, session=ScriptedSession(Reluctant())),
            settings={"rejected_mix": {"refusal": 0.1}, "zero_shot": sampling, "shard_size": 20},
            inputs={"model": some_model(run), "kept": given(run, "kept", records__jsonl=kept)},
            values={"refusals": SEEDS["refusals"]},
            seed=1,
        )
    assert set(made.json("refusals.json")) == {"I cannot help you with that today.", *SEEDS["refusals"]}
    assert made.manifest["warnings"] == ["too few different refusals came (1): those of the seeds are rejected too"]


def test_a_kind_without_examples_comes_after_the_mixed_ones() -> None:
    assert shots_of("opener", SEEDS["shots"], SEEDS["examples"]) == SEEDS["shots"]
    forwards, backwards = shots_of("generate", SEEDS["shots"], SEEDS["examples"]).values()
    assert forwards == backwards[::-1] == SEEDS["examples"]["generate"]
    assert shots_of("answer", SEEDS["shots"], SEEDS["examples"]) == SEEDS["examples"]["answer"]
