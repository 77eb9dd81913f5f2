"""The pilot stops a stage whose texts run away, are cut, repeat each other or are hardly ever kept, and says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_path import KNOWN, all_pairs, configured, given
from scripted import ScriptedEngine

from cai_bootstrap.errors import StepFailed
from cai_bootstrap.steps.pilot import judge_pilot
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run

LIMITS = {"num_instructions": 36, "max_runaway": 0.05, "max_cut": 0.1, "max_duplicates": 0.5, "min_kept": 0.35}
GOOD = {"text": "Bees make honey.", "finish": "stop"}
CUT = {"text": "Bees make honey and", "finish": "length"}
LOOP = {"text": "Bees make honey. Bees make honey. Bees make honey.", "finish": "stop"}


def judged(root: Path, candidates: list[dict[str, Any]], num_kept: int = 30, num_repeated: int = 10) -> Artifact:
    with Run(root, "r") as run:
        dropped = [{"reason": "duplicate (near)"} for _ in range(num_repeated)] + [{"reason": "too short"}]
        asked = [{"prompt_id": number % 36, **candidate} for number, candidate in enumerate(candidates)]
        told = given(run, "told", records__jsonl=[{"id": n} for n in range(36)], dropped__jsonl=dropped)
        return run.step(
            "explicit",
            "pilot",
            judge_pilot,
            settings=LIMITS,
            inputs={
                "instructions": told,
                "candidates": given(run, "candidates", records__jsonl=asked),
                "kept": given(run, "kept", records__jsonl=[{"id": n} for n in range(num_kept)]),
            },
            seed=1,
        )


def test_a_sound_pilot_says_its_rates(tmp_path: Path) -> None:
    found = judged(tmp_path, [GOOD] * 135 + [CUT] * 8 + [LOOP]).json("pilot.json")
    assert all(entry["passed"] for entry in found.values())
    assert found["cut"]["rate"]["successes"] == 8
    assert found["runaway"]["rate"]["total"] == 144
    assert found["duplicates"]["rate"] == {**found["duplicates"]["rate"], "successes": 10, "total": 47}
    assert found["kept"]["limit"] == 0.35


@pytest.mark.parametrize(
    ("candidates", "num_kept", "num_repeated", "told"),
    [
        ([GOOD] * 100 + [LOOP] * 44, 30, 10, "runaway 30.6 %"),
        ([GOOD] * 100 + [CUT] * 44, 30, 10, "cut 30.6 %"),
        ([GOOD] * 144, 30, 150, "duplicates 80.2 %"),
        ([GOOD] * 144, 4, 10, "kept 11.1 %"),
        ([{"revisions": [GOOD, CUT, CUT]}] * 40, 30, 10, "cut 66.7 %"),
    ],
)
def test_a_missed_limit_stops_the_stage(
    tmp_path: Path, candidates: list[dict[str, Any]], num_kept: int, num_repeated: int, told: str
) -> None:
    with pytest.raises(StepFailed, match=told):
        judged(tmp_path, candidates, num_kept, num_repeated)


def test_some_more_than_the_limit_is_not_yet_a_miss(tmp_path: Path) -> None:
    judged(tmp_path, [GOOD] * 126 + [CUT] * 18)  # 12.5 %, from 8.0


def test_a_large_generation_begins_with_a_pilot_and_a_small_one_does_not(tmp_path: Path) -> None:
    few = ("stage.pilot.num_instructions=10", "stage.pilot.max_duplicates=1")
    run, _ = all_pairs(tmp_path / "large", ScriptedEngine(KNOWN), config=configured(40, 15, *few))
    names = ["instructions", "candidates", "verdicts", "kept"]
    assert run.computed == ["calibration", *(f"{name}-pilot" for name in names), "pilot", *names, "rejected", "pairs"]
    run, _ = all_pairs(tmp_path / "small", ScriptedEngine(KNOWN), config=configured(40, 15))
    assert run.computed == ["calibration", *names, "rejected", "pairs"]
