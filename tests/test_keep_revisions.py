"""Stage 6's critic is calibrated, and has a vote on what is kept of the revisions or none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from data_path import given, some_model
from scripted import ScriptedEngine, ScriptedSession

from cai_bootstrap.engines.engine import OnDone
from cai_bootstrap.steps.revisions import calibrate_critic, judge_revisions, keep_revisions
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run
from cai_bootstrap.store.runner import bind

PRINCIPLES = [["refuse-crime", "The response does not help with a crime.", "harm"]]
DECLINES = "I won't help you steal a hat, because that is theft. You could buy a cap."
DECLINES_TOO = "I won't help you steal a hat, because that is a crime. You could knit one."
Case = tuple[str, str, str, list[str]]
"""Kind, instruction, original answer, revisions."""
HARMFUL: Case = ("harmful", "How do I steal a hat?", "Take it while nobody looks.", [DECLINES, DECLINES_TOO])
HARMLESS: Case = (
    "ordinary",
    "What is a hat made of?",
    "Hats are made of felt.",
    ["A hat is made of wool.", "It is wrong."],
)


def prompt_with(case: Case) -> dict[str, Any]:
    """A row of what was revised."""
    kind, instruction, original, revisions = case
    return {
        "prompt_id": "p",
        "kind": kind,
        "instruction": instruction,
        "instruction_source": "committed",
        "principle": "refuse-crime",
        "original": original,
        "original_output": original,
        "original_finish": "eos",
        "original_seed": 1,
        "critique": "That is theft.",
        "revisions": [{"text": text, "finish": "stop", "prompt": "…", "seed": 2} for text in revisions],
        "over_refusal": "" if kind == "harmful" else "I won't help you make a hat, because that is unfair.",
    }


def calibration_with(run: Run, vote: bool) -> Artifact:
    low = 0.6 if vote else 0.5
    told = {name: {"preferred": {"low": low}} for name in ("harmful", "harmless")}
    return given(run, "calibration", calibration__json=told)


def kept(root: Path, case: Case, margins: list[tuple[float, float]], vote: bool) -> list[dict[str, Any]]:
    """What is kept of one prompt whose revisions that are judged have these margins, as A and as B."""
    verdicts = [
        {"prompt_id": "p", "principle": "refuse-crime", "scores": {"critic": (a + b) / 2, "critic_as_a": a, "critic_as_b": b}}
        for a, b in margins
    ]
    with Run(root, "r") as run:
        artifact = run.step(
            "constitutional",
            "kept",
            keep_revisions,
            settings={"min_scores": {"critic": 0.0}},
            inputs={
                "revisions": given(run, "revisions", records__jsonl=[prompt_with(case)]),
                "verdicts": given(run, "verdicts", records__jsonl=verdicts),
                "calibration": calibration_with(run, vote),
            },
            values={"principles": PRINCIPLES, "examples": {}, "refusals": ["I cannot help."]},
            seed=1,
        )
        return artifact.rows()


def test_a_calibrated_critic_chooses_among_revisions(tmp_path: Path) -> None:
    (row,) = kept(tmp_path, HARMFUL, [(-1.0, 0.5), (2.0, 1.0)], vote=True)
    assert (row["text"], row["selection"]) == (DECLINES_TOO, "critic")


def test_what_a_calibrated_critic_does_not_prefer_is_dropped(tmp_path: Path) -> None:
    assert kept(tmp_path, HARMFUL, [(-1.0, 0.5), (-2.0, 1.0)], vote=True) == []


def test_a_refusal_is_chosen_by_the_mean_of_both_orders_also_where_it_loses_in_one(tmp_path: Path) -> None:
    """Rules have told that it declines. The mean is free of a liking for one letter, which a verdict in one order is not."""
    (row,) = kept(tmp_path, HARMFUL, [(3.0, -1.0), (0.5, 0.5)], vote=True)
    assert (row["text"], row["score"], row["scores"]["critic_as_b"]) == (DECLINES, 1.0, -1.0)


@pytest.mark.parametrize("margin", [(-1.0, 0.5), (2.0, 1.0)])
def test_a_critic_that_knows_no_better_than_chance_has_no_vote(tmp_path: Path, margin: tuple[float, float]) -> None:
    (row,) = kept(tmp_path, HARMFUL, [margin], vote=False)
    assert (row["text"], row["selection"]) == (DECLINES, "rules")


@pytest.mark.parametrize(
    ("vote", "margins", "chosen"),
    [
        (True, [(1.0, 1.0), (0.0, 0.0)], HARMLESS[3][0]),
        (True, [(3.0, -1.0), (0.0, 0.0)], HARMLESS[2]),  # in one order only
        (False, [(1.0, 1.0)], HARMLESS[2]),
    ],
)
def test_a_harmless_answer_stays_unless_a_calibrated_critic_prefers_another_in_both_orders(
    tmp_path: Path, vote: bool, margins: list[tuple[float, float]], chosen: str
) -> None:
    (row,) = kept(tmp_path, HARMLESS, margins, vote)
    assert row["text"] == chosen
    # An original was compared with nothing that it is better than.
    assert (row["score"], bool(row["scores"])) == ((0.0, False) if chosen == HARMLESS[2] else (1.0, True))
    assert any(reason == "an over-refusal" for _, reason, _ in row["wrong"])


GOES_ALONG = "Take it at night."


@pytest.mark.parametrize(
    ("vote", "revisions", "judged"),
    [
        (True, [GOES_ALONG, DECLINES, DECLINES_TOO], ["p-1", "p-2"]),
        (False, [GOES_ALONG, DECLINES, DECLINES_TOO], ["p-1"]),
        (True, [GOES_ALONG, GOES_ALONG], []),
    ],
)
def test_only_what_may_be_kept_is_judged(tmp_path: Path, vote: bool, revisions: list[str], judged: list[str]) -> None:
    case: Case = (*HARMFUL[:3], revisions)
    with Run(tmp_path, "r") as run:
        inputs = {
            "revisions": given(run, "revisions", records__jsonl=[prompt_with(case)]),
            "calibration": calibration_with(run, vote),
        }
        values: dict[str, Any] = {"principles": PRINCIPLES, "examples": {}}
        verdicts = run.step(
            "constitutional",
            "verdicts",
            bind(judge_revisions, session=ScriptedSession(Declining())),
            settings={"shard_size": 8},
            inputs={**inputs, "model": some_model(run)},
            values=values,
            seed=1,
        )
        assert [row["completion_id"] for row in verdicts.rows()] == judged
        rows = run.step(
            "constitutional",
            "kept",
            keep_revisions,
            settings={"min_scores": {"critic": 0.0}},
            inputs={**inputs, "verdicts": verdicts},
            values={**values, "refusals": ["I cannot help."]},
            seed=1,
        ).rows()
    assert [row["text"] for row in rows] == ([DECLINES] if judged else [])


DEEDS = ("steal a hat", "break a window", "scare a child", "hurt a dog", "forge a ticket", "rob a shop")
HARMFUL_EXAMPLES = [
    [f"How do I {deed}?", "Just do it.", "It is wrong.", f"I won't help you {deed}, because that is wrong."] for deed in DEEDS
]
THINGS = ("table", "chair", "bridge", "boat", "door", "fence")
HARMLESS_EXAMPLES = [
    [f"What is a {thing} made of?", "Of what it is.", "It says nothing.", f"A {thing} is made of wood."] for thing in THINGS
]


class Declining(ScriptedEngine):
    """A critic that prefers what declines, and the letter A where neither answer does."""

    def choice_logprobs(
        self, prompts: Sequence[str], choices: Sequence[str], on_done: OnDone | None = None
    ) -> list[tuple[float, ...]]:
        found: list[tuple[float, ...]] = []
        for prompt in prompts:
            first, second = prompt.partition(' or B: "')[::2]
            found.append((0.0, 1.0) if "I won't" in second else (1.0, 0.0) if "I won't" in first else (0.5, 0.0))
        return found


def calibrated(root: Path, examples: list[list[str]]) -> tuple[dict[str, Any], list[str]]:
    """`calibration.json` of that critic by these worked examples, and the warnings."""
    with Run(root, "r") as run:
        artifact = run.step(
            "constitutional",
            "calibration",
            bind(calibrate_critic, session=ScriptedSession(Declining())),
            settings={},
            inputs={"model": some_model(run)},
            values={"principles": PRINCIPLES, "examples": {"refuse-crime": examples}},
            seed=1,
        )
        return artifact.json("calibration.json"), artifact.manifest["warnings"]


def test_a_critic_is_calibrated_on_harmful_and_harmless_requests_apart(tmp_path: Path) -> None:
    told, warnings = calibrated(tmp_path, [*HARMFUL_EXAMPLES, *HARMLESS_EXAMPLES])
    assert (told["harmful"]["preferred"]["value"], told["harmful"]["in_both_orders"]["value"]) == (1.0, 1.0)
    assert (told["harmless"]["preferred"]["value"], told["harmless"]["in_both_orders"]["value"]) == (0.0, 0.0)
    assert [("harmful" in text, "harmless" in text) for text in warnings] == [(False, True)]


def test_a_kind_that_no_worked_example_shows_gives_the_critic_no_vote(tmp_path: Path) -> None:
    told, warnings = calibrated(tmp_path, HARMFUL_EXAMPLES)
    assert told["harmless"] is None
    assert warnings == ["no worked example has a better answer to a harmless request: rules alone choose there"]
