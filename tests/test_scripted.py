"""`engine=scripted`: what it plays, by which manifests; and that nothing of it is ever taken for a real result."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from data_path import given
from test_constitution import WILD

from cai_bootstrap import engines, lineage, planning, stages
from cai_bootstrap.__main__ import compose_job, main
from cai_bootstrap.commands import USAGE
from cai_bootstrap.config import Config, EngineConfig, Script
from cai_bootstrap.engines.audit import audit
from cai_bootstrap.engines.engine import GenerationRequest
from cai_bootstrap.engines.heldout_answers import right_answer
from cai_bootstrap.engines.resolve import MACHINE_FILE, resolve_engine
from cai_bootstrap.engines.scripted import RATES, ScriptedEngine, stages_behind
from cai_bootstrap.errors import MissingArtifact, UserError
from cai_bootstrap.evals import tasks
from cai_bootstrap.report.plan import Planner
from cai_bootstrap.steps.evaluate import render, settle
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run, Work, step
from cai_bootstrap.store.work import SilentProgress

RunCli = Callable[..., tuple[int, str, str]]
WORDS = ("engine=scripted", "model=tiny-random", "preset=small")
SMALL = (
    "eval.num_items=60",
    "eval.drift_items=8",
    "stage.instructions.num_instructions=40",
    "stage.instructions.max_share_per_topic=0.1",
    "stage.pairs.min_pairs=20",
    "train.num_epochs=1",
    "merge.num_prompts=2",
)


@step(version=1)
def leave(work: Work, content: object, scripted: bool, **inputs: Artifact) -> None:
    """An artifact as a step of a scripted or a real engine would leave it."""
    if not inputs:
        work.record_engine({"engine": "either", "scripted": True} if scripted else {"engine": "either"})
    work.write_json("content.json", content)


def left(run: Run, stage: str, name: str, *, scripted: bool, **inputs: Artifact) -> Artifact:
    values = {"content": f"{stage} {name}", "scripted": scripted}
    return run.step(stage, name, leave, settings={}, inputs=inputs, values=values, seed=1)


def chain(run: Run, *names: str, scripted: bool = True) -> list[Path]:
    """Models of these stages, each made from the one before; the folders of all, the base's first."""
    models = [given(run, "base")]
    for name in names:
        made = left(run, name, "eval", scripted=scripted)
        models.append(left(run, name, "model", scripted=scripted, model=models[-1], adapter=made))
        run.record_stage(name, left(run, name, "gate", scripted=scripted, eval=made), passed=True)
    return [model.path / "model" for model in models]


def outcomes(engine: ScriptedEngine, suite: str, arm: str) -> tuple[float, float]:
    """(content, strict) rates over a suite's test half."""
    items = tasks.load_suite(suite, "test")
    shots = [["Name a fish.", "A trout."], ["Complete: Up and", "down"]]
    prompts = [render(arm, item.instruction, shots) for item in items]
    written = engine.generate([GenerationRequest(prompt=prompt, max_tokens=64) for prompt in prompts])
    records = [
        tasks.score(item, arm, prompt, got.text, got.finish, 3)
        for item, prompt, got in zip(items, prompts, written, strict=True)
    ]
    settled = settle(suite, items, records)
    return sum(record.content for record in settled) / len(settled), sum(record.strict for record in settled) / len(settled)


def test_the_manifests_tell_which_model_is_played(tmp_path: Path) -> None:
    with Run(tmp_path, "r") as run:
        base, first, second = chain(run, "explicit", "implicit")
    assert [stages_behind(folder) for folder in (base, first, second)] == [(), ("explicit",), ("explicit", "implicit")]
    assert stages_behind(tmp_path / "no" / "store" / "model") == ()
    assert ScriptedEngine(second).description["plays"] == "explicit, implicit"
    for file in first.parent.iterdir():
        file.unlink()
    first.parent.rmdir()
    with pytest.raises(MissingArtifact, match="the parent of implicit's model is gone"):
        stages_behind(second)


@pytest.mark.parametrize("suite", sorted(tasks.SUITE_SHA256))
def test_a_base_rambles_and_a_trained_model_answers_its_suites_at_fixed_rates(suite: str) -> None:
    base, trained, other = ScriptedEngine(), ScriptedEngine(), ScriptedEngine()
    trained.stages, other.stages = (suite,), ("of another suite",)
    for arm, rate in (("raw", "raw"), ("cued", "cued"), ("fewshot", "few-shot")):
        content, strict = outcomes(base, suite, arm)
        assert content == pytest.approx(RATES[rate], abs=0.1)
        assert strict == 0
    for engine, rate in ((trained, "taught"), (other, "untaught")):
        content, strict = outcomes(engine, suite, "trained")
        assert content == strict == pytest.approx(RATES[rate], abs=0.08)


def test_a_script_fails_one_suite() -> None:
    engine = ScriptedEngine(script=Script.fails_generation)
    engine.stages = ("explicit", "implicit", "generation")
    rates = {suite: outcomes(engine, suite, "trained")[1] for suite in engine.stages}
    assert rates["generation"] == pytest.approx(RATES["failed"], abs=0.1)
    assert min(rates["explicit"], rates["implicit"]) > 0.95


def test_nearly_every_held_out_item_has_a_right_answer() -> None:
    items = [item for suite in tasks.SUITE_SHA256 for split in tasks.SPLITS for item in tasks.load_suite(suite, split)]
    without = Counter(item.suite for item in items if not right_answer(item.instruction))
    assert max(without.values(), default=0) <= 2
    assert [item.id for item in items if (text := right_answer(item.instruction)) and tasks.verify(item, text)] == []


def test_the_audit_passes_on_the_ids_of_the_model_that_is_played(tiny_model: Path) -> None:
    config = EngineConfig(name="scripted", device="cpu", dtype="float32", batch_size=1, threads=1, in_process=True)
    engine = engines.start(config, tiny_model)
    assert audit(engine, tiny_model, sentinels=False)["failures"] == []
    assert engine.description["scripted"] is True


def test_a_scripted_engine_asks_for_no_measurement(tmp_path: Path) -> None:
    config = compose_job("explicit", list(WORDS), "").engine
    assert resolve_engine(tmp_path, config, SilentProgress()) is config
    assert not (tmp_path / MACHINE_FILE).exists()


def planned(root: Path, *words: str) -> set[tuple[str, str, str]]:
    """(stage, step, folder) of everything that `stage=all` would make."""
    found = set()

    class Watched(Planner):
        def step(self, stage: str, name: str, *rest: object, **parts: object) -> Artifact:
            artifact = super().step(stage, name, *rest, **parts)  # type: ignore[arg-type]
            found.add((stage, name, artifact.path.name))
            return artifact

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cai_bootstrap.planning.Planner", Watched)
        configs: list[Config] = [compose_job(name, [*words, f"paths.root={root}"], "") for name in stages.CURRICULUM]
        planning.plan(configs)
    return found


@pytest.mark.slow
def test_no_artifact_but_the_base_model_is_shared_with_a_real_engine_or_another_script(tmp_path: Path) -> None:
    common = ("model=tiny-random", "preset=small")
    real = planned(tmp_path, *common, "engine.dtype=float32")
    passes = planned(tmp_path, *common, "engine=scripted")
    fails = planned(tmp_path, *common, "engine=scripted", "engine.script=fails_explicit")
    assert {entry[:2] for entry in real} == {entry[:2] for entry in passes} == {entry[:2] for entry in fails}
    assert len(real) > 80
    for one, other in ((real, passes), (real, fails), (passes, fails)):
        assert {entry[:2] for entry in one & other} == {("baseline", "base")}


def test_the_stamp_goes_on_to_all_that_comes_of_it(tmp_path: Path) -> None:
    with Run(tmp_path, "r") as run:
        scripted, real = left(run, "s", "a", scripted=True), left(run, "s", "b", scripted=False)
        mixed = left(run, "s", "c", scripted=False, one=real, other=scripted)
        assert [item.is_scripted for item in (scripted, real, mixed)] == [True, False, True]
        assert left(run, "s", "d", scripted=False, of=mixed).manifest["scripted"] is True
        assert "scripted" not in left(run, "s", "e", scripted=False, of=real).manifest


@pytest.mark.parametrize("skipped", [False, True])
@pytest.mark.parametrize("scripted", [True, False])
def test_a_scripted_parent_and_a_real_engine_do_not_go_together(tmp_path: Path, scripted: bool, skipped: bool) -> None:
    with Run(tmp_path, "r") as run:
        if skipped:
            left(run, "baseline", "explicit-gap", scripted=scripted)
            run.record_stage("explicit", None, passed=True, skipped=True)
        else:
            chain(run, "explicit", scripted=scripted)
    words = ["model=tiny-random", "parent_run=r", f"paths.root={tmp_path}"]
    matching, other = (compose_job("implicit", [*words, *more], "") for more in (["engine=scripted"], []))
    matching, other = (matching, other) if scripted else (other, matching)
    parent = lineage.find_parent(tmp_path, matching)
    assert (parent is None) is skipped
    what = "the skipping of stage explicit" if skipped else "the model of stage explicit"
    why = "is scripted and claims nothing" if scripted else "is no scripted one"
    with pytest.raises(UserError, match=rf"{what} of run=r {why}, engine={other.engine.name} cannot start from it") as told:
        lineage.find_parent(tmp_path, other)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["engine=scripted"], "engine=scripted plays no real model, and model=gemma-3-270m is one: write model=tiny-random"),
        (["engine.script=passes"], "engine.script='passes' is not valid: write engine=scripted with it"),
        ([*WORDS, "engine.script=fails"], "engine.script='fails' is not valid: write one of passes, fails_explicit"),
    ],
)
def test_what_does_not_fit_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        compose_job("explicit", words, "")
    assert told in str(caught.value)


def test_help_names_it() -> None:
    assert "engine=transformers|vllm|ray|ray_vllm|scripted" in USAGE


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_parent_that_was_measured_on_test_is_measured_anew_for_a_child_on_dev(tmp_path: Path) -> None:
    words = [*WORDS, *SMALL, f"paths.root={tmp_path}"]
    assert main(["stage=1", *words]) == 0
    main(["stage=2", "run=tried", "parent_run=default", "eval.split=dev", *words])  # few items: its gate may go either way
    with Run(tmp_path, "tried") as run:
        gate = run.artifact("implicit", "gate")
        assert gate is not None
        measured = {name: run.artifact("implicit", name) for name in ("parent-explicit", "eval-explicit")}
    assert [made.manifest["values"]["split"] for made in measured.values() if made is not None] == ["dev", "dev"]
    assert "retention of explicit" in {check["name"] for check in gate.json("gate.json")["checks"]}


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_stage_1_from_the_command_line_is_stamped_and_is_no_parent(
    tmp_path: Path, run_cli: RunCli, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown, told = run_cli("stage=1", *WORDS, *SMALL, root=tmp_path)
    assert (code, "error" in told) == (0, False), told
    assert "Gate of stage explicit: passed – scripted, no claim" in shown
    report = (tmp_path / "data" / "runs" / "default" / "explicit" / "report.md").read_text(encoding="utf-8")
    assert report.startswith("### Scripted, no claim\n")
    with Run(tmp_path, "default") as run:
        model = run.artifact("explicit", "model")
    assert model is not None
    assert model.is_scripted
    assert (model.path / "model" / "model.safetensors").is_file()

    root = f"paths.root={tmp_path}"
    assert main(["status", root]) == 0
    shown = capsys.readouterr().out
    assert "passed (scripted, no claim)" in shown
    assert "next for default: python -m cai_bootstrap stage=implicit engine=scripted model=tiny-random" in shown
    assert main(["status", "--json", root]) == 0
    (run_told,) = json.loads(capsys.readouterr().out)["runs"]
    assert {stage["stage"]: stage["scripted"] for stage in run_told["stages"]} == {"baseline": True, "explicit": True}

    for words, refused in (
        (["stage=2", "model=tiny-random", root], "the model of stage explicit of run=default is scripted and claims nothing"),
        (["export", str(tmp_path / "out"), "stage=1", root], "the model of stage explicit of run=default is scripted"),
        (["stage=1", "model=path", f"model.path={model.path / 'model'}", root], "is scripted and claims nothing"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert refused in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_script_that_fails_stops_the_curriculum_and_an_override_stays_visible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "theirs.yaml").write_text(WILD)
    words = [*WORDS, *SMALL, f"paths.root={tmp_path}", "engine.script=fails_explicit", "stage.gate.min_strict=0.5"]
    words.append(f"constitution={tmp_path / 'theirs.yaml'}")
    assert main(["stage=1", *words]) == 1
    shown, progress = capsys.readouterr()
    # What is odd in a constitution from elsewhere is told at once, and stands with the gate.
    assert f"warning: {tmp_path / 'theirs.yaml'}: category 'helpfulness' claims '8 principles', counted 2" in progress
    (gate,) = tmp_path.glob("data/store/explicit/gate-*/gate.json")
    assert any("claims '8 principles', counted 2" in warning for warning in json.loads(gate.read_bytes())["warnings"])
    assert "Gate of stage explicit: NOT passed – scripted, no claim" in shown
    assert main(["stage=2", *words]) == 2
    assert "needs stage explicit of run=default, which has not passed its gate" in capsys.readouterr().err
    assert main(["stage=1", *words, "gate.override='only a rehearsal'"]) == 0
    assert main(["status", f"paths.root={tmp_path}"]) == 0
    assert "FAILED, overridden: only a rehearsal (scripted, no claim)" in capsys.readouterr().out
    # Every gate after it says so, and the stage itself does even when it is called without the word.
    assert main(["stage=2", *words]) in (0, 1)
    assert "stage explicit did not pass its gate, which was overridden: only a rehearsal" in capsys.readouterr().out
    assert main(["stage=1", *words]) == 1
    capsys.readouterr()
    assert main(["status", f"paths.root={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "FAILED, overridden before: only a rehearsal (scripted, no claim)" in shown
    assert "warning: default/implicit: stage explicit did not pass its gate, which was overridden: only a rehearsal" in shown
