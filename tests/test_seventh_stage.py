"""A stage more is two new files: its functions and its numbers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
FUNCTIONS = '''"""Stage 7: short answers once more."""

from cai_bootstrap.stages.explicit import STAGE as EXPLICIT
from cai_bootstrap.stages.stage import Stage

STAGE = Stage(
    name="refresher",
    suite="explicit",
    seeds=("explicit",),
    kinds=EXPLICIT.kinds,
    path=EXPLICIT.path,
    keep=EXPLICIT.keep,
)
'''
NUMBERS = "defaults:\n  - explicit\n  - _self_\n\nname: refresher\nparent: constitutional\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a checkout holds of the package."""
    for name in ("cai_bootstrap", "conf", "data/heldout", "data/seeds"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constitution.yaml"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    return tmp_path


def plan(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cai_bootstrap", "plan", *words, f"paths.root={checkout / 'root'}"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    return subprocess.run(command, capture_output=True, text=True, cwd=checkout, env=environment, check=False)


@pytest.mark.slow
def test_a_seventh_stage_is_two_new_files(copy: Path) -> None:
    before = plan(copy, "stage=7")
    assert before.returncode == 2
    assert "stage=7 does not exist" in before.stderr
    (copy / "cai_bootstrap" / "stages" / "refresher.py").write_text(FUNCTIONS)
    (copy / "conf" / "stage" / "refresher.yaml").write_text(NUMBERS)
    planned = plan(copy, "stage=all")
    assert planned.returncode == 0, planned.stderr
    steps = [line.split()[1:3] for line in planned.stdout.splitlines() if " refresher " in line]
    assert ["refresher", "pairs"] in steps
    assert ["refresher", "eval-constitutional"] in steps  # retention of every stage before
    assert ["refresher", "gate"] in steps
    assert " refresher " in plan(copy, "stage=7").stdout


@pytest.mark.parametrize(("parent", "told"), [("implicit", "already"), ("nothing", "is no stage")])
def test_a_stage_out_of_the_chain_is_one_clear_line(copy: Path, parent: str, told: str) -> None:
    (copy / "conf" / "stage" / "refresher.yaml").write_text(NUMBERS.replace("constitutional", parent))
    refused = plan(copy, "stage=1")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert told in refused.stderr
