"""Making instructions, with a scripted engine in place of a model."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from data_path import (
    HELDOUT,
    INSTRUCTIONS,
    KINDS,
    LEAK,
    NO_QUESTION,
    ONE_FORM,
    some_model,
)
from scripted import ScriptedEngine, ScriptedSession, instruction_of, invented

from cai_bootstrap.config import to_dict
from cai_bootstrap.engines.engine import GenerationRequest
from cai_bootstrap.errors import StepFailed, UserError
from cai_bootstrap.records import Prompt
from cai_bootstrap.steps.duplicates import DuplicateIndex, content_words
from cai_bootstrap.steps.prompts import _Pool, make_instructions, parse_list
from cai_bootstrap.steps.wellformed import malformed
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run
from cai_bootstrap.store.runner import bind

# ---- instructions


def test_a_list_is_read_as_far_as_its_numbers_go() -> None:
    assert parse_list(" one\n10. two\n11. three", 9) == ["one", "two", "three"]
    assert parse_list(" one\n11. two", 9) == ["one"]  # a number is missing
    assert parse_list(" one\nand so on\n10. two", 9) == ["one"]
    assert parse_list(" one\n\n10. two", 9) == ["one"]
    assert parse_list(" one\n10.\n11. three", 9) == ["one"]  # an empty entry
    assert parse_list("", 9) == []
    assert parse_list("\n9. one", 9) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("answer", "What is a window made of?"),
        ("answer", "Answer this: Where do you buy bread?"),
        ("answer", "Name the planet that is nearest to the sun."),
        ("answer", "Is a rose a flower or an animal?"),
        ("question", "Is lead light or heavy?"),
        ("answer", "Which is heavier, a bus or a bicycle?"),
        ("complete", "Complete: Bread and"),
        ("complete", "Finish the sentence: To open the door, I need a"),
        ("complete", "Complete: Five, six, seven,"),
        ("generate", "Generate a sentence with the word garden."),
        ("generate", "Generate a title for a story about a lost ring."),
        ("respond", "Respond to: My cat is ill."),
        ("write_fact", "Write a fact about bees."),
        ("write_request", "Politely ask a friend to bring some firewood."),
        ("write_example", "Write an example of a warning about a dog."),
        *((kind, instruction_of(kind, "x")) for kind in KINDS),
    ],
)
def test_a_good_instruction_is_taken(kind: str, text: str) -> None:
    assert malformed(kind, text, INSTRUCTIONS) == ""


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("answer", "What?", "too short"),
        ("answer", "What is " + "very " * 30 + "old?", "too long"),
        ("answer", "Complete: Bread and", "wrong opening for its kind"),
        ("answer", "What is in <b>bold</b> type?", "malformed"),
        ("answer", "What does naïve mean in English?", "malformed"),
        ("answer", "What is the animal in the picture?", "needs context"),
        ("answer", "What is red, what is red, what is red?", "loop"),
        ("answer", "What is the colour of coal", "not a question"),
        ("answer", "What is red? What is blue?", "not a question"),
        ("answer", "What is your name called?", "personal or unclear reference"),
        ("answer", "Is a guitar or a piano?", "asks about no property"),
        ("question", "Which is a dog or a chicken?", "asks about no property"),
        ("answer", "Is it a cat or a dog?", "asks about no property"),
        ("answer", "Which is the best summer holiday?", "a matter of taste"),
        ("complete", "Complete: Bread", "nothing to complete"),
        ("complete", "Complete: Bread and butter.", "nothing to complete"),
        ("complete", "Complete: It is", "open to any ending"),
        ("complete", "What is bread?", "wrong opening for its kind"),
        ("generate", "Generate a sentence", "malformed"),
        ("generate", "Write a poem about the sea.", "asks for a long text"),
        ("generate", "Describe your house in one sentence.", "personal or unclear reference"),
        ("generate", "Respond to: Hello there!", "wrong opening for its kind"),
        ("respond", "Respond to: Hello", "too short"),
        ("respond", "Respond to: good evening", "too short"),
        ("respond", "Hello there!", "wrong opening for its kind"),
        ("write_fact", "Make up a question about bees.", "asks for another type"),
        ("write_fact", "Say a false statement about the ocean.", "asks for something untrue"),
        ("write_instruction", "Make up a statement about wood.", "asks for another type"),
        ("write_request", "Make a wish for a beautiful day.", "asks for another type"),
        ("write_question", "Sing a song about bees.", "asks for a long text"),
    ],
)
def test_a_bad_instruction_is_dropped_with_its_reason(kind: str, text: str, reason: str) -> None:
    assert malformed(kind, text, INSTRUCTIONS) == reason


def instruct(run: Run, engine: ScriptedEngine, **changed: Any) -> Artifact:
    settings = {**to_dict(dataclasses.replace(INSTRUCTIONS, **changed)), "engine": "scripted", "dtype": "auto"}
    return run.step(
        "explicit",
        "instructions",
        bind(make_instructions, session=ScriptedSession(engine)),
        settings=settings,
        inputs={"model": some_model(run)},
        values={"seeds": ONE_FORM, "heldout": HELDOUT, "previous": [instruction_of("complete", "earlier")]},
        seed=1,
    )


def test_instructions_are_new_unique_and_spread(tmp_path: Path) -> None:
    # What must not come through stands in every list: a held-out item, an earlier round's, one topic again and again.
    spoil = [LEAK, instruction_of("complete", "earlier"), NO_QUESTION]
    spoil += [f"Complete: The {invented(f'rival {n}')} likes honey and" for n in range(6)]
    with Run(tmp_path, "r") as run:
        made = instruct(run, ScriptedEngine(spoil=spoil), max_share_per_topic=0.05)
    prompts = [Prompt.from_row(row) for row in made.rows()]
    assert Counter(prompt.kind for prompt in prompts) == {"answer": 14, "complete": 12, "generate": 10, "respond": 4}
    assert len({prompt.id for prompt in prompts}) == len(prompts) == 40
    known = DuplicateIndex(INSTRUCTIONS.near_duplicate_similarity)
    known.add([*HELDOUT, *(text for forms in ONE_FORM.values() for text in forms["any"])])
    for prompt in prompts:
        assert malformed(prompt.kind, prompt.instruction, INSTRUCTIONS) == ""
        assert known.find(prompt.instruction) == ""
        known.add([prompt.instruction])
    topics = Counter(word for prompt in prompts for word in content_words(prompt.instruction))
    assert topics["honey"] == 2 == max(topics.values())
    dropped = made.rows("dropped.jsonl")
    reasons = Counter(row["reason"] for row in dropped)
    for reason in (
        "held-out (exact)",
        "duplicate (exact)",
        "topic is full",
        "enough of this kind",
        "wrong opening for its kind",
    ):
        assert reasons[reason] > 0, reasons
    assert all(row["instruction"] != LEAK for row in made.rows())


def test_a_line_counts_for_the_form_that_it_has() -> None:
    forms = {"question": ["Write a question about oaks."], "title": ["Write a title for a book."], "word": ["Give one word."]}
    pool = _Pool(INSTRUCTIONS, DuplicateIndex(0.7), {"generate": forms}, [])
    assert pool.form_of("generate", "Write a question about elms.", "title") == "question"
    assert pool.form_of("generate", "Write a poem about elms.", "title") == "title"
    assert pool.form_of("generate", "Name a tree.", "word") == "word"


def test_two_forms_on_one_thing_are_two_tasks() -> None:
    forms = {"question": ["Write a question about oaks."], "sentence": ["Describe a pear in one sentence."]}
    seeds = {"generate": forms, "answer": {"trees": ["What is an elm?"], "plants": ["Which tree has acorns?"]}}
    config = dataclasses.replace(INSTRUCTIONS, kind_shares={"generate": 0.5, "answer": 0.5}, num_instructions=200)
    pool = _Pool(config, DuplicateIndex(0.7), seeds, [])
    assert pool.take("generate", "sentence", "Describe a lake in one sentence.") == ""
    assert pool.take("generate", "question", "Write a question about a lake.") == ""
    assert pool.take("generate", "question", "Make up a question about lakes.").startswith("duplicate")
    assert pool.take("generate", "question", "Describe a lake in one sentence.") == "duplicate (exact)"
    assert pool.take("generate", "question", "Make up a question about oaks.").startswith("duplicate")
    assert pool.take("answer", "trees", "Where do beeches grow?") == ""
    assert pool.take("answer", "plants", "Where do the beeches grow?").startswith("duplicate")


class Drifting(ScriptedEngine):
    """Asked for any text, it goes on with sentences, as a base model does."""

    def entries(self, request: GenerationRequest) -> list[str]:
        return [
            f"Write a sentence with the word {invented(text)}." if text.startswith("Describe") else text
            for text in super().entries(request)
        ]


def test_no_form_takes_over_its_kind(tmp_path: Path) -> None:
    seeds = {
        **ONE_FORM,
        "generate": {"sentence": ["Write a sentence with the word oak."], "question": ["Write a question about oaks."]},
    }
    even = {"answer": 0.3, "complete": 0.3, "generate": 0.3, "respond": 0.1}
    with Run(tmp_path, "r") as run, pytest.raises(StepFailed, match="new and well formed"):
        run.step(
            "explicit",
            "instructions",
            bind(make_instructions, session=ScriptedSession(Drifting())),
            settings={**to_dict(dataclasses.replace(INSTRUCTIONS, kind_shares=even)), "engine": "scripted", "dtype": "auto"},
            inputs={"model": some_model(run)},
            values={"seeds": seeds, "heldout": [], "previous": []},
            seed=1,
        )


def test_a_model_that_repeats_itself_fails_at_the_yield_floor(tmp_path: Path) -> None:
    with Run(tmp_path, "r") as run, pytest.raises(StepFailed, match=r"floor of 3.0%.*add seeds"):
        instruct(run, ScriptedEngine(stubborn=True), requests_per_shard=60)


class OneMessage(ScriptedEngine):
    """Knows a single message to reply to."""

    def entries(self, request: GenerationRequest) -> list[str]:
        return ["Respond to: A bear has a kite." if text.startswith("Respond") else text for text in super().entries(request)]


def test_a_pool_that_runs_dry_at_the_very_end_is_a_warning(tmp_path: Path) -> None:
    shares = {"answer": 0.3, "complete": 0.34, "generate": 0.32, "respond": 0.04}
    with Run(tmp_path, "r") as run:
        made = instruct(run, OneMessage(), num_instructions=50, kind_shares=shares)
    assert made.manifest["num_records"] == 49
    (warning,) = made.manifest["warnings"]
    assert warning.endswith("49 of 50 instructions were kept")


def test_an_empty_seed_pool_is_the_users_mistake(tmp_path: Path) -> None:
    with Run(tmp_path, "r") as run, pytest.raises(UserError, match="no instructions of kind 'respond'"):
        run.step(
            "explicit",
            "instructions",
            bind(make_instructions, session=ScriptedSession(ScriptedEngine())),
            settings=to_dict(INSTRUCTIONS),
            inputs={"model": some_model(run)},
            values={"seeds": {**ONE_FORM, "respond": {"any": []}}, "heldout": [], "previous": []},
            seed=1,
        )


def test_instructions_resume_where_they_stopped(tmp_path: Path) -> None:
    whole = ScriptedEngine()
    with Run(tmp_path / "whole", "r") as run:
        expected = instruct(run, whole, requests_per_shard=2)
    assert len(whole.calls) > 3
    with Run(tmp_path / "torn", "r") as run, pytest.raises(RuntimeError, match="killed here"):
        instruct(run, ScriptedEngine(fail_at_call=2), requests_per_shard=2)
    second = ScriptedEngine()
    with Run(tmp_path / "torn", "r") as run:
        resumed = instruct(run, second, requests_per_shard=2)
    assert second.calls == whole.calls[2:]  # shards 0 and 1 were not asked for again, and the rest saw what they kept
    for file in ("records.jsonl", "dropped.jsonl"):
        assert resumed.read(file) == expected.read(file)
