"""Locks that vanish with their holder. On one machine the kernel sees to that, so a killed process leaves nothing to clear
away; on a volume that several machines share, where the kernel's locks may not reach, a sign of life and a token do.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cai_bootstrap.errors import RunLocked
from cai_bootstrap.redact import redact_words
from cai_bootstrap.store.files import make_folder, storage_errors, write_atomic

SIGN_OF_LIFE_S = 10.0
"""How often a holder says that it lives."""
GONE_AFTER_S = 60.0
"""After so long without a sign of life a holder on another machine is taken for gone."""
_QUIET_WAIT_S = 2.0
_MAX_COMMAND_CHARS = 200


@dataclass(frozen=True)
class Lease:
    """A lock that is held: the file that tells others by whom, and the token in it."""

    what: str
    holder_file: Path
    token: str

    def require(self) -> None:
        """Raises RunLocked when somebody else has taken the lock over, since this process gave no sign of life for too long."""
        holder = _told(self.holder_file)
        if holder is None or holder.get("token") != self.token:
            whom = "another process" if holder is None else describe_holder(holder)
            raise RunLocked(
                f"{self.what} was taken over by {whom}, since this process had given no sign of life for {GONE_AFTER_S:.0f} s: "
                "nothing more is written here"
            )

    def show_life(self) -> None:
        """Set the holder file's time, unless it is somebody else's by now."""
        with contextlib.suppress(OSError, RunLocked):  # a volume that is away for a while must not end a run
            self.require()
            os.utime(self.holder_file)


@contextlib.contextmanager
def run_lock(folder: Path, what: str) -> Iterator[Lease]:
    """Hold the run in `folder` until the block ends. `what` names it in the message.

    Raises RunLocked at once when another process (or another Run in this one) holds it, naming the holder's process id,
    host, start time and command.
    """
    holder_file = folder / "lock.json"
    lock = _make_lock(folder / "run.lock")
    way_out = "wait, or write run= with another name"
    for _ in range(5):
        try:
            with storage_errors(folder):
                lock.acquire(timeout=0)
            break
        except Timeout:
            holder = read_holder(holder_file)
            if holder is not None:
                raise RunLocked(f"{what} is in use by {describe_holder(holder)}: {way_out}") from None
            # The holder has the lock and is about to write who it is.
            time.sleep(0.05)
    else:
        raise RunLocked(f"{what} is in use by another process: {way_out}")
    if (silent_s := elsewhere(holder_file)) is not None:
        lock.release()
        holder = read_holder(holder_file) or {}
        raise RunLocked(
            f"{what} is in use by {describe_holder(holder)}, last sign of life {silent_s:.0f} s ago: {way_out}; after "
            f"{GONE_AFTER_S:.0f} s without one it is free"
        )
    with _announced(lock, holder_file, what) as lease:
        yield lease


@contextlib.contextmanager
def start_lock(root: Path) -> Iterator[None]:
    """Hold the right to begin a run under `root` until the block ends; wait while another process has it.

    Runs hold it for an instant, the removal of what no run refers to all the while: so no run begins in the middle of that.
    """
    with artifact_lock(root / "data" / "start", "the start of a run"):
        yield


@contextlib.contextmanager
def artifact_lock(path: Path, what: str | None = None) -> Iterator[Lease]:
    """Hold the artifact at `path` until the block ends; wait while another process makes it.

    After two seconds one line on stderr says for whom. The lock files lie in `.locks/` beside the artifact.
    """
    what = what or path.name
    folder = path.parent / ".locks"
    holder_file = folder / f"{path.name}.json"
    lock = _make_lock(folder / f"{path.name}.lock")

    def announce() -> None:
        holder = read_holder(holder_file)
        whom = "another process" if holder is None else describe_holder(holder)
        print(f"waiting for {what}, which is being made by {whom}", file=sys.stderr, flush=True)

    with storage_errors(folder):
        try:
            lock.acquire(timeout=_QUIET_WAIT_S, poll_interval=0.05)
        except Timeout:
            announce()
            lock.acquire(timeout=-1, poll_interval=0.2)
    if elsewhere(holder_file) is not None:
        announce()
        while elsewhere(holder_file) is not None:
            time.sleep(1)
    with _announced(lock, holder_file, what) as lease:
        yield lease


def read_holder(path: Path) -> dict[str, Any] | None:
    """Who holds a lock: what, pid, host, started_at, command. None when nobody has said so, or its process is gone."""
    holder = _told(path)
    if holder is not None and holder["machine"] == this_machine():
        try:
            os.kill(holder["pid"], 0)
        except PermissionError:
            pass  # a living process of another user
        except OSError:
            return None
    return holder


def elsewhere(holder_file: Path) -> float | None:
    """Seconds since the last sign of life of a holder on another machine; None when there is no such holder, or it is gone.

    Both times are the volume's own, since the clocks of two machines may differ.
    """
    holder = _told(holder_file)
    if holder is None or holder["machine"] == this_machine():
        return None  # the kernel has answered for this machine
    probe = holder_file.with_name(f".{holder_file.name}.{secrets.token_hex(4)}.clock")
    with storage_errors(holder_file.parent):
        try:
            probe.touch()
            silent_s = probe.stat().st_mtime - holder_file.stat().st_mtime
        except FileNotFoundError:  # given free meanwhile
            return None
        finally:
            probe.unlink(missing_ok=True)
    return None if silent_s > GONE_AFTER_S else max(0.0, silent_s)


def describe_holder(holder: dict[str, Any]) -> str:
    """One phrase for people about what `read_holder` returned."""
    return (
        f"process {holder.get('pid')} on {holder.get('host')}, started {holder.get('started_at')}, "
        f"command: {holder.get('command')}"
    )


@functools.cache
def this_machine() -> str:
    """What tells this machine from others: its host name, and its boot where the kernel tells (two containers may have one
    name, and after a restart a process id is another process's).
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()} {boot.read_text().strip() if boot.exists() else ''}".strip()


@contextlib.contextmanager
def _announced(lock: FileLock, holder_file: Path, what: str) -> Iterator[Lease]:
    lease = Lease(what, holder_file, secrets.token_hex(8))
    try:
        # `python -c` may hold newlines; messages are one line.
        command = " ".join(shlex.join(redact_words(sys.orig_argv)).split())
        holder = {
            "what": what,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "machine": this_machine(),
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command if len(command) <= _MAX_COMMAND_CHARS else command[:_MAX_COMMAND_CHARS] + " ...",
            "token": lease.token,
        }
        write_atomic(holder_file, json.dumps(holder, indent=2).encode())
        with _heart.beating_for(lease):
            yield lease
    finally:
        with contextlib.suppress(OSError, RunLocked):
            lease.require()  # who took it over keeps it
            holder_file.unlink(missing_ok=True)
        lock.release()


class _Heart:
    """One thread that gives signs of life for all locks that this process holds."""

    def __init__(self) -> None:
        self._leases: set[Lease] = set()
        self._changes = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def beating_for(self, lease: Lease) -> Iterator[None]:
        """Give signs of life for `lease` until the block ends."""
        with self._changes:
            self._leases.add(lease)
            if self._thread is None or not self._thread.is_alive():  # a forked process has none
                self._thread = threading.Thread(target=self._beat, daemon=True, name="signs of life")
                self._thread.start()
        try:
            yield
        finally:
            with self._changes:
                self._leases.discard(lease)

    def _beat(self) -> None:
        while True:
            time.sleep(SIGN_OF_LIFE_S)
            with self._changes:
                leases = list(self._leases)
            for lease in leases:
                lease.show_life()


_heart = _Heart()


def _told(path: Path) -> dict[str, Any] | None:
    """What a holder file says; None when there is none, or it is no such file."""
    try:
        holder = json.loads(path.read_bytes())
        if isinstance(holder["pid"], int) and isinstance(holder["machine"], str):
            return dict(holder)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _make_lock(path: Path) -> FileLock:
    with storage_errors(path.parent):
        make_folder(path.parent)
    # A soft lock (a file that merely exists) would outlive a killed holder, so a file system without locks is an error.
    return FileLock(path, fallback_to_soft=False)
