"""What the tests that crash share: bodies in forked processes, and test files that are run as scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).resolve().parent
FULL = os.environ.get("CRASH") == "full"
"""Whether the full counts are asked for, as `make crash` does."""


def in_fork(body: Callable[[], None]) -> int:
    """Runs `body` in a forked process; returns its exit code, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        try:
            body()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - whatever it was, a forked child must not return into pytest
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(70)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_script(file: str, folder: Path, number: int) -> str:
    """What a test file prints that is run as a script with a folder and a number; its log, `CRASH_LOG`, lies beside the folder.

    The test fails when the script does.
    """
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = os.environ | {"PYTHONPATH": path, "CRASH_LOG": str(folder.with_name("log"))}
    command = [sys.executable, file, str(folder), str(number)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def as_script(body: Callable[[Path, int], None]) -> None:
    """The other end of `run_script`: calls `body` with the folder, made, and the number."""
    import torch  # before the forks: each would load it anew

    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    body(folder, int(sys.argv[2]))
