"""Locks of the kernel on files: they vanish with their holder, so a killed process leaves nothing to clear away."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cai_bootstrap.errors import RunLocked
from cai_bootstrap.store.files import storage_errors, write_atomic

_QUIET_WAIT_S = 2.0
_MAX_COMMAND_CHARS = 200


@contextlib.contextmanager
def run_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold the run in `folder` until the block ends. `what` names it in the message.

    Raises RunLocked at once when another process (or another Run in this one) holds it, naming the holder's process id,
    host, start time and command.
    """
    holder_file = folder / "lock.json"
    lock = _make_lock(folder / "run.lock")
    for _ in range(5):
        try:
            with storage_errors(folder):
                lock.acquire(timeout=0)
            break
        except Timeout:
            holder = read_holder(holder_file)
            if holder is not None:
                whom = describe_holder(holder)
                raise RunLocked(f"{what} is in use by {whom}: wait, or write run= with another name") from None
            # The holder has the lock and is about to write who it is.
            time.sleep(0.05)
    else:
        raise RunLocked(f"{what} is in use by another process: wait, or write run= with another name")
    with _announced(lock, holder_file, what):
        yield


@contextlib.contextmanager
def start_lock(root: Path) -> Iterator[None]:
    """Hold the right to begin a run under `root` until the block ends; wait while another process has it.

    Runs hold it for an instant, the removal of what no run refers to all the while: so no run begins in the middle of that.
    """
    with artifact_lock(root / "data" / "start", "the start of a run"):
        yield


@contextlib.contextmanager
def artifact_lock(path: Path, what: str | None = None) -> Iterator[None]:
    """Hold the artifact at `path` until the block ends; wait while another process makes it.

    After two seconds one line on stderr says for whom. The lock files lie in `.locks/` beside the artifact.
    """
    what = what or path.name
    folder = path.parent / ".locks"
    holder_file = folder / f"{path.name}.json"
    lock = _make_lock(folder / f"{path.name}.lock")
    with storage_errors(folder):
        try:
            lock.acquire(timeout=_QUIET_WAIT_S, poll_interval=0.05)
        except Timeout:
            holder = read_holder(holder_file)
            whom = "another process" if holder is None else describe_holder(holder)
            print(f"waiting for {what}, which is being made by {whom}", file=sys.stderr, flush=True)
            lock.acquire(timeout=-1, poll_interval=0.2)
    with _announced(lock, holder_file, what):
        yield


def read_holder(path: Path) -> dict[str, Any] | None:
    """Who holds a lock: what, pid, host, started_at, command. None when nobody has said so, or its process is gone."""
    try:
        holder = json.loads(path.read_bytes())
        pid = int(holder["pid"])
        if holder["host"] == socket.gethostname():
            os.kill(pid, 0)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not isinstance(error, PermissionError):  # a living process of another user
            return None
    return dict(holder)


def describe_holder(holder: dict[str, Any]) -> str:
    """One phrase for people about what `read_holder` returned."""
    return (
        f"process {holder.get('pid')} on {holder.get('host')}, started {holder.get('started_at')}, "
        f"command: {holder.get('command')}"
    )


@contextlib.contextmanager
def _announced(lock: FileLock, holder_file: Path, what: str) -> Iterator[None]:
    try:
        command = " ".join(shlex.join(sys.orig_argv).split())  # `python -c` may hold newlines; messages are one line
        holder = {
            "what": what,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command if len(command) <= _MAX_COMMAND_CHARS else command[:_MAX_COMMAND_CHARS] + " ...",
        }
        write_atomic(holder_file, json.dumps(holder, indent=2).encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            holder_file.unlink(missing_ok=True)
        lock.release()


def _make_lock(path: Path) -> FileLock:
    with storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    # A soft lock (a file that merely exists) would outlive a killed holder, so a file system without locks is an error.
    return FileLock(path, fallback_to_soft=False)
