"""What of stage 6's revisions is kept, with a critic that was calibrated and one that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_path import given

from cai_bootstrap.steps.critique import keep_revisions
from cai_bootstrap.store.run import Run

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


def kept(root: Path, case: Case, margins: list[tuple[float, float]], vote: bool) -> list[dict[str, Any]]:
    """What is kept of one prompt whose revisions have these margins, as A and as B."""
    kind, instruction, original, revisions = case
    row = {
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
    verdicts = [
        {"prompt_id": "p", "principle": "refuse-crime", "scores": {"critic": (a + b) / 2, "critic_as_a": a, "critic_as_b": b}}
        for a, b in margins
    ]
    low = 0.6 if vote else 0.5
    calibration = {name: {"preferred": {"low": low}} for name in ("harmful", "harmless")}
    with Run(root, "r") as run:
        artifact = run.step(
            "constitutional",
            "kept",
            keep_revisions,
            settings={"min_scores": {"critic": 0.0}},
            inputs={
                "revisions": given(run, "revisions", records__jsonl=[row]),
                "verdicts": given(run, "verdicts", records__jsonl=verdicts),
                "calibration": given(run, "calibration", calibration__json=calibration),
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


@pytest.mark.parametrize("margins", [[(-1.0, 0.5), (-2.0, 1.0)], [(-1.0, 0.5), (2.0, 1.0)]])
def test_a_critic_that_knows_no_better_than_chance_has_no_vote(tmp_path: Path, margins: list[tuple[float, float]]) -> None:
    (row,) = kept(tmp_path, HARMFUL, margins, vote=False)
    assert (row["text"], row["selection"]) == (DECLINES, "rules")


@pytest.mark.parametrize(
    ("vote", "margins", "chosen"),
    [
        (True, [(1.0, 1.0), (0.0, 0.0)], HARMLESS[3][0]),
        (True, [(3.0, -1.0), (0.0, 0.0)], HARMLESS[2]),  # in one order only
        (False, [(1.0, 1.0), (2.0, 2.0)], HARMLESS[2]),
    ],
)
def test_a_harmless_answer_stays_unless_a_calibrated_critic_prefers_another_in_both_orders(
    tmp_path: Path, vote: bool, margins: list[tuple[float, float]], chosen: str
) -> None:
    (row,) = kept(tmp_path, HARMLESS, margins, vote)
    assert row["text"] == chosen
    assert any(reason == "an over-refusal" for _, reason, _ in row["wrong"])
