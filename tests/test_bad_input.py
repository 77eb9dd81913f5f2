"""Bad input and a full disk, through the real command line: one clear line, no traceback, nothing damaged."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import CHECKOUT, RunCli

from cai_bootstrap.stages import CURRICULUM
from cai_bootstrap.store.artifacts import MANIFEST, Artifact, read_manifest

SEEDS = yaml.safe_load((CHECKOUT / "data" / "seeds" / "explicit.yaml").read_text(encoding="utf-8"))
DRAFT = "stage=baseline model=tiny-random engine.in_process=true eval.num_items=4 eval.max_tokens=4 eval.raw=false".split()


def assert_one_line(code: int, err: str, told: str, *, begun: bool = False) -> None:
    """Exit code 2 and one line of error; a run that had begun may have shown its progress before it."""
    lines = err.splitlines()
    assert code == 2, err
    assert "Traceback" not in err
    assert lines[-1].startswith("cai_bootstrap: error: "), err
    assert sum("error" in line for line in lines) == 1, err
    assert begun or len(lines) == 1, err
    assert told in lines[-1]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty lists", {"instructions": {"answer": []}, "shots": {"a": []}, "refusals": []}, "has no 'instructions'"),
        ("no shots", {**SEEDS, "shots": {}}, "has no 'shots'"),
        ("no refusals", {**SEEDS, "refusals": []}, "has no 'refusals'"),
        ("a list", ["What do bees make?"], "is not a mapping"),
        ("instructions without kinds", {**SEEDS, "instructions": ["What do bees make?"]}, "instructions"),
        ("shots without sets", {**SEEDS, "shots": [["a", "b"]]}, "shots"),
    ],
)
def test_bad_seeds_are_told_at_once(name: str, content: object, told: str, tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "seeds.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    code, out, err = run_cli("stage=1", "model=tiny-random", "stage.seeds=seeds.yaml", root=tmp_path, timeout_s=20)
    assert_one_line(code, err, told)
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["seeds.yaml"]  # no run was begun


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "cannot be read"), (b"a: [", "cannot be read"), (b"\xff\xfe\x00", "cannot be read"), (b"", "is not a mapping")],
)
def test_an_unreadable_seed_file_is_told(content: bytes | None, told: str, tmp_path: Path, run_cli: RunCli) -> None:
    if content is not None:
        (tmp_path / "seeds.yaml").write_bytes(content)
    code, _, err = run_cli("stage=1", "model=tiny-random", "stage.seeds=seeds.yaml", root=tmp_path, timeout_s=20)
    assert_one_line(code, err, told)
    assert "seeds.yaml" in err


def test_a_parent_that_did_not_run_is_told(tmp_path: Path, run_cli: RunCli) -> None:
    code, _, err = run_cli("stage=1", "parent_run=nope", "model=tiny-random", root=tmp_path, timeout_s=20)
    assert_one_line(
        code, err, "needs stage baseline of run=nope, which has not run: run `python -m cai_bootstrap stage=baseline"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_corrupt_gguf_is_told(tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "x.gguf").write_bytes(bytes(range(1, 256)) * 20)
    code, _, err = run_cli("stage=1", "model=path", "model.path=x.gguf", root=tmp_path, timeout_s=20)
    assert_one_line(code, err, "model.path=x.gguf is not a GGUF file (it begins b'\\x01\\x02\\x03\\x04')")
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(range(1, 256)) * 20)
    code, _, err = run_cli("stage=1", "model=path", "model.path=x.gguf", root=tmp_path, timeout_s=120)
    assert_one_line(code, err, "x.gguf is a damaged GGUF file", begun=True)


def run_limited(root: Path, *words: str, num_bytes: int) -> tuple[int, str]:
    """The command line in a process that may write no file larger than `num_bytes`."""
    done = subprocess.run(
        [sys.executable, "-m", "cai_bootstrap", *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes)),
    )
    return done.returncode, done.stderr


def committed(root: Path) -> dict[str, bytes]:
    """Every manifest under `root`, each one's files checked against it."""
    found = {}
    for path in sorted(root.rglob(MANIFEST)):
        if not path.parent.name.endswith(".partial") and not path.parent.is_symlink():
            manifest = read_manifest(path.parent)
            assert manifest is not None
            Artifact(manifest["stage"], manifest["name"], manifest["digest"], path.parent, manifest).verify()
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


FULL = "free some space and run the same command again"


def test_a_full_disk_before_anything_is_one_line(tmp_path: Path) -> None:
    code, err = run_limited(tmp_path, *DRAFT, num_bytes=1024)  # not even the run's config fits
    assert_one_line(code, err, FULL)
    assert committed(tmp_path) == {}


@pytest.mark.slow  # it measures six suites in between
def test_a_full_disk_damages_nothing_and_the_same_command_goes_on(tmp_path: Path, run_cli: RunCli) -> None:
    # 64 KiB let the store's own small files pass and stop the library that writes the weights.
    code, err = run_limited(tmp_path, *DRAFT, num_bytes=64 * 1024)
    assert_one_line(code, err, FULL, begun=True)
    assert committed(tmp_path) == {}
    code, _, err = run_cli(*DRAFT, root=tmp_path)
    assert code == 0, err
    before = committed(tmp_path)
    # base, audit, and for each suite outputs and scores of three arms and the gap
    assert len(before) == 2 + 7 * len(CURRICULUM[1:])
    # More items than before: their outputs are too large for a disk on which the small files still fit.
    code, err = run_limited(tmp_path, *DRAFT, "eval.num_items=80", num_bytes=16 * 1024)
    assert_one_line(code, err, FULL, begun=True)
    assert before.items() <= committed(tmp_path).items()
