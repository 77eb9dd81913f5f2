"""Sweeps through the command line: order, the first failed gate, what is shared and skipped, and the summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_comparison import outcomes
from test_whole_curriculum import WORDS

from cai_bootstrap import stages
from cai_bootstrap.__main__ import compose_job, main
from cai_bootstrap.engines.session import Session
from cai_bootstrap.lineage import Parent
from cai_bootstrap.pipeline import bootstrap, measure_baseline
from cai_bootstrap.records import GateResult
from cai_bootstrap.report.plan import Planner
from cai_bootstrap.report.sweep import Job, print_summary
from cai_bootstrap.store.run import Run, Work, step

SMALL = [word for word in WORDS if not word.startswith("stage.pairs.min_pairs")]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def summary(root: Path) -> dict[str, Any]:
    (found,) = (root / "data" / "sweeps").glob("*/summary.json")
    read: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return read


def work(root: Path) -> list[tuple[int, int, int]]:
    """By job: steps computed, found of earlier jobs, found from before."""
    return [(row["computed"], row["of_earlier_jobs"], row["from_before"]) for row in summary(root)["work"]]


def minutes(root: Path) -> list[tuple[float, float]]:
    """By job: what its computed steps took, and what the steps took that it found."""
    return [(row["minutes_computed"], row["minutes_found"]) for row in summary(root)["work"]]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sweep_shares_what_does_not_change_and_skips_what_is_done(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "stage=1", "train.learning_rate=5e-4,1e-3", "stage.pairs.min_pairs=8,9999", *SMALL]
    assert main(words) == 1  # two jobs have too few pairs
    shown = capsys.readouterr().out
    assert "difference in points from job 1, on the same items" in shown
    assert work(root) == [(22, 0, 0), (0, 15, 0), (6, 16, 0), (0, 15, 0)]
    first, *others = times = minutes(root)
    assert first[1] == 0
    assert all(0 <= computed < first[0] and 0 < found < first[0] for computed, found in others)
    assert [computed > 0 for computed, _ in times] == [True, False, True, False]
    rows = summary(root)["results"]
    assert [row["gate"] for row in rows] == ["passed", "error", "passed", "error"]
    assert [row["overrides"] for row in rows[1:3]] == [
        ["train.learning_rate=0.0005", "stage.pairs.min_pairs=9999"],
        ["train.learning_rate=0.001", "stage.pairs.min_pairs=8"],
    ]
    assert "9999 are needed" in rows[1]["reasons"][0]
    assert (rows[1]["rate"], rows[1]["test"]) == (None, None)
    assert rows[2]["test"]["total"] == rows[0]["rate"]["total"] > 20

    before = sorted((root / "data" / "store").rglob("manifest.json")) + sorted((root / "checkpoints").rglob("manifest.json"))
    assert main(words) == 1
    shown = capsys.readouterr().out
    assert shown.count("stage=explicit was finished before: nothing was computed, 22 steps found, gate: passed") == 2
    assert work(root) == [(0, 0, 22), (0, 15, 0), (0, 16, 6), (0, 15, 0)]
    assert [computed for computed, _ in minutes(root)] == [0, 0, 0, 0]
    assert minutes(root)[0][1] == pytest.approx(first[0])  # what it took then
    assert summary(root)["results"] == rows
    after = sorted((root / "data" / "store").rglob("manifest.json")) + sorted((root / "checkpoints").rglob("manifest.json"))
    assert after == before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_stages_run_in_one_run_up_to_the_first_failed_gate(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "stage=1,2,3", "engine.script=fails_explicit", "stage.pairs.min_pairs=8", *SMALL]
    stopped = "not run: implicit, generation, since the gate of explicit was not passed\n"
    assert main(words) == 1
    shown = capsys.readouterr().out
    assert shown.index("Gate of stage explicit: NOT passed") < shown.index(stopped)
    (run,) = (root / "data" / "runs").iterdir()
    state = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert list(state["stages"]) == ["baseline", "explicit"]
    assert not (root / "data" / "sweeps").exists()  # one job has nothing to be compared with

    assert main(words) == 1
    shown = capsys.readouterr().out
    assert shown.startswith(f"run={run.name} stage=explicit was finished before: nothing")
    assert "gate: FAILED" in shown
    assert shown.endswith(stopped)


@step(version=1)
def leave(work: Work, rows: list[dict[str, Any]], gate: dict[str, Any], **_: Any) -> None:
    work.write_rows("records.jsonl", rows)
    work.write_json("gate.json", gate)


def job(root: Path, number: int, right: range | list[int], *, passed: bool = True, override: str | None = None) -> Job:
    """A job whose run holds a stage 1 with these outcomes, made by the real store."""
    config = compose_job("explicit", [f"paths.root={root}", f"seed={number}", "eval.split=dev"], f"-{number}")
    check = {"name": "trained strict", "passed": passed, "reason": "too low"}
    gate = GateResult(stage="explicit", passed=passed, checks=[check]).to_row()
    rows = [record.to_row() for record in outcomes(right)]
    made: list[Any] = []
    with Run(root, config.run, made=made) as run:
        common = {"settings": {}, "values": {"rows": [], "gate": {}}, "seed": 1}
        run.step("baseline", "base", leave, **common)  # type: ignore[arg-type]
        trained = run.step("explicit", "eval", leave, settings={}, values={"rows": rows, "gate": {}}, seed=number)
        inputs = {"trained": trained}
        decided = run.step("explicit", "gate", leave, settings={}, inputs=inputs, values={"rows": [], "gate": gate}, seed=1)
        run.record_stage("explicit", decided, passed=passed, override=override)
    return Job(number=number, overrides=[f"seed={number}"], chain=[config], made=made)


def test_the_summary_has_every_job_with_its_interval_or_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = Job(
        number=1,
        overrides=["seed=1"],
        chain=[compose_job("explicit", [f"paths.root={tmp_path}", "eval.split=dev"], "-1")],
        stopped_at="explicit",
        error="the disk of [thought] is full",
    )
    jobs = [
        broken,
        job(tmp_path, 2, range(10)),
        job(tmp_path, 3, range(16), passed=False),
        job(tmp_path, 4, [*range(7), 19], passed=False, override="to see"),
    ]
    print_summary(jobs)
    shown = capsys.readouterr().out
    rows = {line[:2]: " ".join(line.split()) for line in shown.splitlines() if line[1:2] == ":"}
    assert rows == {
        "1:": "1: seed=1 error – – – – –",
        "2:": "2: seed=2 passed 50.0 % [29.9, 70.1] 20 reference – –",
        "3:": "3: seed=3 FAILED 80.0 % [58.4, 91.9] 20 +30.0 [+6.7, +49.1] 0.031 0.062",
        "4:": "4: seed=4 overridden 40.0 % [21.9, 61.3] 20 -10.0 [-29.0, +10.5] 0.625 0.625",
    }
    for told in ("job 1: the disk of [thought] is full", "job 3: too low", "job 4: overridden: to see", "from job 2, on"):
        assert told in shown
    assert "test half" not in shown
    assert work(tmp_path) == [(0, 0, 0), (3, 0, 0), (2, 1, 0), (2, 1, 0)]
    (folder,) = (tmp_path / "data" / "sweeps").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["summary.json", "summary.md", "summary.txt"]
    assert (folder / "summary.txt").read_text(encoding="utf-8") in shown
    assert "| 2: seed=2 | passed | 50.0 % [29.9, 70.1] | 20 | reference | – | – |" in (folder / "summary.md").read_text("utf-8")
    assert [row["run"] for row in summary(tmp_path)["results"]] == [one.run for one in jobs]
    print_summary(jobs)
    assert list((tmp_path / "data" / "sweeps").iterdir()) == [folder]


def test_a_removed_evaluation_is_told_and_hides_no_other_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job(tmp_path, number, range(10)) for number in (1, 2)]
    for file in (tmp_path / "data" / "store" / "explicit").glob(f"eval-{jobs[0].made[1].digest[:16]}/manifest.json"):
        file.unlink()
    print_summary(jobs)
    shown = capsys.readouterr().out
    assert "job 1: explicit/eval of run=default-1 is gone" in shown
    assert "2: seed=2   passed   50.0 % [29.9, 70.1]   20" in shown


@pytest.mark.slow
def test_the_plan_shows_what_an_earlier_job_computes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-m", "stage=1", "train.learning_rate=1e-4,2e-4", f"paths.root={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    states = {line.split()[2]: line.split()[3:5] for line in lines[2:] if len(line.split()) > 5 or " to do " in line}
    first = next(line.split()[0] for line in lines if " base " in line)
    assert states["pairs"] == ["by", first]
    assert states["adapter"] == ["to", "do"]
    assert lines[-3:] == [
        f"{first} (train.learning_rate=0.0001): 29 steps, 0 done, 0 shared with an earlier run, 29 to do",
        f"{lines[-2].split()[0]} (train.learning_rate=0.0002): 29 steps, 0 done, 23 shared with an earlier run, 6 to do",
        "0 of 58 steps are done, 35 to do, 23 shared with an earlier run",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_seeds_share_the_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-m", "stage=1", "seed=1,2", f"paths.root={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    second = [line.split() for line in lines if line.startswith(lines[-2].split()[0]) and "(" not in line]
    assert {line[1]: line[3] for line in second} == {"baseline": "by", "explicit": "to"}


def test_a_later_round_finds_its_parent_evaluated(tmp_path: Path) -> None:
    """Else its pointer would be made anew in the midst of the round, and all that came after it be taken for stale."""
    config = compose_job("implicit", [], "")
    planner, session = Planner(tmp_path, config), Session(config.engine)
    base, outcome = measure_baseline(planner, session, config, "implicit")
    for round_ in (1, 2):
        parent = Parent(base, {"explicit": outcome.arms["cued"]})
        bootstrap(planner, session, config, stages.load("implicit"), parent, outcome, "gate", round_)
    found = [one.digest for one in planner.steps if one.name == "parent"]
    assert len(found) == 2
    assert len(set(found)) == 1
