"""A full disk at every write: a clear error, nothing corrupt, and the next call goes on.

Run as a script, this file is the process whose disk is full.
"""

from __future__ import annotations

import errno
import itertools
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forks import FULL, as_script, in_fork, run_script
from test_points import contents, scenario

from cai_bootstrap.errors import DiskFull
from cai_bootstrap.store.upkeep import verify_run

_TAKES_SPACE = {"open", "os.mkdir", "os.symlink", "os.rename"}


def full_from(number: int, root: Path) -> None:
    """From its `number`-th operation under `root` that takes space, this process finds no more: names, contents, flushes."""
    counter = itertools.count()
    flush = os.fsync

    def spend(path: str) -> None:
        if path.startswith(str(root)) and ".locks" not in path and next(counter) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_CREAT | os.O_WRONLY)):
            return
        if event in _TAKES_SPACE and isinstance(arguments[0], str | os.PathLike):
            spend(str(os.fspath(arguments[1] if event in ("os.rename", "os.symlink") else arguments[0])))

    def full_flush(fd: Any) -> None:
        spend(str(Path(f"/proc/self/fd/{fd}").readlink()))
        flush(fd)

    os.fsync = full_flush
    sys.addaudithook(hook)


def small_files(limit: int, root: Path) -> None:
    """No file of this process may grow beyond `limit` bytes: real writes fail in the middle."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def fill_everywhere(root: Path, every: int) -> None:
    """Fills the disk at every point and goes on; prints how many points there were."""
    assert in_fork(lambda: scenario(root / "whole")) == 0
    expected, refused = contents(root / "whole"), {"operations": 0, "sizes": 0}
    ways: dict[str, tuple[Callable[[int, Path], None], range]] = {
        "operations": (full_from, range(0, 10**6, every)),
        "sizes": (small_files, range(0, 4000, 40 * every)),
    }
    for way, (fill, points) in ways.items():
        for point in points:
            here = root / f"{way}-{point}"

            def full(here: Path = here, point: int = point, fill: Callable[[int, Path], None] = fill) -> None:
                here.mkdir()
                fill(point, here)
                try:
                    scenario(here)
                except DiskFull as error:
                    os._exit(3 if "free some space and run the same command again" in str(error) else 4)

            code = in_fork(full)
            assert code in (0, 3), f"{way} {point}: no clear error (exit code {code})"
            if (here / "data/runs/default/run.json").exists():
                problems = [each for each in verify_run(here, "default") if each.problem]
                assert problems == [], (way, point, problems)
            assert in_fork(lambda here=here: scenario(here)) == 0, (way, point)  # type: ignore[misc]
            assert contents(here) == expected, (way, point)
            subprocess.run(["rm", "-rf", str(here)], check=True)
            if code == 0:
                break
            refused[way] += 1
    print(f"{refused['operations']} failing operations, {refused['sizes']} limits of size: 0 corrupt, all resumed")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_full_disk_at_every_write(tmp_path: Path, counted: Callable[[str], None]) -> None:
    line = run_script(__file__, tmp_path / "disk", 1 if FULL else 61)
    counted(line)


if __name__ == "__main__":
    as_script(fill_everywhere)
