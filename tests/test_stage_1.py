"""Stage 1 on the real 270M model, small, killed in the middle of generation and of training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = (
    "stage=1",
    "eval.num_items=20",
    "eval.raw=false",
    "stage.instructions.num_instructions=24",
    "stage.instructions.requests_per_shard=12",
    "stage.responses.shard_size=8",
    "stage.pairs.min_pairs=6",
    "train.num_epochs=1",
    "train.batch_size=2",
    "train.micro_batch_size=2",
    "train.checkpoint_steps=1",
    "merge.num_prompts=4",
)


def start(root: Path) -> subprocess.Popen[str]:
    """The real command in its own process."""
    command = [sys.executable, "-m", "cai_bootstrap", *SMALL, f"paths.root={root}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root)


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool], timeout_s: float = 900) -> None:
    """kill -9 the command once `ready`; fails when it ends before that."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert process.poll() is None, f"ended too early:\n{process.communicate()[0][-3000:]}"
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def finish(process: subprocess.Popen[str]) -> str:
    """The output of a command that runs to its end; 1 is a failed gate, which so few pairs may well bring."""
    output, _ = process.communicate(timeout=1500)
    assert process.returncode in (0, 1), output[-3000:]
    return output


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_stage_1_goes_on_after_kills_and_computes_nothing_twice(tmp_path: Path) -> None:
    store = tmp_path / "data" / "store" / "explicit"

    def shards(name: str) -> list[Path]:
        return sorted(store.glob(f"{name}-*.partial/shards/*.jsonl"))

    kill_when(start(tmp_path), lambda: len(shards("candidates")) >= 1)
    committed = {path.name: path.read_bytes() for path in shards("candidates")}
    instructions = next(store.glob("instructions-*/manifest.json")).read_bytes()
    assert committed

    checkpoints = tmp_path / "checkpoints" / "explicit"
    kill_when(start(tmp_path), lambda: bool(list(checkpoints.glob("adapter-*.partial/checkpoints/step-*/manifest.json"))))
    candidates = next(store.glob("candidates-*/records.jsonl")).read_text().splitlines()
    for name, data in committed.items():
        first = int(name.removesuffix(".jsonl")) * 8 * 4  # 8 instructions a shard, 4 candidates each
        assert data.decode().splitlines() == candidates[first : first + len(data.decode().splitlines())]

    output = finish(start(tmp_path))
    assert next(store.glob("instructions-*/manifest.json")).read_bytes() == instructions
    training = json.loads(next(checkpoints.glob("adapter-*/training.json")).read_text())
    assert training["resumed_from_step"]
    assert "base cued" in output
    assert "trained" in output
    assert "gate" in output

    began = time.monotonic()
    again = finish(start(tmp_path))
    assert time.monotonic() - began < 60
    assert "evaluation" not in again.split("base cued")[0]

    status = subprocess.run(
        [sys.executable, "-m", "cai_bootstrap", "status", "--json", f"paths.root={tmp_path}"],
        capture_output=True,
        text=True,
        check=True,
    )
    (run,) = json.loads(status.stdout)["runs"]
    assert run["stages"][1]["stage"] == "explicit"
    assert run["stages"][1]["gate"] is not None
    certificate = json.loads(next(checkpoints.glob("model-*/certificate.json")).read_text())
    assert certificate["greedy_agreement"] >= 0.99
