"""What `pip install .` gives: a wheel that carries its resources and works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cai_bootstrap import __version__

CHECKOUT = Path(__file__).resolve().parent.parent
TRAVELLING = ("conf", "data/heldout", "data/seeds", "constitution.yaml")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as pip builds it, with the build backend that is installed (no network)."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(target), "."]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=300)
    (built,) = target.glob("*.whl")
    return built


def run_python(unpacked: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Python in an empty folder that sees the unpacked wheel before, and instead of, the checkout."""
    empty = unpacked.parent / "empty"
    empty.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, *args],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, far from the checkout."""
    target = tmp_path_factory.mktemp("installed") / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_every_resource_travels_unchanged(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    for name in TRAVELLING:
        source = CHECKOUT / name
        files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
        assert files, f"{name} is empty"
        for file in files:
            inside = f"cai_bootstrap/{file.relative_to(CHECKOUT).as_posix()}"
            assert packed.get(inside) == file.read_bytes(), inside


def test_nothing_else_travels(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    roots = {name.split("/")[0] for name in names}
    assert roots == {"cai_bootstrap", f"cai_bootstrap-{__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or name.startswith("cai_bootstrap/data/store")]
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)


def test_help_works_away_from_the_checkout(unpacked: Path) -> None:
    done = run_python(unpacked, "-m", "cai_bootstrap", "--help")
    assert done.returncode == 0, done.stderr
    assert "stage=" in done.stdout


def test_resources_are_found_inside_the_package(unpacked: Path) -> None:
    names = ("conf", "constitution.yaml", "data/heldout/explicit.jsonl", "data/seeds")
    code = f"from cai_bootstrap.resources import resource\nfor name in {names!r}: print(resource(name))"
    done = run_python(unpacked, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(unpacked.resolve() / "cai_bootstrap" / name) for name in names]


def test_configuration_composes_away_from_the_checkout(unpacked: Path) -> None:
    done = run_python(unpacked, "-m", "cai_bootstrap", "stage=1", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "gemma-3-270m" in done.stdout
