"""The data path, step by step and as one, with a scripted engine in place of a model."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine, ScriptedSession, answer_to, instruction_of, invented

from cai_bootstrap import stages, templates
from cai_bootstrap.__main__ import compose_job
from cai_bootstrap.config import Config, SelectionMethod, to_dict
from cai_bootstrap.errors import JudgeError, StepFailed, UserError
from cai_bootstrap.evals import english, tasks
from cai_bootstrap.pipeline import Outcome, bind, bootstrap
from cai_bootstrap.records import Completion, FinishReason, Prompt, Verdict
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.duplicates import DuplicateIndex, content_words
from cai_bootstrap.steps.evaluate import draw
from cai_bootstrap.steps.filter import keep_best, unfit
from cai_bootstrap.steps.judge import agreement, answer_key, calibrate, critic_margins, relevance
from cai_bootstrap.steps.pair import make_pairs, read_pairs
from cai_bootstrap.steps.prompts import _Pool, make_instructions, malformed, parse_list
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run, Work, step

KINDS = ("answer", "complete", "generate", "respond")
SEEDS = load_seeds("explicit")
# The scripted model continues every list in the same way, whatever its form.
ONE_FORM = {
    kind: {"any": [text for texts in forms.values() for text in texts]} for kind, forms in SEEDS["instructions"].items()
}
KNOWN = {question: answer for shots in SEEDS["shots"].values() for question, answer in shots}
HELDOUT = [item.instruction for split in tasks.SPLITS for item in tasks.load_suite("explicit", split)]
LEAK = next(text for text in HELDOUT if text.startswith("Which ") and 4 <= len(text.split()) <= 10)
NO_QUESTION = "Look at the picture below."


@functools.cache
def configured(num_instructions: int = 40, min_pairs: int = 15) -> Config:
    words = [f"stage.instructions.num_instructions={num_instructions}", f"stage.pairs.min_pairs={min_pairs}"]
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
        ("complete", "Complete: Bread and"),
        ("complete", "Finish the sentence: To open the door, I need a"),
        ("complete", "Complete: Five, six, seven,"),
        ("generate", "Generate a sentence with the word garden."),
        ("generate", "Generate a title for a story about a lost ring."),
        ("respond", "Respond to: My cat is ill."),
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
    assert Counter(prompt.kind for prompt in prompts) == {"answer": 12, "complete": 12, "generate": 12, "respond": 4}
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
    nothing = DuplicateIndex(0.7)
    pool = _Pool(INSTRUCTIONS, nothing, nothing, {"generate": forms})
    assert pool.form_of("generate", "Write a question about elms.", "title") == "question"
    assert pool.form_of("generate", "Write a poem about elms.", "title") == "title"
    assert pool.form_of("generate", "Name a tree.", "word") == "word"


def test_no_form_takes_over_its_kind(tmp_path: Path) -> None:
    # Asked for questions, the scripted model goes on with sentences, as a base model does.
    seeds = {
        **ONE_FORM,
        "generate": {"sentence": ["Write a sentence with the word oak."], "question": ["Write a question about oaks."]},
    }
    with Run(tmp_path, "r") as run, pytest.raises(StepFailed, match="new and well formed"):
        run.step(
            "explicit",
            "instructions",
            bind(make_instructions, session=ScriptedSession(ScriptedEngine())),
            settings={**to_dict(INSTRUCTIONS), "engine": "scripted", "dtype": "auto"},
            inputs={"model": some_model(run)},
            values={"seeds": seeds, "heldout": [], "previous": []},
            seed=1,
        )


def test_a_model_that_repeats_itself_fails_at_the_yield_floor(tmp_path: Path) -> None:
    with Run(tmp_path, "r") as run, pytest.raises(StepFailed, match=r"floor of 3.0%.*add seeds"):
        instruct(run, ScriptedEngine(stubborn=True), requests_per_shard=60)


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


# ---- judge


def test_answers_agree_when_they_say_the_same() -> None:
    asked = "What do bees make?"
    assert answer_key("Honey.", asked) == answer_key("It is the honey", asked) == {"honey"}
    said = ["Honey.", "It is honey.", "Wax.", "honey"]
    assert agreement("Honey.", said, asked) == 0.75
    assert agreement("Wax.", said, asked) == 0.25
    assert agreement("It is bees", ["It is bees"] * 4, asked) == 0.0


def test_relevance_is_the_gain_over_no_instruction() -> None:
    engine = ScriptedEngine({"Q?": "right"})
    likely, gain = relevance(engine, [("a", "b")], [("Q?", "right"), ("Q?", "wrong")])
    assert likely == [-1.0, -3.0]
    assert gain == [2.0, 0.0]


class Undefined(ScriptedEngine):
    """A model with damaged weights."""

    def choice_logprobs(self, prompts: Sequence[str], choices: Sequence[str], on_done: Any = None) -> list[tuple[float, ...]]:
        return [(math.nan, -1.0) for _ in prompts]


def test_the_critic_is_asked_in_both_orders() -> None:
    engine = ScriptedEngine({"Q?": "right"})
    (good, as_a, as_b), (bad, _, _) = critic_margins(engine, [("rule", "Q?", "right", "x"), ("rule", "Q?", "x", "right")])
    assert engine.num_scored == 4
    assert (as_a, as_b) == (4.0, -2.0)  # the letter A is preferred by 3: it cancels
    assert (good, bad) == (1.0, -1.0)
    with pytest.raises(JudgeError, match="not a number"):
        critic_margins(Undefined(), [("rule", "Q?", "right", "x")])


def calibrated(run: Run, engine: ScriptedEngine, methods: dict[str, str]) -> Artifact:
    config = configured().stage
    return run.step(
        "explicit",
        "calibration",
        bind(calibrate, session=ScriptedSession(engine)),
        settings={
            "methods": methods,
            "min_auc": config.selection.min_auc,
            "num_candidates": 4,
            "sampling": to_dict(config.responses.sampling),
        },
        inputs={"model": some_model(run)},
        values={
            "shots": SEEDS["shots"],
            "kinds": [[kind, list(words)] for kind, words in stages.load("explicit").kinds],
            "principles": ["Answer what was asked."],
        },
        seed=1,
    )


def test_calibration_measures_every_method(tmp_path: Path) -> None:
    with Run(tmp_path, "r") as run:
        made = calibrated(run, ScriptedEngine(KNOWN), dict.fromkeys(KINDS, "relevance"))
    table = made.json("calibration.json")
    assert set(table) == {method.value for method in SelectionMethod}
    for method in table.values():
        found = method["all"]
        assert found["num_bad"] == 2 * found["num_good"] == 64
        assert 0.6 < found["low"] < found["auc"]
        assert found["auc"] > 0.95
        assert found["useful"]
    assert {row["kind"] for row in made.rows()} == set(KINDS)


@pytest.mark.parametrize("method", ["relevance", "critic", "fewshot_logprob"])
def test_calibration_refuses_a_useless_method(tmp_path: Path, method: str) -> None:
    methods = {**dict.fromkeys(KINDS, "agreement"), "generate": method}
    with Run(tmp_path, "r") as run, pytest.raises(StepFailed, match=f"'{method}' does not separate.*AUC 0.50.*name another"):
        calibrated(run, ScriptedEngine(KNOWN, useless=True), methods)


# ---- filter


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


@pytest.mark.parametrize(
    ("kind", "instruction", "text", "reason"),
    [
        ("answer", "What do bees make?", "Bees make honey.", ""),
        ("answer", "What do bees make?", "", "empty"),
        ("answer", "What do bees make?", "Honey.\nResponse: Honey.", "forges a delimiter"),
        ("answer", "What do bees make?", "Honey <end_of_turn>", "forges a delimiter"),
        ("answer", "What do bees make?", "Honey ... and wax", "malformed"),
        ("answer", "What do bees make?", "honey honey honey", "loop"),
        ("answer", "What is a parrot?", "A parrot is a parrot.", "tautology"),
        ("answer", "What do bees make?", "I do not know.", "refusal"),
        ("answer", "What do bees make?", "What do bees make?", "echo"),
        ("answer", "What do bees make?", "Honey.\nWax.", "more than one line"),
        ("answer", "What do bees make?", "Honey. They also make wax.", "more than one sentence"),
        ("complete", "Complete: Bread and", "butter", ""),
        ("complete", "Complete: Bread and", "butter. It is good.", "more than one sentence"),
        ("complete", "Finish the saying: Yes we can", "Yes we can.", "says nothing of its own"),
        ("answer", "Is a potato a vegetable or an animal?", "A vegetable.", ""),
        ("generate", "Wish a friend a job in one sentence.", "I wish a friend a job.", "says nothing of its own"),
        ("generate", 'Use the word "road" in a sentence.', "He went home at night.", "does not use the word"),
        ("generate", 'Use the word "road" in a sentence.', "The road is long.", ""),
        ("generate", "Give an example of a river.", "A river is a body of water.", "more than was asked for"),
        ("generate", "Give an adjective for a bear.", "A bear is a big animal.", "more than was asked for"),
        ("respond", "Respond to: My cat is ill.", "I hope she gets well soon.", ""),
        ("respond", "Respond to: My cat is ill.", "Sad", "not a reply"),
        ("respond", "Respond to: My cat is ill.", "Oh, your cat is ill.", "repeats the message"),
        ("generate", "Generate a question about trains.", "How fast can a train go?", ""),
        ("generate", "Generate a question about trains.", "Trains are fast.", "not a question"),
        ("generate", "Generate a title for a story about a lost ring.", "The Ring That Rolled Away", ""),
        ("generate", "Generate a title for a story about a lost ring.", "It rolled away.", "not a title"),
        ("generate", "Generate the name of a vegetable.", "Cabbage", ""),
        ("generate", "Generate the name of a vegetable.", "A cabbage is green and tasty.", "more than was asked for"),
        ("generate", "Generate a sentence with the word garden.", "Roses grow in her garden.", ""),
        ("generate", "Generate a sentence with the word garden.", "The old garden", "not a sentence"),
        ("generate", "Generate a sentence with the word garden.", "Roses grow in the park.", "does not use the word"),
        ("generate", "Write one sentence about winter.", "The cat sleeps on the sofa.", "off topic"),
        ("generate", "Write one sentence about winter.", "Winter is cold. Lakes freeze. It snows.", "more than was asked for"),
    ],
)
def test_an_unfit_answer_has_a_reason(kind: str, instruction: str, text: str, reason: str) -> None:
    assert unfit(completion(text), prompt(kind, instruction)) == reason


def test_an_answer_cut_at_the_limit_is_unfit() -> None:
    cut = completion("Bees make honey.", "length")
    assert unfit(cut, prompt("answer", "What do bees make?")) == "cut at the token limit"


def test_at_most_one_answer_is_kept_and_every_drop_is_told(tmp_path: Path) -> None:
    prompts = [
        prompt("answer", "What do bees make?", "bees"),
        prompt("answer", "Who flies?", "fly"),
        prompt("answer", "Why?", "why"),
    ]
    texts = {"bees": ["Wax.", "Honey.", "I do not know."], "fly": ["A pilot."], "why": ["", ""]}
    values = {"bees": [0.5, 0.75, 0.9], "fly": [0.25], "why": [1.0, 1.0]}
    found = [completion(text, prompt_id=key, number=n) for key, group in texts.items() for n, text in enumerate(group)]
    scores = [
        Verdict(prompt_id=key, completion_id=f"{key}-{n}", scores={"agreement": score, "fewshot_logprob": -1.0})
        for key, group in values.items()
        for n, score in enumerate(group)
    ]
    with Run(tmp_path, "r") as run:
        kept = run.step(
            "explicit",
            "kept",
            keep_best,
            settings={"methods": {"answer": "agreement"}, "min_scores": {"agreement": 0.5}},
            inputs={
                "instructions": given(run, "i", records__jsonl=[one.to_row() for one in prompts]),
                "candidates": given(run, "c", records__jsonl=[one.to_row() for one in found]),
                "verdicts": given(run, "v", records__jsonl=[one.to_row() for one in scores]),
            },
            seed=1,
        )
    assert [(row["prompt_id"], row["text"], row["score"]) for row in kept.rows()] == [("bees", "Honey.", 0.75)]
    dropped = Counter((row["prompt_id"], row["reason"]) for row in kept.rows("dropped.jsonl"))
    assert dropped == {
        ("bees", "refusal"): 1,
        ("bees", "another candidate is better"): 1,
        ("fly", "agreement too low"): 1,
        ("why", "empty"): 2,
        ("why", "no fit candidate (empty)"): 1,
    }


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


def paired(run: Run, rows: list[dict[str, Any]], **changed: Any) -> Artifact:
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
        seed=1,
    )


ROWS = [kept_row(n, KINDS[n % 3]) for n in range(200)]


def test_pairs_follow_the_mix_and_teach_an_end_only_where_one_is(tmp_path: Path) -> None:
    with Run(tmp_path, "r") as run:
        made = paired(run, ROWS)
    pairs = read_pairs(made)
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
    assert told["rejected_kinds"] == dict(counts)


def test_an_echo_says_what_the_instruction_says(tmp_path: Path) -> None:
    mix = {"echo": 1.0}
    rows = [
        kept_row(n, kind, text)
        for n, (kind, text) in enumerate([("complete", "fork."), ("respond", "Well done!"), ("answer", "Honey")] * 6)
    ]
    with Run(tmp_path, "r") as run:
        pairs = read_pairs(paired(run, rows, rejected_mix=mix, max_identical_chosen=1.0))
    assert len(pairs) == 18
    for pair in pairs:
        said, asked = english.words(pair.rejected), english.words(pair.instruction)
        assert set(said) <= set(asked)
        assert pair.rejected_eos
        assert pair.rejected.endswith(".") == (pair.kind == "complete" or pair.instruction.endswith("."))


def test_a_wrong_number_replaces_a_number(tmp_path: Path) -> None:
    rows = [kept_row(n, "answer", f"It is {n + 10}.") for n in range(40)]
    with Run(tmp_path, "r") as run:
        made = paired(run, rows, rejected_mix={"factual": 1.0}, max_identical_chosen=1.0)
    for pair in read_pairs(made):
        right, wrong = (int("".join(filter(str.isdigit, text))) for text in (pair.chosen, pair.rejected))
        assert 0 < abs(right - wrong) <= 3


def test_no_answer_is_chosen_too_often(tmp_path: Path) -> None:
    rows = [kept_row(n, "answer", "Yes." if n % 2 else None) for n in range(100)]
    with Run(tmp_path, "r") as run:
        made = paired(run, rows, max_identical_chosen=0.05)
    pairs = read_pairs(made)
    common = Counter(pair.chosen for pair in pairs)[" Yes."]
    assert 1 < common <= 0.05 * 100
    reasons = Counter(row["reason"] for row in made.rows("dropped.jsonl"))
    assert reasons["this answer is chosen often enough"] == 50 - common


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
    import pandas as pd

    frame = pd.read_parquet(path)
    data = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
    wanted = (
        "id kind instruction prompt chosen rejected chosen_eos rejected_eos rejected_kind score selection principle provenance"
    )
    assert list(frame.columns) == data.column_names == wanted.split()
    assert len(frame) == data.num_rows == 200
    assert frame.chosen_eos.dtype == bool
    source = json.loads(frame.provenance[0])
    assert source["template"] == templates.digest()
    assert {"model", "sampling", "engine", "chosen_prompt", "chosen_seed", "rejected_source"} <= set(source)


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

STEPS = ["instructions", "candidates", "calibration", "verdicts", "kept", "rejected", "pairs"]


def all_pairs(root: Path, engine: ScriptedEngine) -> tuple[Run, Outcome]:
    outcome = Outcome()
    with Run(root, "r") as run:
        base = some_model(run)
        run.computed.clear()
        run.reused.clear()
        (root / "seeds.yaml").write_text(json.dumps({**SEEDS, "instructions": ONE_FORM}))
        config = configured()
        config = dataclasses.replace(config, stage=dataclasses.replace(config.stage, seeds=str(root / "seeds.yaml")))
        bootstrap(run, ScriptedSession(engine), config, stages.load("explicit"), base, outcome, "pairs", 1)
    return run, outcome


def test_the_data_path_makes_pairs_once(tmp_path: Path) -> None:
    run, first = all_pairs(tmp_path, ScriptedEngine(KNOWN, spoil=[LEAK]))
    assert (run.computed, run.reused) == (STEPS, [])
    assert first.pairs is not None
    pairs = read_pairs(first.pairs)
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


def test_run_ons_come_for_every_nth_instruction_only(tmp_path: Path) -> None:
    all_pairs(tmp_path, ScriptedEngine(KNOWN))
    with Run(tmp_path, "r") as run:
        kept, rejected = run.artifact("explicit", "kept"), run.artifact("explicit", "rejected")
    assert kept is not None
    assert rejected is not None
    ids = [row["prompt_id"] for row in kept.rows()]
    assert [row["prompt_id"] for row in rejected.rows("zero_shot.jsonl")] == ids
    every = configured().stage.responses.run_on_every
    assert [row["prompt_id"] for row in rejected.rows("run_on.jsonl")] == ids[::every]


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
