"""The safety filter in the data path: off it is no step at all, on it drops and counts; with a scripted classifier."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_classifiers as tiny
from data_path import KNOWN, all_pairs, completion, configured, given
from scripted import ScriptedEngine, ScriptedSession
from test_curriculum import as_one_form, known, small
from test_data_path import STEPS
from test_whole_curriculum import WORDS

from cai_bootstrap import pipeline, stages
from cai_bootstrap.__main__ import compose_job
from cai_bootstrap.config import Config, EngineConfig, SafetyConfig
from cai_bootstrap.engines import classifiers
from cai_bootstrap.engines.classifiers.classifier import SafetyClassifier, SafetyVerdict
from cai_bootstrap.errors import JudgeError
from cai_bootstrap.lineage import Parent
from cai_bootstrap.pipeline import Outcome, bootstrap, warnings_of
from cai_bootstrap.report.pairs import load_dropped
from cai_bootstrap.steps.pair import iter_pairs
from cai_bootstrap.steps.screen import screen
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run
from cai_bootstrap.store.runner import bind

SCREENED = [*STEPS[: STEPS.index("kept") + 1], "screened", *STEPS[STEPS.index("kept") + 1 :]]


class Scripted:
    """Takes every third answer for unsafe, told by its length."""

    def __init__(self, fail_at_call: int | None = None) -> None:
        self.fail_at_call = fail_at_call
        self.calls: list[list[tuple[str, str]]] = []
        self.num_closed = 0
        self.value: float | None = None
        self.mass = 1.0

    @property
    def description(self) -> dict[str, str | int | float]:
        return {"engine": "scripted classifier"}

    def unsafe(self, text: str) -> float:
        return self.value if self.value is not None else 0.5 if len(text) % 3 == 0 else 0.25

    def classify(self, pairs: Sequence[tuple[str, str]]) -> list[SafetyVerdict]:
        self.calls.append(list(pairs))
        if self.fail_at_call == len(self.calls) - 1:
            raise RuntimeError("killed here")
        found = [self.unsafe(text) for _, text in pairs]
        told = [["S10 Hate"] if unsafe >= 0.5 else [] for unsafe in found]
        return [SafetyVerdict(unsafe=p, categories=c, mass=self.mass) for p, c in zip(found, told, strict=True)]

    def close(self) -> None:
        self.num_closed += 1


@pytest.fixture
def classifier(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """The scripted classifier, found by its name as the real ones are."""
    scripted = Scripted()

    def build(safety: SafetyConfig, engine: EngineConfig) -> SafetyClassifier:
        return scripted

    monkeypatch.setitem(classifiers.CLASSIFIERS, "scripted", classifiers.Kind(build, "", has_labels=False))
    return scripted


@pytest.fixture
def safety(tmp_path: Path) -> SafetyConfig:
    folder = tmp_path / "classifier"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return SafetyConfig(name="scripted", path=str(folder), shard_size=5)


def screening(safety: SafetyConfig, config: Config | None = None) -> Config:
    return dataclasses.replace(config or configured(40, 10), safety=safety)


def held(root: Path, name: str, stage: str = "explicit") -> Artifact:
    with Run(root, "r") as run:
        found = run.artifact(stage, name)
    assert found is not None
    return found


def test_off_there_is_no_step_and_no_setting(tmp_path: Path) -> None:
    run, outcome = all_pairs(tmp_path, ScriptedEngine(KNOWN))
    assert run.computed == STEPS
    kept = held(tmp_path, "kept")
    assert outcome.pairs is not None
    assert outcome.pairs.manifest["inputs"]["kept"] == kept.digest == held(tmp_path, "rejected").manifest["inputs"]["kept"]
    for name in STEPS:
        assert not {"safety", "classifier", "max_unsafe"} & held(tmp_path, name).manifest["settings"].keys()


def test_on_what_is_unsafe_is_dropped_and_counted(tmp_path: Path, classifier: Scripted, safety: SafetyConfig) -> None:
    plain = all_pairs(tmp_path, ScriptedEngine(KNOWN), config=configured(40, 10))[1]
    run, outcome = all_pairs(tmp_path, ScriptedEngine(KNOWN), config=screening(safety))
    assert run.computed == ["screened", "rejected", "pairs"]  # what comes before is shared with a run without the filter
    kept, screened = held(tmp_path, "kept"), held(tmp_path, "screened")
    rows, passed, dropped = kept.rows(), screened.rows(), screened.rows("dropped.jsonl")
    assert [len(part) for part in classifier.calls] == [5] * (len(rows) // 5) + ([len(rows) % 5] if len(rows) % 5 else [])
    assert [pair for part in classifier.calls for pair in part] == [(row["instruction"], row["text"]) for row in rows]
    assert classifier.num_closed == 1
    assert dropped
    assert [row["text"] for row in passed] == [row["text"] for row in rows if len(row["text"]) % 3]
    assert len(passed) + len(dropped) == len(rows)
    for row in dropped:
        assert (row["step"], row["reason"], row["categories"]) == ("screened", "unsafe", ["S10 Hate"])
        assert row["scores"]["unsafe"] == 0.5
    originals = {row["prompt_id"]: row for row in rows}
    for row in passed:
        before = originals[row["prompt_id"]]
        assert row == {**before, "scores": {**before["scores"], "unsafe": 0.25}}
    assert screened.json("screening.json") == {
        "num_screened": len(rows), "num_unsafe": len(dropped), "categories": {"S10 Hate": len(dropped)},
    }  # fmt: skip
    assert outcome.pairs is not None
    pairs = list(iter_pairs(outcome.pairs))
    assert all(pair.provenance["chosen_scores"]["unsafe"] == 0.25 for pair in pairs)
    assert {pair.instruction for pair in pairs} <= {row["instruction"] for row in passed}
    told = load_dropped(tmp_path, "r")
    assert (told[told["step"] == "screened"]["reason"] == "unsafe").sum() == len(dropped)
    assert plain.pairs is not None
    assert plain.pairs.digest != outcome.pairs.digest


def test_a_run_with_it_says_so(tmp_path: Path, classifier: Scripted, safety: SafetyConfig) -> None:
    all_pairs(tmp_path, ScriptedEngine(KNOWN), config=screening(safety))
    screened = held(tmp_path, "screened")
    sha256 = classifiers.folder_sha256(str(safety.path))
    warning = f"a second model screened the kept answers: safety=scripted, sha256 {sha256[:12]}…"
    assert screened.manifest["warnings"] == [warning]
    assert screened.manifest["engine"] == {"engine": "scripted classifier", "sha256": sha256}
    assert screened.manifest["settings"]["sha256"] == sha256
    assert str(safety.path) not in str(screened.manifest["settings"])
    with Run(tmp_path, "r") as run:
        assert warning in warnings_of(run, "explicit")  # what the gate's result is given
    all_pairs(tmp_path, ScriptedEngine(KNOWN))
    with Run(tmp_path, "r") as run:
        assert warnings_of(run, "explicit") == []


@pytest.mark.parametrize("call", [0, 2])
def test_killed_anywhere_it_goes_on(tmp_path: Path, classifier: Scripted, safety: SafetyConfig, call: int) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    all_pairs(tmp_path / "whole", ScriptedEngine(KNOWN), config=screening(safety))
    asked = list(classifier.calls)
    classifier.calls.clear()
    classifier.fail_at_call = call
    with pytest.raises(RuntimeError, match="killed here"):
        all_pairs(tmp_path / "killed", ScriptedEngine(KNOWN), config=screening(safety))
    classifier.calls.clear()
    classifier.fail_at_call = None
    run, _ = all_pairs(tmp_path / "killed", ScriptedEngine(KNOWN), config=screening(safety))
    assert run.computed == ["screened", "rejected", "pairs"]
    assert classifier.calls == asked[call:]  # no committed shard is classified again
    assert classifier.num_closed == 3  # the killed one too
    for name in ("records.jsonl", "dropped.jsonl", "screening.json"):
        assert held(tmp_path / "killed", "screened").read(name) == held(tmp_path / "whole", "screened").read(name)


def test_every_stage_is_screened_and_the_pilot_with_it(
    tmp_path: Path, classifier: Scripted, safety: SafetyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages.stage, "load_seeds", as_one_form)
    classifier.value = 0.1
    for stage in ("evaluation", "constitutional"):  # one with constructed tasks, and the other way to pairs
        config = screening(safety, small(stage))
        pilot = dataclasses.replace(config.stage.pilot, num_instructions=12, max_duplicates=1.0, max_cut=1.0, min_kept=0.0)
        config = dataclasses.replace(config, stage=dataclasses.replace(config.stage, pilot=pilot))
        with Run(tmp_path, "r") as run:
            model = given(run, "parent", model__json={})
            outcome, parent = Outcome(base=model), Parent(model, roles=dict.fromkeys(config.stage.roles, model))
            session = ScriptedSession(ScriptedEngine(known()))
            bootstrap(run, session, config, stages.load(stage), parent, outcome, "pairs", 1)
            assert {"screened-pilot", "screened"} <= set(run.computed)
            after = "constructed" if stage == "evaluation" else "rejected"
            made, screened = run.artifact(stage, after), run.artifact(stage, "screened")
            piloted, pilot_made = run.artifact(stage, "screened-pilot"), run.artifact(stage, "pilot")
        assert made is not None
        assert screened is not None
        assert piloted is not None
        assert pilot_made is not None
        assert made.manifest["inputs"]["kept"] == screened.digest
        assert pilot_made.manifest["inputs"]["kept"] == piloted.digest


def screen_some(root: Path, safety: SafetyConfig) -> Artifact:
    row = {"prompt_id": "p", "instruction": "Who?", "text": completion("A cat.").text, "scores": {}}
    with Run(root, "r") as run:
        return run.step(
            "explicit",
            "screened",
            bind(screen, session=ScriptedSession(ScriptedEngine()), safety=safety),
            settings={"classifier": safety.name, "sha256": "0" * 64, "max_unsafe": safety.max_unsafe, "shard_size": 60},
            inputs={"kept": given(run, "kept", records__jsonl=[row] * 3)},
            seed=1,
        )


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1])
def test_a_probability_that_is_none_is_an_error_and_no_score(
    tmp_path: Path, classifier: Scripted, safety: SafetyConfig, value: float
) -> None:
    classifier.value = value
    with pytest.raises(JudgeError, match="no probability"):
        screen_some(tmp_path, safety)


def test_a_model_that_answers_something_else_is_told(tmp_path: Path, classifier: Scripted, safety: SafetyConfig) -> None:
    classifier.mass = 0.2
    assert "mostly answers neither safe nor unsafe" in screen_some(tmp_path, safety).manifest["warnings"][1]


def test_everything_unsafe_leaves_nothing(tmp_path: Path, classifier: Scripted, safety: SafetyConfig) -> None:
    classifier.value = 0.5  # at the limit is unsafe
    found = screen_some(tmp_path, safety)
    assert (found.rows(), len(found.rows("dropped.jsonl"))) == ([], 3)


@pytest.mark.parametrize("kind", ["llama_guard", "sequence_classifier"])
def test_a_real_classifier_screens_the_data_path(kind: str, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "model").mkdir()
    build = tiny.llama_guard if kind == "llama_guard" else tiny.sequence_classifier
    safety = dataclasses.replace(build(tmp_path / "model", tiny_model), max_unsafe=1.0)
    classifiers.check(safety)
    run, outcome = all_pairs(tmp_path, ScriptedEngine(KNOWN), config=screening(safety))
    assert run.computed == SCREENED
    screened = held(tmp_path, "screened")
    assert all(0 < row["scores"]["unsafe"] < 1 for row in screened.rows())
    assert screened.manifest["engine"]["engine"] == kind
    neither = [text for text in screened.manifest["warnings"] if "neither safe nor unsafe" in text]
    assert bool(neither) == (kind == "llama_guard")  # random weights know no verdict, and the run says so
    assert outcome.pairs is not None


@pytest.mark.slow
def test_the_gate_of_a_run_with_it_says_so(
    tmp_path: Path,
    classifier: Scripted,
    safety: SafetyConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "root"
    assert pipeline.run_stage(screening(safety, compose_job("explicit", [*WORDS, f"paths.root={root}"], ""))) == 0
    with Run(root, "default") as run:
        gate, screened = run.artifact("explicit", "gate"), run.artifact("explicit", "screened")
    assert gate is not None
    assert screened is not None
    (warning,) = screened.manifest["warnings"]
    assert warning in gate.json("gate.json")["warnings"]
    assert warning in gate.manifest["values"]["warnings"]
    assert "a second model screened the kept answers" in capsys.readouterr().out
