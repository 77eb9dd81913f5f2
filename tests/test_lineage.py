"""A stage's parent: the promoted model before it, whatever was overridden, skipped or done in a second round."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from data_path import configured

from cai_bootstrap import lineage
from cai_bootstrap.__main__ import compose_job
from cai_bootstrap.config import Config
from cai_bootstrap.errors import MissingArtifact, UserError
from cai_bootstrap.records import GateResult
from cai_bootstrap.report.status import next_command, status
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run, Work, step


@step(version=1)
def leave(work: Work, content: Any) -> None:
    """An artifact as a step would leave it."""
    work.write_json("content.json", content)


def made(run: Run, stage: str, name: str) -> Artifact:
    return run.step(stage, name, leave, settings={}, values={"content": f"{stage} {name}"}, seed=1)


def trained(run: Run, stage: str, *, suites: tuple[str, ...] = (), suffix: str = "", **gate: Any) -> None:
    for name in ("model", "eval", *(f"eval-{suite}" for suite in suites)):
        made(run, stage, name + suffix)
    run.record_stage(stage, made(run, stage, f"gate{suffix}"), **{"passed": True, **gate})


@pytest.fixture
def implicit() -> Config:
    return compose_job("implicit", ["run=mine"], "")


@pytest.fixture
def generation(implicit: Config) -> Config:
    """A stage after the second one, whose own file is not needed to find its parent."""
    implicit.stage.name = "generation"
    return implicit


def test_the_first_stage_starts_from_the_base_model(tmp_path: Path) -> None:
    assert lineage.find_parent(tmp_path, configured()) is None


def test_the_parent_is_the_promoted_model_with_its_outcomes(tmp_path: Path, implicit: Config) -> None:
    with Run(tmp_path, "mine") as run:
        trained(run, "explicit")
    parent = lineage.find_parent(tmp_path, implicit)
    assert parent is not None
    assert parent.model.json("content.json") == "explicit model"
    assert {suite: arm.json("content.json") for suite, arm in parent.evals.items()} == {"explicit": "explicit eval"}


def test_every_ancestors_suite_is_handed_on(tmp_path: Path, generation: Config) -> None:
    with Run(tmp_path, "mine") as run:
        trained(run, "explicit")
        trained(run, "implicit", suites=("explicit",))
    parent = lineage.find_parent(tmp_path, generation)
    assert parent is not None
    assert parent.model.json("content.json") == "implicit model"
    found = {suite: arm.json("content.json") for suite, arm in parent.evals.items()}
    assert found == {"explicit": "implicit eval-explicit", "implicit": "implicit eval"}


def test_a_second_round_that_passed_is_the_parent(tmp_path: Path, implicit: Config) -> None:
    with Run(tmp_path, "mine") as run:
        trained(run, "explicit", passed=False)
        trained(run, "explicit", suffix="-2")
    parent = lineage.find_parent(tmp_path, implicit)
    assert parent is not None
    assert parent.model.json("content.json") == "explicit model-2"
    assert parent.evals["explicit"].json("content.json") == "explicit eval-2"


def test_a_skipped_stage_passes_its_own_parent_through(tmp_path: Path, implicit: Config, generation: Config) -> None:
    with Run(tmp_path, "mine") as run:
        trained(run, "explicit")
        run.record_stage("implicit", None, passed=True, skipped=True)
    parent = lineage.find_parent(tmp_path, generation)
    assert parent is not None
    assert parent.model.json("content.json") == "explicit model"
    with Run(tmp_path, "mine") as run:
        run.record_stage("explicit", None, passed=True, skipped=True)
    assert lineage.find_parent(tmp_path, generation) is None


def test_a_failed_gate_is_no_parent_unless_it_was_overridden(tmp_path: Path, implicit: Config) -> None:
    with pytest.raises(MissingArtifact, match=r"stage=implicit needs stage explicit of run=mine, which has not run: run "):
        lineage.find_parent(tmp_path, implicit)
    with Run(tmp_path, "mine") as run:
        trained(run, "explicit", passed=False)
    with pytest.raises(MissingArtifact, match="which has not passed its gate"):
        lineage.find_parent(tmp_path, implicit)
    with Run(tmp_path, "mine") as run:
        trained(run, "explicit", passed=False, override="a smoke test")
    parent = lineage.find_parent(tmp_path, implicit)
    assert parent is not None
    assert parent.overridden == {"explicit": "a smoke test"}


def test_an_override_is_handed_on_from_run_to_run(tmp_path: Path, generation: Config) -> None:
    with Run(tmp_path, "theirs") as run:
        trained(run, "explicit", passed=False, override="a smoke test")
    with Run(tmp_path, "mine") as run:
        run.save_config("implicit", {"parent_run": "theirs"})
        trained(run, "implicit", passed=False, override="another")
    generation.train.replay = 0
    parent = lineage.find_parent(tmp_path, generation)
    assert parent is not None
    assert parent.overridden == {"explicit": "a smoke test", "implicit": "another"}


def test_a_model_that_was_removed_is_named(tmp_path: Path, implicit: Config) -> None:
    with Run(tmp_path, "mine") as run:
        trained(run, "explicit")
        model = run.artifact("explicit", "model")
    assert model is not None
    shutil.rmtree(model.path)
    with pytest.raises(MissingArtifact, match="model of stage explicit of run=mine is gone: run stage=explicit run=mine again"):
        lineage.find_parent(tmp_path, implicit)


def test_another_run_may_give_the_parent(tmp_path: Path, implicit: Config) -> None:
    with Run(tmp_path, "theirs") as run:
        trained(run, "explicit")
    implicit.parent_run = "theirs"
    parent = lineage.find_parent(tmp_path, implicit)
    assert parent is not None
    assert parent.model.json("content.json") == "explicit model"


@pytest.fixture
def evaluation() -> Config:
    return compose_job("evaluation", ["run=mine", "stage.construction.answers_of=[explicit,implicit]", "train.replay=0"], "")


def test_kept_answers_of_stages_before_are_handed_on(tmp_path: Path, evaluation: Config) -> None:
    with Run(tmp_path, "mine") as run:
        for name, suffix in (("explicit", ""), ("implicit", "-2"), ("generation", "")):
            made(run, name, f"kept{suffix}")
            trained(run, name, suffix=suffix)
        made(run, "explicit", "screened")
        trained(run, "explicit")
    parent = lineage.find_parent(tmp_path, evaluation)
    assert parent is not None
    found = {stage: answers.json("content.json") for stage, answers in parent.answers.items()}
    assert found == {"explicit": "explicit screened", "implicit": "implicit kept-2"}


def test_a_skipped_stage_has_no_kept_answers_to_hand_on(tmp_path: Path, evaluation: Config) -> None:
    with Run(tmp_path, "mine") as run:
        run.record_stage("explicit", None, passed=True, skipped=True)
        for name in ("implicit", "generation"):
            made(run, name, "kept")
            trained(run, name)
    parent = lineage.find_parent(tmp_path, evaluation)
    assert parent is not None
    assert list(parent.answers) == ["implicit"]


def test_pairs_of_all_stages_before_are_handed_on_where_some_are_trained_again(tmp_path: Path, evaluation: Config) -> None:
    evaluation.stage.construction = None
    with Run(tmp_path, "mine") as run:
        run.record_stage("explicit", None, passed=True, skipped=True)
        for name, suffix in (("implicit", "-2"), ("generation", "")):
            made(run, name, f"pairs{suffix}")
            trained(run, name, suffix=suffix)
    parent = lineage.find_parent(tmp_path, evaluation)
    assert parent is not None
    assert parent.pairs == {}
    evaluation.train.replay = 0.2
    parent = lineage.find_parent(tmp_path, evaluation)
    assert parent is not None
    found = {stage: pairs.json("content.json") for stage, pairs in parent.pairs.items()}
    assert found == {"implicit": "implicit pairs-2", "generation": "generation pairs"}


def test_answers_of_a_later_stage_are_the_users_mistake(tmp_path: Path, evaluation: Config) -> None:
    with Run(tmp_path, "mine") as run:
        for name in ("explicit", "implicit", "generation"):
            trained(run, name)
    assert evaluation.stage.construction is not None
    evaluation.stage.construction.answers_of = ["revision"]
    with pytest.raises(
        UserError, match=r"answers_of='revision' is no stage before evaluation: write one of explicit, implicit"
    ):
        lineage.find_parent(tmp_path, evaluation)


def test_a_role_that_a_stage_does_not_have_is_the_users_mistake(tmp_path: Path, evaluation: Config) -> None:
    evaluation.stage.roles = {"writer": "implicit", "reviser": "baseline"}
    with pytest.raises(UserError, match=r"stage\.roles\.reviser is no role of stage=evaluation: write one of writer"):
        lineage.find_parent(tmp_path, evaluation)


@step(version=1)
def leave_model(work: Work, content: str, model: Artifact) -> None:
    """A model that was trained on another one."""
    work.write_json("content.json", content)


@step(version=1)
def leave_gate(work: Work, stage: str) -> None:
    work.write_json("gate.json", GateResult(stage=stage, passed=True, checks=[]).to_row())


def based(run: Run) -> Artifact:
    """The base model, measured."""
    base = made(run, "baseline", "base")
    gap = run.step("baseline", "gap", leave_gate, settings={}, values={"stage": "baseline"}, seed=1)
    run.record_stage("baseline", gap, passed=True)
    return base


def chained(run: Run, stage: str, parent: Artifact, content: str = "") -> Artifact:
    """A stage that was trained on `parent` and passed."""
    model = run.step(stage, "model", leave_model, settings={}, inputs={"model": parent}, values={"content": content}, seed=1)
    run.record_stage(stage, run.step(stage, "gate", leave_gate, settings={}, values={"stage": stage}, seed=1), passed=True)
    return model


def test_what_was_trained_before_an_ancestor_was_made_anew_is_outdated(tmp_path: Path, generation: Config) -> None:
    with Run(tmp_path, "mine") as run:
        explicit = chained(run, "explicit", based(run))
        implicit = chained(run, "implicit", explicit)
        chained(run, "generation", implicit)
        assert lineage.outdated(tmp_path, "mine") == {}
        assert lineage.find_parent(tmp_path, generation) is not None
        chained(run, "explicit", based(run), "anew")
    assert lineage.outdated(tmp_path, "mine") == {"implicit": "explicit", "generation": "explicit"}
    with pytest.raises(MissingArtifact, match="needs stage implicit of run=mine, which was trained before stage explicit"):
        lineage.find_parent(tmp_path, generation)
    assert "stage=implicit run=mine" in next_command(tmp_path, "mine")
    assert "made anew" in next_command(tmp_path, "mine")
    assert "passed, of an earlier explicit" in status(tmp_path)


def test_another_base_model_outdates_every_stage(tmp_path: Path) -> None:
    with Run(tmp_path, "mine") as run:
        explicit = chained(run, "explicit", based(run))
        chained(run, "implicit", explicit)
        run.step("baseline", "base", leave, settings={}, values={"content": "another"}, seed=1)
    assert lineage.outdated(tmp_path, "mine") == {"explicit": "baseline", "implicit": "baseline"}


def test_a_parent_of_another_run_is_looked_for_there(tmp_path: Path) -> None:
    with Run(tmp_path, "theirs") as run:
        explicit = chained(run, "explicit", based(run))
    with Run(tmp_path, "mine") as run:
        based(run)
        run.save_config("implicit", {"parent_run": "theirs"})
        chained(run, "implicit", explicit)
    assert lineage.outdated(tmp_path, "mine") == {}
    assert next_command(tmp_path, "mine").startswith("python -m cai_bootstrap stage=generation run=mine")
    with Run(tmp_path, "theirs") as run:
        chained(run, "explicit", based(run), "anew")
    assert lineage.outdated(tmp_path, "mine") == {"implicit": "explicit"}
