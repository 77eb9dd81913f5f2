"""Scores, calibration and what may be kept, with a scripted engine in place of a model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from data_path import (
    KINDS,
    KNOWN,
    SEEDS,
    completion,
    configured,
    given,
    prompt,
    some_model,
)
from scripted import ScriptedEngine, ScriptedSession

from cai_bootstrap import stages
from cai_bootstrap.config import SelectionMethod, to_dict
from cai_bootstrap.errors import JudgeError, StepFailed
from cai_bootstrap.records import Completion, Prompt, Verdict
from cai_bootstrap.stages.paths import _conduct, _more_planted, _spread
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.filter import keep_best, unfit
from cai_bootstrap.steps.judge import agreement, answer_key, calibrate, critic_margins, fewshot_logprob, relevance
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run
from cai_bootstrap.store.runner import bind

# ---- judge


def test_answers_agree_when_they_say_the_same() -> None:
    asked = "What do bees make?"
    assert answer_key("Honey.", asked) == answer_key("It is the honey", asked) == {"honey"}
    said = ["Honey.", "It is honey.", "Wax.", "honey"]
    assert agreement("Honey.", [said], asked) == 0.75
    assert agreement("Wax.", [said], asked) == 0.25
    assert agreement("It is bees", [["It is bees"] * 4], asked) == 0.0


def test_an_answer_must_be_said_after_every_set_of_worked_examples() -> None:
    asked = "What do bees make?"
    assert agreement("Honey.", [["Honey.", "Wax."], ["Bees make honey.", "Bees make wings."]], asked) == 0.5
    assert agreement("Honey.", [["Honey.", "Honey."], ["Bees make wax.", "Bees make wings."]], asked) == 0.0
    assert agreement("Honey.", [["Honey.", "Honey."], ["Honey.", "Wax."]], asked, ["Wax.", "Wax."]) == 0.5


def test_relevance_is_the_gain_over_no_instruction() -> None:
    engine = ScriptedEngine({"Q?": "right"})
    items = [("Q?", "right"), ("Q?", "wrong"), ("Q?", "right")]
    assert fewshot_logprob(engine, [("a", "b")], items) == [-1.0, -3.0, -1.0]
    assert engine.num_scored == 2  # what comes twice is scored once
    assert relevance(engine, [("a", "b")], items) == [2.0, 0.0, 2.0]


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


def calibrated(run: Run, engine: ScriptedEngine, methods: dict[str, str], **more: list[list[str]]) -> Artifact:
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
            "kinds": [list(kind) for kind in stages.load("explicit").kinds],
            "principles": ["Answer what was asked."],
            **more,
        },
        seed=1,
    )


def test_calibration_measures_the_methods_in_use(tmp_path: Path) -> None:
    methods = dict(zip(KINDS, [method.value for method in SelectionMethod], strict=True))
    with Run(tmp_path, "r") as run:
        made = calibrated(run, ScriptedEngine(KNOWN), methods)
        few = calibrated(run, ScriptedEngine(KNOWN), {**methods, "answer": "relevance", "complete": "relevance"})
    table = made.json("calibration.json")
    assert set(table) == set(methods.values())
    assert set(few.json("calibration.json")) == {"relevance", *list(methods.values())[2:]}
    assert sum(found["in use"]["num_good"] for found in table.values()) == 32
    for kind, method in methods.items():
        found = table[method]["in use"]
        assert table[method] == {kind: found, "in use": found}
        assert found["num_bad"] == 2 * found["num_good"] > 0
        assert 0.6 < found["low"] < found["auc"]
        assert found["auc"] > 0.95
        assert found["useful"]
    assert {row["kind"] for row in made.rows()} == set(KINDS)


def test_stages_with_committed_cases_are_calibrated_on_some_of_them() -> None:
    questions = {question for question, *_ in load_seeds("evaluation")["worked"]}
    planted = {name: _more_planted(stages.load(name)).get("planted", []) for name in stages.CURRICULUM[1:]}
    cases = {name: sum(question in questions for question, _ in of) for name, of in planted.items()}
    assert {name for name, num in cases.items() if num} == {"evaluation", "revision"}
    assert all(60 <= num <= 70 for num in (cases["evaluation"], cases["revision"]))


def test_fewer_committed_cases_are_spread_over_all() -> None:
    assert _spread([*range(10)], 3) == [0, 3, 6]
    assert _spread([*range(10)], 0) == _spread([*range(10)], 12) == [*range(10)]
    conduct, few = load_seeds("evaluation")["conduct"], _conduct(90)
    assert {rule: len(cases) for rule, cases in few.items()} == dict.fromkeys(conduct, 10)
    assert all(case in conduct[rule] for rule, cases in few.items() for case in cases)
    assert _conduct(0) == conduct


def test_more_planted_answers_make_the_interval_narrower(tmp_path: Path) -> None:
    planted = [[f"What is the colour of thing {n}?", f"Colour {n}."] for n in range(20)] + [["Respond to: Hi.", "Hello you!"]]
    with Run(tmp_path, "r") as run:
        few, many = (
            calibrated(run, ScriptedEngine({**KNOWN, **dict(planted)}), dict.fromkeys(KINDS, "relevance"), **more)
            for more in ({}, {"planted": planted})
        )
    (before, after) = (made.json("calibration.json")["relevance"]["in use"] for made in (few, many))
    assert after["num_good"] == before["num_good"] + 21
    assert after["high"] - after["low"] < before["high"] - before["low"]


@pytest.mark.parametrize("method", ["relevance", "critic", "fewshot_logprob"])
def test_calibration_refuses_a_useless_method(tmp_path: Path, method: str) -> None:
    methods = {**dict.fromkeys(KINDS, "agreement"), "generate": method}
    with Run(tmp_path, "r") as run, pytest.raises(StepFailed, match=f"'{method}' does not separate.*AUC 0.50.*name another"):
        calibrated(run, ScriptedEngine(KNOWN, useless=True), methods)


# ---- filter


@pytest.mark.parametrize(
    ("kind", "instruction", "text", "reason"),
    [
        ("answer", "What do bees make?", "Bees make honey.", ""),
        ("answer", "What do bees make?", "", "empty"),
        ("answer", "What do bees make?", "Honey.\nResponse: Honey.", "forges a delimiter"),
        ("answer", "What do bees make?", "Honey <end_of_turn>", "forges a delimiter"),
        ("answer", "What do bees make?", "Honey ... and wax", "malformed"),
        ("answer", "What is a telephone?", "A telephone is a small, flat,", "breaks off"),
        ("answer", "What do bees make?", "honey honey honey", "loop"),
        ("answer", "What is a parrot?", "A parrot is a parrot.", "tautology"),
        ("answer", "What do bees make?", "I do not know.", "refusal"),
        ("answer", "What do bees make?", "What do bees make?", "echo"),
        ("answer", "What do bees make?", "Honey.\nWax.", "more than one line"),
        ("answer", "What do bees make?", "Honey. They also make wax.", "more than one sentence"),
        ("complete", "Complete: Bread and", "butter", ""),
        ("complete", "Complete: Bread and", "butter. It is good.", "more than one sentence"),
        ("complete", "Finish the saying: Yes we can", "Yes we can.", "echo"),
        ("answer", "Is a potato a vegetable or an animal?", "A vegetable.", ""),
        ("generate", "Wish a friend a job in one sentence.", "I wish a friend a job.", "says nothing of its own"),
        ("generate", 'Use the word "road" in a sentence.', "He went home at night.", "does not use the word"),
        ("generate", 'Use the word "road" in a sentence.', "The road is long.", ""),
        ("generate", "Give an example of a river.", "A river is a body of water.", "more than was asked for"),
        ("generate", "Give an adjective for a bear.", "A bear is a big animal.", "more than was asked for"),
        ("respond", "Respond to: My cat is ill.", "I hope she gets well soon.", ""),
        ("respond", "Respond to: My cat is ill.", "Sad", "not a reply"),
        ("respond", "Respond to: I am sorry that I am late.", "I'm sorry to hear that.", "apologises in return"),
        ("respond", "Respond to: I am sorry that I am late.", "Don't worry about it.", ""),
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


def judged(run: Run, prompts: list[Prompt], found: list[Completion], scores: list[Verdict]) -> Artifact:
    return run.step(
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


def test_rows_in_another_order_are_refused(tmp_path: Path) -> None:
    """The files are read side by side: an answer must never get another one's verdict."""
    prompts = [prompt("answer", "What do bees make?", "bees"), prompt("answer", "Who flies?", "fly")]
    found = [completion("Honey.", prompt_id="bees"), completion("A pilot.", prompt_id="fly")]
    scores = [
        Verdict(prompt_id=one.prompt_id, completion_id=one.id, scores={"agreement": 1.0, "fewshot_logprob": -1.0})
        for one in found
    ]
    with Run(tmp_path, "r") as run:
        assert len(judged(run, prompts, found, scores).rows()) == 2
        for wrong in ((prompts, found, scores[::-1]), (prompts, found, scores[:1])):
            with pytest.raises(StepFailed, match=r"the verdicts on the candidates of '(bees|fly)' do not stand where these do"):
                judged(run, *wrong)
        for wrong in ((prompts[::-1], found, scores), (prompts[:1], found, scores)):
            with pytest.raises(StepFailed, match=r"(candidates of 'fly' stand where|the verdicts on the candidates)"):
                judged(run, *wrong)


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
        kept = judged(run, prompts, found, scores)
    assert [(row["prompt_id"], row["text"], row["score"]) for row in kept.rows()] == [("bees", "Honey.", 0.75)]
    dropped = Counter((row["prompt_id"], row["reason"]) for row in kept.rows("dropped.jsonl"))
    assert dropped == {
        ("bees", "refusal"): 1,
        ("bees", "another candidate is better"): 1,
        ("fly", "agreement too low"): 1,
        ("why", "empty"): 2,
        ("why", "no fit candidate (empty)"): 1,
    }
