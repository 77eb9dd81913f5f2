"""SIGTERM: what goes on is saved, the process ends within 30 seconds, and the next call goes on from there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forks import FULL
from kills import WORDS, fingerprint
from test_kills import CHECKOUT, killed


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_sigterm_at_any_time(tmp_path: Path, counted: Callable[[str], None]) -> None:
    line = killed(tmp_path, "--kills", "97" if FULL else "3", "--seed", "11", "--term")
    counted(line)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_training_in_a_child_is_saved_when_it_is_terminated(tmp_path: Path, counted: Callable[[str], None]) -> None:
    # Without SIGTERM there would be no checkpoint: the next one is minutes away.
    training = ["engine.in_process=false", "train.checkpoint_steps=0", "train.checkpoint_minutes=30", "train.num_epochs=12"]
    command = [sys.executable, "-m", "cai_bootstrap", *WORDS, *training]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    alone, stopped = tmp_path / "alone", tmp_path / "stopped"
    subprocess.run([*command, f"paths.root={alone}"], env=environment, capture_output=True, check=False)
    assert list(alone.rglob("training.json"))
    slowest_s = 0.0
    for _ in range(3 if FULL else 1):
        output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen([*command, f"paths.root={stopped}"], env=environment, **output)
        assert process.stdout is not None
        for text in process.stdout:
            if text.startswith("training: 0/"):
                break
        time.sleep(2)  # some of its 180 steps, whatever the machine
        process.send_signal(signal.SIGTERM)
        begin_s = time.monotonic()
        assert process.wait(timeout=30) == 143
        slowest_s = max(slowest_s, time.monotonic() - begin_s)
        process.stdout.close()
        (partial,) = (stopped / "checkpoints/explicit").glob("adapter-*.partial")
        assert list((partial / "checkpoints").glob("step-*/manifest.json")), "nothing was saved"
    subprocess.run([*command, f"paths.root={stopped}"], env=environment, capture_output=True, check=False)
    (facts,) = [json.loads(path.read_bytes()) for path in stopped.rglob("training.json")]
    assert facts["resumed_from_step"] is not None
    assert fingerprint(stopped) == fingerprint(alone)
    counted(f"saved and gone after at most {slowest_s:.1f} s, resumed to the same result")
