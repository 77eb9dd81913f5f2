"""The import rules hold, and the rules themselves can be broken: a planted import is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter with the project's own rules, on the package as it lies in `folder`."""
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--config", str(CHECKOUT / "pyproject.toml"), "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_package_keeps_the_rules() -> None:
    done = lint_imports(CHECKOUT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("records.py", "from cai_bootstrap.steps import gate", "Imports point one way"),
        ("evals/planted.py", "from cai_bootstrap import pipeline", "Imports point one way"),
        ("steps/planted.py", "def f() -> None:\n    import torch", "Model libraries only inside engines and training"),
        ("evals/planted.py", "from datasets import Dataset", "Model libraries only inside engines and training"),
        ("report/planted.py", "import omegaconf", "Hydra only in the command line"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, module: str, line: str, broken: str) -> None:
    package = tmp_path / "cai_bootstrap"
    shutil.copytree(CHECKOUT / "cai_bootstrap", package, ignore=shutil.ignore_patterns("__pycache__"))
    file = package / module
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(f"{before}\n{line}\n", encoding="utf-8")
    done = lint_imports(tmp_path)
    assert done.returncode != 0, done.stdout
    assert f"{broken} BROKEN" in done.stdout, done.stdout


def test_a_module_without_a_place_is_found(tmp_path: Path) -> None:
    package = tmp_path / "cai_bootstrap"
    shutil.copytree(CHECKOUT / "cai_bootstrap", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "planted.py").touch()
    done = lint_imports(tmp_path)
    assert done.returncode != 0, done.stdout
    assert "planted" in done.stdout + done.stderr
