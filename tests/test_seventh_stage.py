"""A stage more is two new files: its functions and its numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from notebook_cells import run_notebook
from test_whole_curriculum import TRAINED, WORDS

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


def copied(folder: Path) -> Path:
    """What a checkout holds of the package."""
    for name in ("cai_bootstrap", "conf", "data/heldout", "data/seeds"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constitution.yaml"):
        shutil.copy(CHECKOUT / name, folder / name)
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of the six stages."""
    return copied(tmp_path)


@pytest.fixture(scope="module")
def seventh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one stage more, all seven of which were run under `root` by the scripted engine."""
    checkout = copied(tmp_path_factory.mktemp("seventh"))
    add_stage(checkout)
    done = call(checkout, "stage=all", *WORDS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return checkout


def add_stage(checkout: Path) -> None:
    """The two files."""
    (checkout / "cai_bootstrap" / "stages" / "refresher.py").write_text(FUNCTIONS)
    (checkout / "conf" / "stage" / "refresher.yaml").write_text(NUMBERS)


def call(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cai_bootstrap", *words, f"paths.root={checkout / 'root'}"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    return subprocess.run(command, capture_output=True, text=True, cwd=checkout, env=environment, check=False)


@pytest.mark.slow
def test_a_seventh_stage_is_two_new_files(copy: Path) -> None:
    before = call(copy, "plan", "stage=7")
    assert before.returncode == 2
    assert "stage=7 does not exist" in before.stderr
    add_stage(copy)
    planned = call(copy, "plan", "stage=all")
    assert planned.returncode == 0, planned.stderr
    steps = [line.split()[1:3] for line in planned.stdout.splitlines() if " refresher " in line]
    assert ["refresher", "pairs"] in steps
    assert ["refresher", "eval-constitutional"] in steps  # retention of every stage before
    assert ["refresher", "gate"] in steps
    assert " refresher " in call(copy, "plan", "stage=7").stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_seventh_stage_runs_to_its_gate(seventh: Path) -> None:
    run = seventh / "root" / "data" / "runs" / "default"
    gate = json.loads((run / "refresher" / "gate" / "gate.json").read_text())
    assert (gate["stage"], gate["passed"]) == ("refresher", True)
    names = [check["name"] for check in gate["checks"]]
    assert "trained strict" in names
    assert {f"retention of {name}" for name in TRAINED} <= set(names)  # also of the stage that has its suite
    parent = json.loads((run / "constitutional" / "model" / "manifest.json").read_text())["digest"]
    assert json.loads((run / "refresher" / "adapter" / "manifest.json").read_text())["inputs"]["model"] == parent
    assert "| refresher " in (run / "curriculum.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_notebook_shows_the_pairs_of_every_stage(seventh: Path) -> None:
    for stage in (*TRAINED, "refresher"):
        made = seventh / "root" / "data" / "runs" / "default" / stage
        num_pairs = json.loads((made / "pairs" / "statistics.json").read_text())["num_pairs"]
        printed = run_notebook(seventh / "root", "default", stage, seventh)
        assert printed.startswith(f"{num_pairs} pairs of run default, stage {stage}; ")

        asked, used, lost = found(r"(\d+) instructions had candidates: (\d+) became pairs, (\d+) were lost", printed)
        assert asked == used + lost
        num_of_answers, num_of_cases = found(r"(\d+) pairs come of these instructions, (\d+) of committed cases", printed)
        assert num_of_answers + num_of_cases == num_pairs
        is_constructed = (made / "constructed").exists()
        assert is_constructed == (stage in ("evaluation", "revision"))
        assert (num_of_cases > 0) == is_constructed
        if is_constructed:
            assert used <= num_of_answers  # several may come of one
        else:
            kept = json.loads((made / "kept" / "manifest.json").read_text())["num_records"]
            assert used == num_pairs <= kept
        # An answer whose tasks are in the pairs is not lost to a better candidate. (Stage 5 may find nothing to reject.)
        table = printed.partition("Instructions lost, by reason\n")[2].partition("\n\n")[0]
        assert stage == "revision" or "another candidate is better" not in table

        (num_compared,) = found(r"(\d+) of \d+ pairs have a margin of chosen over rejected", printed)
        assert (num_compared > 0) == (stage == "constitutional")
        (num_named,) = found(r"(\d+) of \d+ pairs name a principle", printed)
        if stage == "constitutional":
            assert num_named == num_pairs
        else:
            assert (num_named > 0) == (stage == "evaluation")


def found(pattern: str, printed: str) -> list[int]:
    """The numbers in the groups of a pattern where it occurs."""
    match = re.search(pattern, printed)
    assert match, printed
    return [int(number) for number in match.groups()]


@pytest.mark.parametrize(("parent", "told"), [("implicit", "already"), ("nothing", "is no stage")])
def test_a_stage_out_of_the_chain_is_one_clear_line(copy: Path, parent: str, told: str) -> None:
    (copy / "conf" / "stage" / "refresher.yaml").write_text(NUMBERS.replace("constitutional", parent))
    refused = call(copy, "plan", "stage=1")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert told in refused.stderr
