"""All six stages from base to constitutional in this process: real training and merging of a tiny model, scripted texts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cai_bootstrap import pipeline, stages
from cai_bootstrap.__main__ import compose_job
from cai_bootstrap.engines.scripted import stages_behind
from cai_bootstrap.lineage import find_parent
from cai_bootstrap.report.curriculum import curriculum_table
from cai_bootstrap.report.ledger import drift_ledger
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run

TRAINED = stages.CURRICULUM[1:]
WORDS = (
    "engine=scripted",
    "model=tiny-random",
    "preset=small",
    "eval.num_items=150",
    "eval.raw=false",
    "eval.drift_items=8",
    "stage.instructions.num_instructions=48",
    "stage.pairs.min_pairs=10",
    "train.num_epochs=1",
    "merge.num_prompts=2",
)


BY_MODEL = {
    "explicit": {"instructions candidates verdicts rejected adapter model": "baseline"},
    "implicit": {"instructions candidates verdicts rejected adapter model parent-outputs": "explicit"},
    "generation": {"instructions candidates verdicts rejected adapter model parent-outputs": "implicit"},
    "evaluation": {"instructions candidates verdicts rejected adapter model parent-outputs": "generation"},
    "revision": {
        "calibration instructions candidates verdicts": "generation",
        "rejected adapter model parent-outputs": "evaluation",
    },
    "constitutional": {
        "instructions": "generation",
        "originals": "implicit",
        "critiques revisions": "baseline",
        "calibration verdicts": "evaluation",
        "rejected adapter model parent-outputs": "revision",
    },
}
"""By stage: whose model does what."""


@pytest.mark.timeout(900)
def test_from_base_to_constitutional(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parents = {}
    for name in TRAINED:
        config = compose_job(name, [*WORDS, f"paths.root={tmp_path}"], "")
        origin = find_parent(tmp_path, config)
        parents[name] = None if origin is None else (origin.model.stage, {role: m.stage for role, m in origin.roles.items()})
        if origin is not None:
            assert list(origin.evals) == [stages.load(before).suite for before in TRAINED[: TRAINED.index(name)]]
            assert stages_behind(origin.model.path / "model") == TRAINED[: TRAINED.index(name)]
        assert pipeline.run_stage(config) == 0
    assert parents == {
        "explicit": None,
        "implicit": ("explicit", {}),
        "generation": ("implicit", {}),
        "evaluation": ("generation", {}),
        "revision": ("evaluation", {"writer": "generation"}),
        "constitutional": (
            "revision",
            {"prompts": "generation", "answers": "implicit", "judge": "evaluation"},
        ),
    }
    shown = capsys.readouterr().out
    assert shown.count("Drift, stage by stage (95 % intervals) – scripted, no claim") == len(TRAINED)
    with Run(tmp_path, "default") as run:
        last = run.artifact("constitutional", "gate")
        assert last is not None
        gate = last.json("gate.json")
        assert [check["name"] for check in gate["checks"]][3:] == [
            *(f"retention of {stages.load(name).suite}" for name in sorted(TRAINED[:-1])),
            "harmful_compliance_down",
            "over_refusal_not_up",
        ]
        assert (gate["passed"], gate["override"]) == (True, None)
        models = {"baseline": _held(run, "baseline", "base"), **{name: _held(run, name, "model") for name in TRAINED}}
        for name, by_model in BY_MODEL.items():
            expected = {step: model for steps, model in by_model.items() for step in steps.split()}
            given = {step: _held(run, name, step).manifest["inputs"]["model"] for step in expected}
            assert given == {step: models[model].digest for step, model in expected.items()}, name
        judged = _held(run, "evaluation", "gate")
        against = ["trained strict vs lengths alone", "trained strict vs words alone"]
        assert [check["name"] for check in judged.json("gate.json")["checks"]][-2:] == against
        assert [check["name"] for check in judged.json("judging.json")["checks"]] == against
        assert judged.manifest["inputs"]["pairs"] == _held(run, "evaluation", "pairs").digest  # what both are trained on
        made = {name: run.stage(name) for name in TRAINED}
        artifacts = {(stage, name): run.artifact(stage, name) for stage in stages.CURRICULUM for name in _steps(run, stage)}
        columns, rows = drift_ledger(run)
        table = curriculum_table(run)
    assert [key for key, artifact in artifacts.items() if not (artifact and artifact.is_scripted)] == [("baseline", "base")]
    assert columns[1:] == list(TRAINED)
    assert [row[0] for row in table.rows] == list(stages.CURRICULUM)
    for row, name in zip(table.rows[1:], TRAINED, strict=True):
        assert all(re.fullmatch(r"\d+\.\d % \[.*\]", cell) for cell in (row[1], row[3]))
        assert (row[2] == "–") == (name == "explicit")
        assert row[4].startswith("passed")
        assert int(row[5]) >= 10
        kept, asked = map(int, row[7].split(" of "))  # of stage 6 committed prompts are asked, too
        assert 10 <= kept <= asked
        assert (asked > 50) == (name == "constitutional")
    assert (tmp_path / "data" / "runs" / "default" / "curriculum.md").read_text("utf-8").count("| passed") == len(TRAINED)
    measured = {row[0]: [cell != "–" for cell in row[1:]] for row in rows if row[0].startswith("strict")}
    suites = [stages.load(name).suite for name in TRAINED]
    assert measured == {f"strict on {suite}": [at >= first for at in range(6)] for first, suite in enumerate(suites)}
    assert all(entry and entry["gate"]["passed"] and not entry["gate"]["override"] for entry in made.values())
    assert json.loads(next((tmp_path / "data" / "store" / "constitutional").glob("gate-*/safety.json")).read_text())["checks"]


def _held(run: Run, stage: str, step: str) -> Artifact:
    artifact = run.artifact(stage, step)
    assert artifact is not None, (stage, step)
    return artifact


def _steps(run: Run, stage: str) -> list[str]:
    entry = run.stage(stage)
    assert entry is not None
    return list(entry["steps"])
