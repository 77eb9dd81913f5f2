"""`kill -9` loses at most the shard in flight: random kills of the command line, forked and as new processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from forks import FULL

CHECKOUT = Path(__file__).resolve().parents[2]


def killed(folder: Path, *arguments: str) -> str:
    """What `kills.py` counted; the test fails when it found something lost."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), str(folder), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kills_of_forks(tmp_path: Path, counted: Callable[[str], None]) -> None:
    line = killed(tmp_path, "--kills", "950" if FULL else "6", "--seed", "20261122")
    counted(line)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kills_of_new_processes(tmp_path: Path, counted: Callable[[str], None]) -> None:
    # A new process imports for some seconds before it does anything.
    line = killed(tmp_path, "--kills", "50" if FULL else "1", "--seed", "7", "--longest-s", "16", "--real")
    counted(line)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_resumed_equals_uninterrupted_to_the_bit(tmp_path: Path, counted: Callable[[str], None]) -> None:
    # Five kills a run, in generation, in the middle of epochs and of accumulated steps, in merging and in evaluation.
    line = killed(tmp_path, "--kills", "250" if FULL else "5", "--per-run", "5", "--longest-s", "1.5", "tiny")
    counted(line)
