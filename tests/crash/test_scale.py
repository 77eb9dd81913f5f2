"""A million records: filtered, deduplicated and paired in little memory, and a step that is killed near its end goes on soon.

What a model writes is made beforehand (`benchmarks/million.py`). Steps that no model is asked in are not in shards, since
writing those would cost more than they save: a kill costs what they have done, which the test tells too.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forks import FULL

from benchmarks import isolated, million
from cai_bootstrap.store.work import Task

NUM_RECORDS = 1_000_000 if FULL else 8_000
MOST_MIB = 1024
MOST_RESUMING_S = 10.0


class KillAt:
    """A display that ends its process for good when a task has come so far."""

    def __init__(self, num_done: int) -> None:
        self._num_done = num_done

    @contextlib.contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Task]:
        """This one is told."""
        yield self

    def update(self, done: int) -> None:
        """The end, if it is time."""
        if done >= self._num_done:
            os.kill(os.getpid(), signal.SIGKILL)

    def line(self, text: str) -> None:
        """Nothing."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_records(tmp_path: Path, counted: Callable[[str], None]) -> None:
    root = tmp_path / "root"
    (tmp_path / "size.json").write_text(json.dumps(NUM_RECORDS))
    million.write_lines(tmp_path, NUM_RECORDS)
    killed = multiprocessing.get_context("spawn").Process(
        target=million.run_step, args=(root, tmp_path, "instructions", KillAt(NUM_RECORDS // 4 * 95 // 100))
    )
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    parts = {"instructions": isolated.call(million.run_step, root, tmp_path, "instructions")}
    isolated.call(million.write_answers, root, tmp_path)
    parts["kept"] = isolated.call(million.run_step, root, tmp_path, "kept")
    isolated.call(million.write_rejected, root, tmp_path)
    parts["pairs"] = isolated.call(million.run_step, root, tmp_path, "pairs")
    mib = {name: part["mib_at_most"] - part["mib_before"] for name, part in parts.items()}
    resumed_after_s = parts["instructions"]["resumed_after_s"]
    seconds = {name: parts[name]["seconds"] for name in ("kept", "pairs")}
    counted(
        f"{NUM_RECORDS:,} candidates, {parts['pairs']['made']:,} pairs; at most {max(mib.values()):.0f} MiB above the start "
        f"({', '.join(f'{name} {value:.0f}' for name, value in mib.items())}); instructions killed at 95 % went on after "
        f"{resumed_after_s:.1f} s; a kill costs at most {seconds['kept']:.0f} s of filtering and "
        f"{seconds['pairs']:.0f} s of pairing"
    )
    assert parts["instructions"]["made"] == NUM_RECORDS // 4
    assert max(mib.values()) < MOST_MIB
    assert resumed_after_s < MOST_RESUMING_S
