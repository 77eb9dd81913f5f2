"""What a changed call says before it begins: which key or input changed, and which steps that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_path import configured

from cai_bootstrap.report.changes import describe_changes
from cai_bootstrap.report.plan import Planner
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run, Work, step
from cai_bootstrap.store.runner import Runner

BEFORE: dict[str, Any] = {"train": {"learning_rate": 5e-5, "num_epochs": 2}, "paths": {"root": "a"}, "run": "mine"}


@step(version=1)
def leave(work: Work, data: Any = None, **inputs: Artifact) -> None:
    work.write_json("content.json", data)


@step(version=1)
def complain(work: Work) -> None:
    work.warn("too few")
    work.write_json("content.json", None)


def anew(work: Work, data: Any = None, **inputs: Artifact) -> None: ...


def walk(run: Any, config: dict[str, Any], function: Any = leave, data: str = "", base: str = "") -> None:
    """A stage of three steps; the middle one depends on the learning rate."""
    made: dict[str, Artifact] = {}
    made["base"] = run.step("baseline", "base", leave, settings={}, values={"data": base}, seed=1)
    settings = {"learning_rate": config["train"]["learning_rate"]}
    made["pairs"] = run.step("explicit", "pairs", function, settings={}, inputs=dict(made), values={"data": data}, seed=1)
    made["adapter"] = run.step("explicit", "adapter", leave, settings=settings, inputs={"pairs": made["pairs"]}, seed=1)
    run.step("explicit", "model", leave, settings={}, inputs={"adapter": made["adapter"]}, seed=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with Run(tmp_path, "mine") as run:
        run.save_config("explicit", BEFORE)
        walk(run, BEFORE)
    return tmp_path


def said(root: Path, config: dict[str, Any], **changes: Any) -> str:
    planner = Planner(root, configured())
    walk(planner, config, **changes)
    return describe_changes(root, "mine", "explicit", config, planner.steps)


def changed(**train: Any) -> dict[str, Any]:
    return {**BEFORE, "train": {**BEFORE["train"], **train}}


def test_the_same_call_says_nothing(root: Path) -> None:
    assert said(root, BEFORE) == ""
    assert said(root, {**BEFORE, "paths": {"root": "b"}}) == ""
    assert said(root, changed(num_epochs=3)) == ""  # no step depends on it here


def test_what_a_step_warned_of_is_known_without_running_it(tmp_path: Path) -> None:
    def gate(run: Runner) -> None:
        run.step("explicit", "calibration", complain, settings={}, seed=1)
        run.step("explicit", "gate", leave, settings={}, values={"data": run.warnings("explicit")}, seed=1)

    with Run(tmp_path, "mine") as run:
        gate(run)
        assert run.warnings("explicit") == ["too few"]
    planner = Planner(tmp_path, configured())
    gate(planner)
    assert [planned.cached for planned in planner.steps] == [True, True]


def test_a_changed_key_is_named_with_what_it_costs(root: Path) -> None:
    told = said(root, changed(learning_rate=1e-4))
    assert told == "train.learning_rate 5e-05 → 0.0001: adapter, model will be computed again"


def test_what_was_made_before_is_found(root: Path) -> None:
    with Run(root, "mine") as run:
        run.save_config("explicit", changed(learning_rate=1e-4))
        walk(run, changed(learning_rate=1e-4))
    assert said(root, BEFORE) == "train.learning_rate 0.0001 → 5e-05: adapter, model were made before, and are found"


def test_changed_code_data_and_models_are_named(root: Path) -> None:
    newer: Any = anew
    newer.step_name, newer.step_version = leave.step_name, 2  # type: ignore[attr-defined]
    again = ": pairs, adapter, model will be computed again"
    assert said(root, BEFORE, function=newer) == f"the code of pairs (version 1 → 2){again}"
    assert said(root, BEFORE, data="other seeds") == f"the data 'data' of pairs{again}"
    assert said(root, BEFORE, base="another model") == f"the input 'base' of pairs{again}"


def test_a_run_without_the_stage_says_nothing(root: Path) -> None:
    assert describe_changes(root, "theirs", "explicit", BEFORE, []) == ""


def test_many_changes_are_shortened(root: Path) -> None:
    more = {f"key{i}": i for i in range(6)}
    assert "and 3 more: adapter, model will" in said(root, changed(learning_rate=1e-4, **more))
