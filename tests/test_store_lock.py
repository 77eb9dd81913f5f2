"""Locks between real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cai_bootstrap.errors import RunLocked
from cai_bootstrap.store.lock import artifact_lock, run_lock

ROOT = Path(__file__).resolve().parent.parent
CHILD = """
import sys, time
from pathlib import Path
from cai_bootstrap.store.lock import artifact_lock, run_lock
kind, path, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
with (run_lock(path, "run default") if kind == "run" else artifact_lock(path, "explicit/pairs")):
    print("held", flush=True)
    time.sleep(seconds)
"""


def start(kind: str, path: Path, seconds: float = 60) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, kind, str(path), str(seconds)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_held(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"


def test_second_process_is_refused_at_once_and_a_kill_frees_the_run(tmp_path: Path) -> None:
    holder = start("run", tmp_path)
    try:
        wait_until_held(holder)
        started = time.monotonic()
        with pytest.raises(RunLocked) as refused, run_lock(tmp_path, "run default"):
            pass
        assert time.monotonic() - started < 1
        message = str(refused.value)
        assert f"run default is in use by process {holder.pid} on " in message
        assert "started 20" in message
        assert "command: " in message
        assert "\n" not in message
        assert refused.value.exit_code == 2
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert (tmp_path / "lock.json").exists(), "the killed holder had no time to clear away"
        with run_lock(tmp_path, "run default"):
            pass
        assert not (tmp_path / "lock.json").exists()
    finally:
        holder.kill()
        holder.communicate()


def test_a_second_run_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    refused = pytest.raises(RunLocked, match=f"process {os.getpid()} ")
    with run_lock(tmp_path, "run default"), refused, run_lock(tmp_path, "run default"):
        pass
    with run_lock(tmp_path, "run default"):
        pass


def test_an_artifact_is_waited_for_and_the_wait_is_announced_once(tmp_path: Path) -> None:
    path = tmp_path / "pairs-0123456789abcdef"
    holder = start("artifact", path)
    wait_until_held(holder)
    waiter = start("artifact", path, 0)
    try:
        assert waiter.stderr is not None
        line = waiter.stderr.readline()
        assert f"waiting for explicit/pairs, which is being made by process {holder.pid} on " in line
        assert waiter.poll() is None
        holder.send_signal(signal.SIGKILL)
        _, rest = waiter.communicate(timeout=10)
        assert (waiter.returncode, rest) == (0, "")
    finally:
        for child in (holder, waiter):
            child.kill()
            child.communicate()


def test_a_free_artifact_is_taken_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with artifact_lock(tmp_path / "pairs-0"):
        pass
    assert capfd.readouterr() == ("", "")
