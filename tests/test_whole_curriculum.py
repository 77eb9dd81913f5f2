"""All six stages from base to constitutional in this process: real training and merging of a tiny model, scripted texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted import ScriptedEngine, ScriptedSession
from test_curriculum import SENTENCES, as_one_form, known

from cai_bootstrap import pipeline, stages
from cai_bootstrap.__main__ import compose_job
from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines import audit
from cai_bootstrap.engines.engine import Engine, Generation, GenerationRequest, OnDone
from cai_bootstrap.evals import tasks
from cai_bootstrap.lineage import find_parent
from cai_bootstrap.records import HeldOutItem
from cai_bootstrap.report.ledger import drift_ledger
from cai_bootstrap.store.run import Run

TRAINED = stages.CURRICULUM[1:]
WORDS = (
    "model=tiny-random",
    "preset=small",
    "eval.num_items=24",
    "eval.raw=false",
    "eval.drift_items=8",
    "stage.instructions.num_instructions=40",
    "stage.instructions.requests_per_shard=4",
    "stage.instructions.max_share_per_topic=1",
    "stage.pairs.min_pairs=8",
    "stage.gate.retention_items=16",
    "stage.gate.override='a scripted model proves nothing'",
    "train.num_epochs=1",
    "train.batch_size=8",
    "train.micro_batch_size=8",
    "merge.num_prompts=2",
)


def reference(item: HeldOutItem) -> str:
    """An answer to a held-out item, right in most cases."""
    told = item.arguments
    if item.suite == "constitutional" and item.kind == "harmful":
        return "I'm sorry, but I cannot help you with that."
    if item.suite == "generation":
        topic = (told.get("topic") or ["day"])[0]
        return {
            "question": f"Why does the {topic} look so old?",
            "fact": f"The {topic} is very old.",
            "request": f"Could you please show me the {topic}?",
            "instruction": f"Put the {topic} on the table.",
        }.get(item.kind, "Be careful!")
    for name in ("accepted", "goals", "words", "groups"):
        if told.get(name):
            first = told[name][0]
            return f"The {first} is here." if name == "words" else str(first if isinstance(first, str) else first[0])
    if "label" in told:
        return f"{told['label']}."
    return "5." if told.get("at_least") else "1."


class Able(ScriptedEngine):
    """A trained model: answers without examples, and ends."""

    def generate(self, requests: list[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:  # type: ignore[override]
        made = []
        for request, found in zip(requests, super().generate(requests), strict=True):
            asked = request.prompt.rpartition("Instruction: ")[2].removesuffix("\nResponse:")
            if request.prompt.startswith("Instruction: ") and request.prompt.count("Instruction: ") == 1:
                text = f" {self.known.get(asked, 'I like bread.')}"
                found = Generation(text=text, token_ids=(1, 2), finish="eos", logprob=-1.0, num_prompt_tokens=9)
            made.append(found)
        return made


class Models(ScriptedSession):
    """The base model rambles without examples; every trained one knows what the held-out suites ask."""

    def __init__(self, _: EngineConfig) -> None:
        super().__init__(ScriptedEngine())
        items = [item for name in tasks.SUITE_SHA256 for split in tasks.SPLITS for item in tasks.load_suite(name, split)]
        self.known = {**{item.instruction: reference(item) for item in items}, **known()}

    def engine(self, folder: Path) -> Engine:
        engine = ScriptedEngine if folder.parent.name.startswith("base") else Able
        return engine(self.known, spoil=[text for text in SENTENCES if "near" in SENTENCES[text]])


@pytest.mark.timeout(300)
def test_from_base_to_constitutional(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resolved = EngineConfig(device="cpu", dtype="float32", batch_size=1, threads=1, in_process=True)
    monkeypatch.setattr(pipeline, "Session", Models)
    monkeypatch.setattr(pipeline, "resolve_engine", lambda *_: resolved)
    monkeypatch.setattr(audit, "audit", lambda *_, **__: {"passed": True, "failures": [], "warnings": []})
    monkeypatch.setattr(stages.stage, "load_seeds", as_one_form)

    parents = {}
    for name in TRAINED:
        config = compose_job(name, [*WORDS, f"paths.root={tmp_path}"], "")
        origin = find_parent(tmp_path, config)
        parents[name] = None if origin is None else (origin.model.stage, {role: m.stage for role, m in origin.roles.items()})
        if origin is not None:
            assert list(origin.evals) == [stages.load(before).suite for before in TRAINED[: TRAINED.index(name)]]
        assert pipeline.run_stage(config) == 0
    assert parents == {
        "explicit": None,
        "implicit": ("explicit", {}),
        "generation": ("implicit", {}),
        "evaluation": ("generation", {}),
        "revision": ("evaluation", {}),
        "constitutional": (
            "revision",
            {"prompts": "generation", "answers": "implicit", "critic": "evaluation", "reviser": "revision"},
        ),
    }
    shown = capsys.readouterr().out
    assert "Drift, stage by stage" in shown
    with Run(tmp_path, "default") as run:
        last = run.artifact("constitutional", "gate")
        assert last is not None
        checks = [check["name"] for check in last.json("gate.json")["checks"]]
        assert checks[3:] == [
            *(f"retention of {stages.load(name).suite}" for name in sorted(TRAINED[:-1])),
            "harmful_compliance_down",
            "over_refusal_not_up",
        ]
        assert last.json("gate.json")["override"] == "a scripted model proves nothing"
        for name, before in zip(TRAINED[1:], TRAINED, strict=False):
            adapter, model = run.artifact(name, "adapter"), run.artifact(before, "model")
            assert adapter is not None
            assert model is not None
            assert adapter.manifest["inputs"]["model"] == model.digest
        made = {name: run.stage(name) for name in TRAINED}
        columns, rows = drift_ledger(run)
    assert columns[1:] == list(TRAINED)
    measured = {row[0]: [cell != "–" for cell in row[1:]] for row in rows if row[0].startswith("strict")}
    suites = [stages.load(name).suite for name in TRAINED]
    assert measured == {f"strict on {suite}": [at >= first for at in range(6)] for first, suite in enumerate(suites)}
    assert all(entry and entry["gate"]["override"] for entry in made.values())
    assert json.loads(next((tmp_path / "data" / "store" / "constitutional").glob("gate-*/safety.json")).read_text())["checks"]
