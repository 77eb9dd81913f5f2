"""`engine=ray`: the records of one process, whatever dies meanwhile. A real cluster of two workers on this machine.

Without Ray there is nothing of it to test but that it is missed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import CHECKOUT
from ray_workers import CONFIG, ON_PATH, build
from test_whole_curriculum import WORDS

from cai_bootstrap import stages
from cai_bootstrap.__main__ import main
from cai_bootstrap.engines.engine import GenerationRequest
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import RecordError, UserError
from cai_bootstrap.steps.shards import by_shards
from cai_bootstrap.store.artifacts import Store
from cai_bootstrap.store.run import Run, Work, step

HAS_RAY = importlib.util.find_spec("ray") is not None
SMALL = "stage=1 preset=small model=tiny-random eval.num_items=40 eval.raw=false eval.shard_size=10".split()
SMALL += ["stage.instructions.num_instructions=40", "stage.pairs.min_pairs=10"]
ON_WORKERS = "engine=ray engine.ray.engine=scripted engine.device=cpu engine.dtype=float32 engine.batch_size=4".split()
ON_WORKERS += ["engine.threads=1", "engine.in_process=true"]


def test_a_lost_cluster_is_told_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, *ON_WORKERS, "engine.ray.address=ray://127.0.0.1:9", f"paths.root={tmp_path}"]
    assert main(words) == 2
    wanted = "engine.ray.address=ray://127.0.0.1:9 cannot be reached" if HAS_RAY else "engine=ray needs ray"
    (line,) = capsys.readouterr().err.splitlines()
    assert wanted in line
    assert list(tmp_path.iterdir()) == []


def test_rays_client_is_missed_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "grpc" else find(name, *rest))
    assert main([*SMALL, *ON_WORKERS, "engine.ray.address=ray://127.0.0.1:9", f"paths.root={tmp_path}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    missed = "address=ray://127.0.0.1:9 needs Ray's client, and its grpcio is not installed: run `pip install -e '.[ray]'`"
    assert (missed if HAS_RAY else "engine=ray needs ray") in line
    assert list(tmp_path.iterdir()) == []


def test_a_launcher_that_cannot_start_is_told_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, sweep = f"paths.root={tmp_path}", [*SMALL, "engine=scripted", "seed=1,2"]
    for words, wanted in (
        ([*SMALL, "hydra/launcher=ray"], "hydra/launcher=ray runs the jobs of a multirun: add -m"),
        (["-m", *sweep, "hydra/launcher=slurm"], "hydra/launcher=slurm is not valid: write hydra/launcher=ray"),
        (["-m", *SMALL, *ON_WORKERS, "seed=1,2", "hydra/launcher=ray"], "wait for each other's workers"),
        (
            ["-m", *sweep, "hydra/launcher=ray", "hydra.launcher.ray.init.address=ray://127.0.0.1:9"],
            "hydra.launcher.ray.init.address=ray://127.0.0.1:9 cannot be reached",
        ),
        (["-m", *sweep, "hydra/launcher=ray", "hydra.launcher.ray.nonsense=1"], "hydra.launcher.ray.nonsense=1 is not valid"),
        (["-m", *sweep, "hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=[1"], "num_cpus=[1 is not valid"),
    ):
        assert main([*words, root]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert wanted in line if HAS_RAY else "ray" in line
    assert list(tmp_path.iterdir()) == []


def test_the_scaling_that_the_docs_tell_is_the_measured_one() -> None:
    measured = json.loads((CHECKOUT / "benchmarks" / "results" / "ray_scaling.json").read_bytes())["workers"]
    assert measured["16"]["efficiency"] >= 0.9
    percent = {number: f"{100 * told['efficiency']:.1f} %" for number, told in measured.items()}
    docs = (CHECKOUT / "docs" / "performance.md").read_text(encoding="utf-8")
    for number, told in measured.items():
        assert f"| {number} | {told['seconds']:.2f} | {told['records_per_second']:.1f} | {percent[number]} |" in docs
    readme = " ".join((CHECKOUT / "README.md").read_text(encoding="utf-8").split())
    assert f"16 workers work {percent['16']} of the time and 64 work {percent['64']}" in readme


if HAS_RAY:
    import ray

    from cai_bootstrap.engines.ray import RayEngine, connect

    def test_what_ray_refuses_to_join_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(**_: Any) -> None:
            raise ValueError("Invalid address format")

        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", refuse)
        monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
        told = r"^engine\.ray\.address=auto cannot be reached.*set RAY_AUTH_MODE=token \(Invalid address format\)$"
        with pytest.raises(UserError, match=told):
            connect("auto", None)

    @pytest.mark.parametrize("said", ["Starting Ray client server failed. See it.", "Proxy failed to Connect to backend!"])
    def test_a_cluster_that_starts_no_server_for_a_client_is_asked_three_times(
        monkeypatch: pytest.MonkeyPatch, said: str
    ) -> None:
        failures = [ConnectionAbortedError(said)] * 5

        def start(**_: Any) -> None:
            if failures:
                raise failures.pop()

        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", start)
        told = r"^engine\.ray\.address=auto: it started no server for this client in 3 attempts.*TIMEOUT_S=180"
        with pytest.raises(UserError, match=told):
            connect("auto", None)
        assert len(failures) == 2
        connect("auto", None)
        assert not failures

    @pytest.fixture(scope="module")
    def cluster() -> Iterator[None]:
        ray.shutdown()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", ON_PATH["PYTHONPATH"])
            yield
            ray.shutdown()

    def records(root: Path) -> dict[str, Any]:
        """The records of every artifact, by its address, and the pairs, which tell on what engine they were made."""
        found: dict[str, Any] = {str(p.relative_to(root)): p.read_bytes() for p in root.glob("data/store/*/*/records.jsonl")}
        for path in root.glob("data/store/*/*/pairs.parquet"):
            rows = pq.read_table(path).to_pylist()
            for row in rows:
                row["provenance"] = {key: value for key, value in json.loads(row["provenance"]).items() if key != "engine"}
            found[str(path.relative_to(root))] = rows
        return found

    def ran_at_once(root: Path) -> bool:
        """Whether the last run had begun before the first one was through with its last step."""
        began, ended = [], []
        for path in root.glob("data/runs/*/run.json"):
            run = json.loads(path.read_bytes())
            steps = [(stage, *step) for stage, held in run["stages"].items() for step in held["steps"].items()]
            made = [Store(root).find(*step) for step in steps]
            began.append(run["created_at"])
            ended.append(max(artifact.manifest["created_at"] for artifact in made if artifact is not None))
        return bool(max(began) < min(ended))

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_a_stage_has_the_bytes_of_one_process(cluster: None, tmp_path: Path) -> None:
        # Before the other tests' workers take the cluster's cores.
        alone, spread = tmp_path / "alone", tmp_path / "spread"
        codes = [
            main([*SMALL, "engine=scripted", "engine.script=null", f"paths.root={alone}"]),
            main([*SMALL, *ON_WORKERS, f"paths.root={spread}"]),
        ]
        assert codes[0] == codes[1]
        assert records(spread) == records(alone)
        assert len(records(alone)) > 10

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_the_whole_curriculum_on_workers(cluster: None, tmp_path: Path) -> None:
        words = [word for word in WORDS if not word.startswith("engine=")]
        assert main(["stage=all", *words, *ON_WORKERS, f"paths.root={tmp_path}"]) == 0
        told = json.loads((tmp_path / "data" / "runs" / "default" / "run.json").read_bytes())["stages"]
        assert [name for name, stage in told.items() if stage["gate"]["passed"]] == list(stages.CURRICULUM)
        made = [json.loads(path.read_bytes()) for path in tmp_path.glob("data/store/*/*/manifest.json")]
        engines = [each["engine"] for each in made if each["engine"] and each["engine"]["engine"] == "scripted"]
        assert len(engines) > 40
        assert all(engine["workers"] == 2 for engine in engines)

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_the_jobs_of_a_sweep_run_side_by_side(cluster: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        ray.shutdown()  # a cluster that is joined already shows nothing of what workers print
        words = ["-m", *SMALL, "engine=scripted", "engine.script=null", "seed=1,2", "train.num_epochs=1"]
        alone, spread = tmp_path / "alone", tmp_path / "spread"
        code = main([*words, f"paths.root={alone}"])
        capfd.readouterr()
        assert main([*words, "hydra/launcher=ray", f"paths.root={spread}"]) == code
        at_once = capfd.readouterr().out
        ray.shutdown()
        assert records(spread) == records(alone)
        # What each had to compute hangs on which came first to what both need; what came of it does not.
        (told,) = (json.loads(path.read_bytes()) for path in spread.glob("data/sweeps/*/summary.json"))
        (expected,) = (json.loads(path.read_bytes()) for path in alone.glob("data/sweeps/*/summary.json"))
        assert told["results"] == expected["results"]
        assert len(told["results"]) == 2
        assert all(f"job {number} of 2" in at_once for number in (1, 2))
        # A job takes several times as long as a worker takes to start, so one that is late still meets the other.
        assert ran_at_once(spread)
        assert not ran_at_once(alone)

    @pytest.fixture(scope="module")
    def engine(cluster: None) -> Iterator[RayEngine]:
        engine = RayEngine(Path(), CONFIG, build)
        yield engine
        engine.close()

    def say(engine: RayEngine, *prompts: str) -> list[str]:
        made = engine.generate([GenerationRequest(prompt=prompt, max_tokens=4) for prompt in prompts])
        return [each.text for each in made]

    @pytest.mark.slow
    def test_more_workers_than_there_is_room_for_are_refused(engine: RayEngine) -> None:
        assert CONFIG.ray is not None
        many = dataclasses.replace(CONFIG, ray=dataclasses.replace(CONFIG.ray, workers=9))
        with pytest.raises(
            UserError, match=r"engine.ray.workers=9 with cpus_per_worker=1 do not fit the cluster, which has 2 CPUs"
        ):
            RayEngine(Path(), many, build)

    @pytest.mark.slow
    def test_both_workers_work_and_order_is_kept(engine: RayEngine) -> None:
        assert len(set(say(engine, *["who"] * 40))) == 2
        texts = [f"number {number}" for number in range(50)]
        assert say(engine, *texts) == [text.upper() for text in texts]
        assert engine.description["workers"] == 2

    @pytest.mark.slow
    def test_a_worker_that_dies_loses_nothing(engine: RayEngine, tmp_path: Path) -> None:
        before = set(say(engine, *["who"] * 40))
        texts = [*(f"number {number}" for number in range(20)), f"once {tmp_path / 'died'}", "the end"]
        assert say(engine, *texts) == [text.upper() for text in texts]
        assert (tmp_path / "died").exists()
        after = set(say(engine, *["who"] * 40))
        assert len(after) == 2
        assert after != before

    @pytest.mark.slow
    def test_what_kills_every_worker_is_a_record_error(engine: RayEngine) -> None:
        with pytest.raises(RecordError, match="a worker of the cluster ended on it, tried 3 times"):
            say(engine, "die")
        with pytest.raises(RecordError, match="generation failed: ValueError: it is poisoned"):
            say(engine, "a", "poison")
        assert say(engine, "a") == ["A"]

    @step(version=1)
    def shout(work: Work, texts: list[str], session: Any) -> None:
        engine: RayEngine = session.engine(Path())

        def write(part: list[str], seeds: list[int]) -> list[dict[str, Any]]:
            return [{"text": text, "seed": seed} for text, seed in zip(say(engine, *part), seeds, strict=True)]

        rows = by_shards(work, session, "shouting", texts, len(texts), write, name=str)
        work.write_rows("records.jsonl", rows)

    @pytest.mark.slow
    def test_a_poisoned_prompt_stops_no_other(engine: RayEngine, tmp_path: Path) -> None:
        from cai_bootstrap.store.runner import bind

        session = Session(CONFIG)
        session.engine = lambda folder: engine  # type: ignore[method-assign]
        texts = [f"number {number}" for number in range(30)]
        made = {}
        for name, given in {"sound": texts, "bad": [*texts[:7], "poison", *texts[8:20], "die", *texts[21:]]}.items():
            with Run(tmp_path / name, "default") as run:
                settings, values = {"shard_size": 4}, {"texts": given}
                function = bind(shout, session=session)
                made[name] = run.step("explicit", "drafts", function, settings=settings, values=values, seed=1)
        assert [row["text"] for row in made["sound"].rows()] == [text.upper() for text in texts]
        expected = [text.upper() for number, text in enumerate(texts) if number not in (7, 20)]
        assert [row["text"] for row in made["bad"].rows()] == expected
        assert [row["id"] for row in made["bad"].rows("dropped.jsonl")] == ["poison", "die"]
