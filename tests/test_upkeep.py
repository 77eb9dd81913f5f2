"""`verify` finds every kind of damage, and `gc` removes what nothing refers to and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cai_bootstrap.__main__ import main
from cai_bootstrap.errors import RunLocked
from cai_bootstrap.store.artifacts import Artifact, render_manifest
from cai_bootstrap.store.files import write_sealed
from cai_bootstrap.store.run import Run, Work, step
from cai_bootstrap.store.upkeep import no_runs, unused, verify_run


@step(version=1)
def leave(work: Work, content: Any, **made_from: Artifact) -> None:
    work.write_json("content.json", content)


def made(run: Run, name: str, content: str = "", **inputs: Artifact) -> Artifact:
    return run.step("explicit", name, leave, settings={}, inputs=inputs, values={"content": content or name}, seed=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run of three steps, each made from the one before; of the second there is an earlier one, of which a third was made."""
    with Run(tmp_path, "mine") as run:
        base = made(run, "base")
        made(run, "model", adapter=made(run, "adapter", "earlier", base=base))
        made(run, "model", adapter=made(run, "adapter", base=base))
    return tmp_path


def pointed(root: Path, name: str) -> Artifact:
    with Run(root, "mine") as run:
        artifact = run.artifact("explicit", name)
    assert artifact is not None
    return artifact


def test_a_copied_folder_does_not_make_its_original_unused(root: Path) -> None:
    artifact = pointed(root, "adapter")
    shutil.copytree(artifact.path, artifact.path.parent / "zz-copied-by-hand")
    assert artifact.path not in [each.path for each in unused(root)]


def test_a_whole_run_verifies(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [each.problem for each in verify_run(root, "mine")] == ["", "", ""]
    assert main(["verify", f"paths.root={root}"]) == 0
    assert capsys.readouterr().out == "mine: 3 artifacts, 0.0 MiB, all whole\n"


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove", "add", "swap", "manifest", "folder", "forge"])
def test_every_kind_of_damage_is_found(root: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = pointed(root, "adapter")
    file, manifest = artifact.path / "content.json", artifact.path / "manifest.json"
    data = file.read_bytes()
    if damage == "flip":
        file.write_bytes(data[:1] + bytes([data[1] ^ 1]) + data[2:])
    elif damage in ("truncate", "empty"):
        file.write_bytes(data[:-1] if damage == "truncate" else b"")
    elif damage == "remove":
        file.unlink()
    elif damage == "add":
        (artifact.path / "more.bin").write_bytes(b"x")
    elif damage == "swap":
        shutil.copy(pointed(root, "model").path / "manifest.json", manifest)
    elif damage == "manifest":
        manifest.write_bytes(manifest.read_bytes()[:-2])
    elif damage == "folder":
        shutil.rmtree(artifact.path)
    else:  # a manifest that is whole and tells of another seed than the address
        told = {key: value for key, value in artifact.manifest.items() if key != "manifest_sha256"}
        manifest.write_bytes(render_manifest({**told, "seed": 2}))
    assert main(["verify", "run=mine", f"paths.root={root}"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"mine: explicit/adapter {artifact.digest[:16]}: ") for line in lines)
    assert lines[-1].endswith(" damaged or gone")


def test_what_a_run_only_comes_from_is_verified_too(root: Path) -> None:
    state = root / "data" / "runs" / "mine" / "run.json"
    content = json.loads(state.read_bytes())
    content["stages"]["explicit"]["steps"] = {"model": pointed(root, "model").digest}
    base = pointed(root, "base")
    write_sealed(state, content)
    content_file = base.path / "content.json"
    content_file.write_bytes(content_file.read_bytes().replace(b"base", b"case"))
    problems = {each.name: each.problem for each in verify_run(root, "mine")}
    assert list(problems) == ["model", "adapter", "base"]
    assert problems["base"]
    assert not problems["model"]
    shutil.rmtree(base.path)
    problems = {each.name: each.problem for each in verify_run(root, "mine")}
    assert problems == {"model": "", "adapter": "what it was made from is gone or damaged: base"}


def test_an_unknown_run_is_the_users_mistake(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "run=theirs", f"paths.root={root}"]) == 2
    assert "run=theirs does not exist" in capsys.readouterr().err


def test_only_what_nothing_refers_to_is_removed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = {pointed(root, name).path for name in ("base", "adapter", "model")}
    assert main(["gc", f"paths.root={root}"]) == 0  # nobody is asked without a terminal
    assert "nothing was removed of 2 folders" in capsys.readouterr().out
    assert len(unused(root)) == 2
    assert main(["gc", "--yes", f"paths.root={root}"]) == 0
    assert unused(root) == []
    assert all(path.exists() for path in kept)
    assert main(["verify", f"paths.root={root}"]) == 0
    capsys.readouterr()
    assert main(["gc", "--yes", f"paths.root={root}"]) == 0
    assert "runs refer to everything" in capsys.readouterr().out


def test_what_a_promoted_model_of_another_run_needs_stays(root: Path) -> None:
    # It was trained on a model that its own run no longer points to: that one, and what it was made from, is needed still.
    with Run(root, "mine") as run:
        old = run.artifact("explicit", "model")
    assert old is not None
    with Run(root, "theirs") as run:
        model = run.step("implicit", "model", leave, settings={}, inputs={"model": old}, values={"content": "child"}, seed=1)
        gate = run.step("implicit", "gate", leave, settings={}, inputs={"model": model}, values={"content": "gate"}, seed=1)
        run.record_stage("implicit", gate, passed=True)
    with Run(root, "mine") as run:
        made(run, "base", "another base")  # takes the run's pointers to adapter and model along
    assert unused(root), "there is something to remove"
    assert main(["gc", "--yes", f"paths.root={root}"]) == 0
    assert [each.problem for each in verify_run(root, "theirs")] == [""] * 5
    assert model.path.exists()


def test_interrupted_steps_stay_unless_asked_for(root: Path) -> None:
    partial = root / "checkpoints" / "explicit" / "model-0123456789abcdef.partial"
    partial.mkdir()
    (partial / "journal.jsonl").write_text("{}")
    assert partial not in {each.path for each in unused(root)}
    assert partial in {each.path for each in unused(root, partial=True)}
    assert main(["gc", "--yes", "--partial", f"paths.root={root}"]) == 0
    assert not partial.exists()


def test_what_a_killed_removal_left_goes_next_time(root: Path) -> None:
    (first, _) = unused(root)
    first.path.rename(first.path.with_name(first.path.name + ".removed"))
    assert len(unused(root)) == 2
    assert main(["gc", "--yes", f"paths.root={root}"]) == 0
    assert unused(root) == []


def test_a_held_run_keeps_everything(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run(root, "mine"), pytest.raises(RunLocked), no_runs(root):
        raise AssertionError
    with Run(root, "mine"):
        assert main(["gc", "--yes", f"paths.root={root}"]) != 0
    assert "run mine is in use" in capsys.readouterr().err
    assert len(unused(root)) == 2


def test_yes_goes_with_gc_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--yes"]) == 2
    assert "--yes does not go with status" in capsys.readouterr().err
