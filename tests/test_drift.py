"""The drift ledger: a model that writes what the base writes has not drifted, and one table says it of every stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_path import given
from scripted import ScriptedEngine, ScriptedSession

from cai_bootstrap.errors import UserError
from cai_bootstrap.evals import statistics, tasks
from cai_bootstrap.report.ledger import drift_ledger
from cai_bootstrap.steps.drift import measure_drift
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run, Work, step
from cai_bootstrap.store.runner import bind

SAMPLING = {"temperature": 1.0, "top_k": 64, "top_p": 1.0, "max_tokens": 64}


class TwoModels(ScriptedSession):
    """The base model finds every text less likely than the trained one, by `gap` a token."""

    def __init__(self, gap: float) -> None:
        super().__init__(ScriptedEngine())
        self.gap = gap

    def engine(self, folder: Path) -> Any:
        engine = ScriptedEngine()
        gap = self.gap if folder.parent.name.startswith("base") else 0.0
        score = engine.completion_logprobs
        engine.completion_logprobs = lambda pairs, on_done=None: [(t - gap * n, n) for t, n in score(pairs)]  # type: ignore[method-assign]
        return engine


def drift(root: Path, gap: float) -> dict[str, Any]:
    with Run(root, "r") as run:
        model, base = given(run, "model", model__json={}), given(run, "base", model__json={})
        artifact = run.step(
            "explicit",
            "drift",
            bind(measure_drift, session=TwoModels(gap)),
            settings={"sampling": SAMPLING},
            inputs={"model": model, "base": base},
            values={"instructions": [f"What is thing number {n}?" for n in range(20)]},
            seed=1,
        )
    found: dict[str, Any] = artifact.json("drift.json")
    return found


@pytest.mark.parametrize("gap", [0.0, 0.25])
def test_the_divergence_is_what_the_models_differ_by_a_token(tmp_path: Path, gap: float) -> None:
    found = drift(tmp_path, gap)
    assert found["kl_per_token"] == pytest.approx({"value": gap, "low": gap, "high": gap}, abs=1e-9)
    assert found["tokens"]["low"] <= found["tokens"]["value"] <= found["tokens"]["high"]
    assert (found["ended"]["successes"], found["declines"]["successes"], found["ended"]["total"]) == (0, 0, 20)


def test_a_ratio_has_the_interval_of_resampled_pairs() -> None:
    rng = np.random.default_rng(1)
    below = rng.uniform(5, 15, 400)
    above = below * rng.normal(0.3, 0.1, 400)
    found = statistics.ratio(list(above), list(below))
    assert found["value"] == pytest.approx(above.sum() / below.sum())
    assert found["low"] < found["value"] < found["high"]
    # Of a mean of 400 draws with deviation 0.1 the standard error is 0.005.
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 0.005, rel=0.25)
    with pytest.raises(UserError, match="add up to 0"):
        statistics.ratio([1.0], [0.0])


@step(version=1)
def leave(work: Work, rows: list[dict[str, Any]], content: dict[str, Any]) -> None:
    work.write_rows("records.jsonl", rows)
    work.write_json("drift.json", content)


def left(run: Run, stage: str, name: str, rows: list[dict[str, Any]], content: dict[str, Any] | None = None) -> Artifact:
    return run.step(stage, name, leave, settings={}, values={"rows": rows, "content": content or {}}, seed=1)


def test_the_ledger_has_a_column_for_each_stage_and_no_figure_without_its_interval(tmp_path: Path) -> None:
    items = tasks.load_suite("explicit", "dev")[:10]
    records = [tasks.score(item, "trained", "p", "nothing", "eos", 2).to_row() for item in items]
    share = statistics.wilson(9, 10).to_row()
    content = {
        "kl_per_token": {"value": 0.2, "low": 0.1, "high": 0.3},
        "tokens": {"value": 7.0, "low": 6.0, "high": 8.0},
        "ended": share,
        "declines": statistics.wilson(0, 10).to_row(),
    }
    with Run(tmp_path, "r") as run:
        assert drift_ledger(run) == ([], [])
        left(run, "explicit", "eval", records)
        left(run, "explicit", "drift", records, content)
        for name in ("eval-2", "eval-explicit-2", "drift-2"):
            left(run, "implicit", name, records, content)
        columns, rows = drift_ledger(run)
    assert columns == ["after stage", "explicit", "implicit"]
    assert {row[0]: row[1:] for row in rows} == {
        "KL from the base, nats/token": ["0.200 [0.100, 0.300]"] * 2,
        "tokens a response": ["7.0 [6.0, 8.0]"] * 2,
        "ended by itself": ["90.0 % [59.6, 98.2]"] * 2,
        "declined, all harmless": ["0.0 % [0.0, 27.8]"] * 2,
        "strict on explicit": ["0.0 % [0.0, 27.8]"] * 2,
        "strict on implicit": ["–", "0.0 % [0.0, 27.8]"],
    }
