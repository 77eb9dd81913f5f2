"""`Run.step`: found or computed, pointers, and what a changed configuration does to them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cai_bootstrap.errors import CorruptArtifact, RunLocked, StepFailed, UserError
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.files import load_rows
from cai_bootstrap.store.journal import Journal
from cai_bootstrap.store.run import Run, SilentProgress, Work, read_config, read_run, step, step_digest, step_facts

CALLS: list[str] = []


@step(version=1)
def make_prompts(work: Work) -> None:
    CALLS.append("prompts")
    rows = [{"id": str(index), "text": "p" * work.settings["length"]} for index in range(4)]
    work.write_rows("records.jsonl", rows)
    work.write_json("counts.json", {"kept": 4})
    work.drop([{"id": "x", "reason": "duplicate"}])
    work.warn("only four prompts")
    work.record_engine({"engine": "scripted", "batch_size": 2})


@step(version=3)
def make_drafts(work: Work, prompts: Artifact, suffix: str) -> None:
    CALLS.append("drafts")
    rows = [row | {"draft": row["text"] + suffix} for row in prompts.rows()]
    work.write_rows("records.jsonl", rows)


def run_both(run: Run, length: int = 1, suffix: str = "!") -> tuple[Artifact, Artifact]:
    prompts = run.step("explicit", "prompts", make_prompts, settings={"length": length}, seed=1)
    inputs, values = {"prompts": prompts}, {"suffix": suffix}
    drafts = run.step("explicit", "drafts", make_drafts, settings={}, inputs=inputs, values=values, seed=1)
    return prompts, drafts


def test_first_call_computes_and_the_second_finds(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    CALLS.clear()
    with Run(tmp_path, "default", SilentProgress()) as run:
        prompts, drafts = run_both(run)
        assert (run.computed, run.reused) == (["prompts", "drafts"], [])
    with Run(tmp_path, "default") as run:
        again = run_both(run)
        assert (run.computed, run.reused) == ([], ["prompts", "drafts"])
    assert again == (prompts, drafts)
    assert CALLS == ["prompts", "drafts"]
    assert [row["draft"] for row in drafts.rows()] == ["p!"] * 4
    assert prompts.json("counts.json") == {"kept": 4}
    assert prompts.rows("dropped.jsonl") == [{"id": "x", "reason": "duplicate"}]
    assert capfd.readouterr() == ("", "")


def test_manifest_says_what_made_it(tmp_path: Path) -> None:
    with Run(tmp_path, "default") as run:
        prompts, drafts = run_both(run)
    manifest = drafts.manifest
    assert manifest["function"] == f"{__name__}.make_drafts"
    assert (manifest["version"], manifest["seed"], manifest["values"]) == (3, 1, {"suffix": "!"})
    assert manifest["inputs"] == {"prompts": prompts.digest}
    assert drafts.digest == step_digest(step_facts(make_drafts, {}, {"prompts": prompts.digest}, {"suffix": "!"}, 1))
    assert prompts.manifest["settings"] == {"length": 1}
    assert prompts.manifest["num_records"] == 4
    assert prompts.manifest["engine"] == {"engine": "scripted", "batch_size": 2}
    assert prompts.manifest["warnings"] == ["only four prompts"]
    assert drafts.manifest["engine"] is None
    assert manifest["code_revision"]
    assert manifest["libraries"]["python"]
    assert sorted(path.name for path in prompts.path.iterdir()) == [
        "counts.json",
        "dropped.jsonl",
        "manifest.json",
        "records.jsonl",
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": {"length": 2}},
        {"inputs": {"prompts": "cd" * 32}},
        {"values": {"suffix": "?"}},
        {"seed": 2},
        {"function": make_drafts},
    ],
)
def test_the_address_depends_on_everything_that_was_asked(changed: dict[str, Any]) -> None:
    base: dict[str, Any] = {
        "function": make_prompts,
        "settings": {"length": 1},
        "inputs": {"prompts": "ab" * 32},
        "values": {"suffix": "!"},
        "seed": 1,
    }

    def address(function: Any, settings: Any, inputs: Any, values: Any, seed: int) -> str:
        return step_digest(step_facts(function, settings, inputs, values, seed))

    assert address(**base) == address(**base)
    assert address(**(base | changed)) != address(**base)


def test_two_runs_share_what_is_the_same(tmp_path: Path) -> None:
    CALLS.clear()
    with Run(tmp_path, "a") as first, Run(tmp_path, "b") as second:
        run_both(first)
        run_both(second, suffix="?")
        assert second.reused == ["prompts"]
        assert second.computed == ["drafts"]
    assert CALLS == ["prompts", "drafts", "drafts"]


def test_pointers_links_and_gate(tmp_path: Path) -> None:
    with Run(tmp_path, "default") as run:
        assert run.stage("explicit") is None
        prompts, drafts = run_both(run)
        run.record_stage("explicit", drafts, passed=False, override="me: a test")
        run.record_stage("explicit", drafts, passed=False)
        run.save_config("explicit", {"seed": 1, "a": "é"})
        assert run.artifact("explicit", "prompts") == prompts
        assert run.artifact("explicit", "gate") is None
    state = read_run(tmp_path, "default")
    assert state is not None
    assert state["stages"]["explicit"] == {
        "steps": {"prompts": prompts.digest, "drafts": drafts.digest},
        "gate": {"digest": drafts.digest, "passed": False, "override": "me: a test"},
        "skipped": False,
        "warnings": ["only four prompts"],
        "overrides": ["me: a test"],
    }
    folder = tmp_path / "data/runs/default/explicit"
    assert read_config(tmp_path, "default", "explicit") == {"seed": 1, "a": "é"}
    assert not (folder / "drafts").readlink().is_absolute()
    assert (folder / "drafts").resolve() == drafts.path.resolve()
    assert read_run(tmp_path, "other") is None


def test_an_override_is_told_for_ever(tmp_path: Path) -> None:
    with Run(tmp_path, "default") as run:
        prompts, drafts = run_both(run)
        run.record_stage("explicit", drafts, passed=False, override="me: a test")
        run.record_stage("explicit", prompts, passed=False)  # another gate, without the word
        assert (run.stage("explicit") or {})["gate"]["override"] is None
        run.record_stage("explicit", drafts, passed=False, override="me: again")
        run.record_stage("explicit", prompts, passed=True)
        assert (run.stage("explicit") or {})["overrides"] == ["me: a test", "me: again"]
    with Run(tmp_path, "default") as run:
        run.step("explicit", "prompts", make_prompts, settings={"length": 5}, seed=1)
        assert (run.stage("explicit") or {})["overrides"] == ["me: a test", "me: again"]


def test_a_changed_setting_never_leaves_the_old_gate_or_later_steps(tmp_path: Path) -> None:
    with Run(tmp_path, "default") as run:
        _, drafts = run_both(run)
        run.record_stage("explicit", drafts, passed=True)
    with Run(tmp_path, "default") as run:
        changed = run.step("explicit", "prompts", make_prompts, settings={"length": 5}, seed=1)
        entry = run.stage("explicit")
        assert entry == {
            "steps": {"prompts": changed.digest},
            "gate": None,
            "skipped": False,
            "warnings": ["only four prompts"],
        }
        assert not (run.folder / "explicit" / "drafts").is_symlink()
        assert run_both(run)[1] == drafts, "the old result is still there for those who ask for it"


def test_a_step_added_between_others_keeps_its_pointer(tmp_path: Path) -> None:
    with Run(tmp_path, "default") as run:
        run_both(run)
    with Run(tmp_path, "default") as run:
        prompts = run.step("explicit", "prompts", make_prompts, settings={"length": 1}, seed=1)
        suffix = {"suffix": ""}
        added = run.step("explicit", "added", make_drafts, settings={}, inputs={"prompts": prompts}, values=suffix, seed=1)
        drafts = run.step("explicit", "drafts", make_drafts, settings={}, inputs={"prompts": added}, values=suffix, seed=1)
        entry = run.stage("explicit")
        assert entry is not None
        assert list(entry["steps"].items()) == [(item.name, item.digest) for item in (prompts, added, drafts)]
        assert (run.folder / "explicit" / "added").resolve() == added.path.resolve()


def test_finding_all_steps_again_keeps_the_gate(tmp_path: Path) -> None:
    with Run(tmp_path, "default") as run:
        run.record_stage("explicit", run_both(run)[1], passed=True)
    before = (tmp_path / "data/runs/default/run.json").read_bytes()
    with Run(tmp_path, "default") as run:
        run_both(run)
    assert (tmp_path / "data/runs/default/run.json").read_bytes() == before


def test_a_run_is_held_by_one(tmp_path: Path) -> None:
    refused = pytest.raises(RunLocked, match="run default is in use by process")
    with Run(tmp_path, "default"), refused, Run(tmp_path, "default"):
        pass
    with pytest.raises(StepFailed, match="is not held"):
        Run(tmp_path, "default").stage("explicit")


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "-x", "a b", "a" * 101])
def test_names_that_are_no_folder_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="is not valid"):
        Run(tmp_path, name)
    with Run(tmp_path, "default") as run, pytest.raises(UserError, match="is not valid"):
        run.step("explicit", name, make_prompts, settings={}, seed=1)


def test_mistakes_in_a_call_are_named(tmp_path: Path) -> None:
    def unmarked(work: Work) -> None: ...

    with Run(tmp_path, "default") as run:
        prompts = run_both(run)[0]
        with pytest.raises(UserError, match=r"is not a step: write @step"):
            run.step("explicit", "x", unmarked, settings={}, seed=1)
        with pytest.raises(UserError, match="cannot be written as JSON"):
            run.step("explicit", "x", make_prompts, settings={"length": float("nan")}, seed=1)
        inputs, values = {"prompts": prompts}, {"prompts": 1}
        with pytest.raises(UserError, match="both as inputs and as values"):
            run.step("explicit", "x", make_drafts, settings={}, inputs=inputs, values=values, seed=1)


def test_an_altered_artifact_stops_the_run(tmp_path: Path) -> None:
    with Run(tmp_path, "default") as run:
        prompts, drafts = run_both(run)
        (prompts.path / "records.jsonl").write_bytes(b"")
        with pytest.raises(CorruptArtifact, match=r"records\.jsonl has 0 bytes"):
            run_both(run)
        (drafts.path / "manifest.json").unlink()
        inputs, values = {"prompts": prompts}, {"suffix": "!"}
        with pytest.raises(CorruptArtifact, match="has no manifest"):
            run.step("explicit", "drafts", make_drafts, settings={}, inputs=inputs, values=values, seed=1)


def test_a_damaged_run_file_is_named(tmp_path: Path) -> None:
    with Run(tmp_path, "default") as run:
        run_both(run)
    path = tmp_path / "data/runs/default/run.json"
    path.write_text("{")
    with pytest.raises(CorruptArtifact, match=r"run\.json cannot be read"), Run(tmp_path, "default"):
        pass
    path.unlink()
    with Run(tmp_path, "default") as run:
        run_both(run)
        assert run.reused == ["prompts", "drafts"]


SEEDS: list[int] = []
FAIL_AT: list[int] = []


@step(version=1)
def sharded(work: Work) -> None:
    def compute(seed: int) -> list[dict[str, Any]]:
        if len(SEEDS) in FAIL_AT:
            raise RuntimeError("stopped")
        SEEDS.append(seed)
        return [{"seed": seed, "pair": (1, 2)}]

    work.record_engine({"threads": len(FAIL_AT)})
    for index in range(5):
        work.shard(index, compute)
    work.write_rows("records.jsonl", work.rows_of(range(5)))


def test_an_interrupted_step_goes_on_from_its_journal(tmp_path: Path) -> None:
    SEEDS.clear()
    FAIL_AT[:] = [3]
    with Run(tmp_path / "a", "default") as run:
        with pytest.raises(RuntimeError, match="stopped"):
            run.step("explicit", "drafts", sharded, settings={}, seed=7)
        partial = next((tmp_path / "a/data/store/explicit").glob("*.partial"))
        assert list(Journal(partial).read()) == [0, 1, 2]
        FAIL_AT.clear()
        resumed = run.step("explicit", "drafts", sharded, settings={}, seed=7)
    assert len(SEEDS) == len(set(SEEDS)) == 5
    assert resumed.manifest["resumed"] is True
    assert resumed.manifest["warnings"] == ['resumed with another engine: {"threads":0}, before: {"threads":1}']
    assert sorted(path.name for path in resumed.path.iterdir()) == ["manifest.json", "records.jsonl"]
    with Run(tmp_path / "b", "default") as run:
        whole = run.step("explicit", "drafts", sharded, settings={}, seed=7)
    assert whole.read("records.jsonl") == resumed.read("records.jsonl")
    assert whole.rows()[0] == {"seed": SEEDS[0], "pair": [1, 2]}
    assert (whole.manifest["resumed"], whole.manifest["warnings"]) == (False, [])


def test_seconds_are_those_of_all_attempts(tmp_path: Path) -> None:
    """Of an attempt that ended early up to what it wrote last; what lies between two attempts counts for none."""
    spent = 0.0
    with Run(tmp_path, "default") as run:
        for tried, fail_at in ((100.0, 2), (50.0, 1)):
            SEEDS[:], FAIL_AT[:] = [], [fail_at]
            with pytest.raises(RuntimeError, match="stopped"):
                run.step("explicit", "drafts", sharded, settings={}, seed=7)
            partial = next((tmp_path / "data/store/explicit").glob("*.partial"))
            for path in partial.rglob("*"):  # as if it had lasted so long, and ended an hour ago
                at = path.stat().st_mtime - 3600 - (tried if path.name == "attempt.json" else 0)
                os.utime(path, (at, at))
            spent += tried
        FAIL_AT.clear()
        resumed = run.step("explicit", "drafts", sharded, settings={}, seed=7)
    assert spent <= resumed.manifest["seconds"] < spent + 30


def make_work(folder: Path) -> Work:
    return Work("explicit", "drafts", "ab" * 32, folder, 1, {}, SilentProgress())


def test_shard_rows_are_the_same_fresh_and_resumed(tmp_path: Path) -> None:
    fresh = make_work(tmp_path)
    fresh.shard(0, lambda seed: [{"b": (1,), "a": 0.1}])
    work = make_work(tmp_path)
    assert work.num_committed() == 1
    work.shard(0, lambda seed: pytest.fail("computed again"))
    assert list(work.rows_of([0])) == list(fresh.rows_of([0])) == [{"b": [1], "a": 0.1}]


def test_dropping_inside_a_shard_is_refused(tmp_path: Path) -> None:
    work = make_work(tmp_path)

    def compute(seed: int) -> list[dict[str, Any]]:
        work.drop([{"reason": "short"}])
        return []

    with pytest.raises(UserError, match=r"drop\(\) inside a shard"):
        work.shard(0, compute)
    assert work.num_committed() == 0


def test_rows_may_come_from_a_generator_that_drops_others(tmp_path: Path) -> None:
    def kept(work: Work) -> Iterator[dict[str, Any]]:
        for number in range(4):
            if number % 2:
                work.drop([{"number": number, "reason": "odd"}])
            else:
                yield {"number": number}

    with make_work(tmp_path) as work:
        work.write_rows("records.jsonl", kept(work))
        assert not (tmp_path / "dropped.jsonl").exists()
    assert load_rows((tmp_path / "records.jsonl").read_bytes()) == [{"number": 0}, {"number": 2}]
    assert [row["number"] for row in load_rows((tmp_path / "dropped.jsonl").read_bytes())] == [1, 3]
    assert work.summary()["num_records"] == 2


def test_a_failed_step_leaves_no_half_written_files(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"number": 0}
        raise RuntimeError("stopped")

    def fail() -> None:
        with make_work(tmp_path) as work:
            work.drop([{"reason": "odd"}])
            work.write_rows("records.jsonl", rows())

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["attempt.json"]


def test_committed_shards_are_read_back_one_after_the_other(tmp_path: Path) -> None:
    work = make_work(tmp_path)
    for index in range(3):
        work.shard(index, lambda seed, n=index: [{"shard": n}] * 2)  # type: ignore[misc]
    assert [row["shard"] for row in work.rows_of([2, 0])] == [2, 2, 0, 0]
    (tmp_path / "shards" / "1.jsonl").write_bytes(b"{}\n")
    with pytest.raises(CorruptArtifact, match="shard 1 of"):
        list(work.rows_of(range(3)))
    with pytest.raises(CorruptArtifact, match="shard 3 of"):
        list(work.rows_of([3]))


@pytest.mark.parametrize("file", ["../x", "/tmp/x", "manifest.json", "journal.jsonl", "shards/0.jsonl", ""])
def test_file_names_that_lead_out_or_belong_to_the_store_are_refused(tmp_path: Path, file: str) -> None:
    with pytest.raises(UserError, match="is not valid as an artifact's file"):
        make_work(tmp_path).write_bytes(file, b"")
