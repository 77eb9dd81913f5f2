"""A disk that can lose power: what stands on it afterwards is what was flushed, and no more.

The strictest reading of POSIX: a file's content counts when the file was flushed (`fsync`) after it was written, and an entry
of a folder (a name made, renamed or removed) when that folder was. Real file systems keep more; none may keep less.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Identity = tuple[int, int]
"""Inode, and how often that number was given away before."""
_WATCHED = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.symlink"}


@dataclass
class Disk:
    """Watches this process's file operations under `root` from now on.

    Points are counted: each operation, and each flush twice, before and after. `at` is called with each point's number.
    """

    root: Path
    at: Callable[[int], None]
    num_points: int = 0
    _contents: dict[Identity, bytes] = field(default_factory=dict)
    _entries: dict[Identity, dict[str, tuple[Identity, str]]] = field(default_factory=dict)
    _generation: dict[int, int] = field(default_factory=dict)
    _watching: bool = True

    def __post_init__(self) -> None:
        self._prefix = str(self.root)
        flush = os.fsync

        def watched_flush(fd: Any) -> None:
            path = str(Path(f"/proc/self/fd/{fd}").readlink())
            inside = self._watching and path.startswith(self._prefix)
            if inside:
                self._point()
                self._flushed(fd, path)
            else:
                flush(fd)
            if inside:
                self._point()

        os.fsync = watched_flush
        sys.addaudithook(self._hook)

    def after_power_cut(self, target: Path, *, torn: bool = False) -> None:
        """Write to `target` what would be there. With `torn` half of what was not flushed is there as well: names all, and of
        each file that was not flushed since it was written the first half.
        """
        self._watching = False
        if torn:
            self._copy_torn(self.root, target)
        else:
            self._copy_flushed(self._identity(self.root.stat()), target)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching or event not in _WATCHED:
            return
        paths = [str(os.fspath(item)) for item in arguments[:2] if isinstance(item, str | os.PathLike)]
        if event in ("os.remove", "os.rmdir") and arguments[1] != -1:  # relative to an open folder, as shutil.rmtree goes
            paths = [f"{Path(f'/proc/self/fd/{arguments[1]}').readlink()}/{paths[0]}"]
        if not any(path.startswith(self._prefix) for path in paths):
            return
        self._point()
        gone = {"os.remove": 0, "os.rmdir": 0, "os.rename": 1}.get(event)
        if gone is not None and gone < len(paths):
            self._given_away(paths[gone])

    def _point(self) -> None:
        self._watching = False
        self.at(self.num_points)
        self.num_points += 1
        self._watching = True

    def _given_away(self, path: str) -> None:
        """The inode of what is removed or replaced may come again, as another file."""
        try:
            number = os.lstat(path).st_ino
        except OSError:
            return
        self._generation[number] = self._generation.get(number, 0) + 1

    def _identity(self, status: os.stat_result) -> Identity:
        return status.st_ino, self._generation.get(status.st_ino, 0)

    def _flushed(self, descriptor: int, path: str) -> None:
        self._watching = False
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            found = {}
            for entry in os.scandir(path):
                kind = "folder" if entry.is_dir(follow_symlinks=False) else "file"
                if entry.is_symlink():
                    kind = "->" + str(Path(entry.path).readlink())
                found[entry.name] = (self._identity(entry.stat(follow_symlinks=False)), kind)
            self._entries[self._identity(status)] = found
        else:
            self._contents[self._identity(status)] = Path(path).read_bytes()
        self._watching = True

    def _copy_flushed(self, folder: Identity, target: Path) -> None:
        target.mkdir(parents=True)
        for name, (identity, kind) in self._entries.get(folder, {}).items():
            if kind == "folder":
                self._copy_flushed(identity, target / name)
            elif kind.startswith("->"):
                (target / name).symlink_to(kind[2:])
            else:
                (target / name).write_bytes(self._contents.get(identity, b""))

    def _copy_torn(self, folder: Path, target: Path) -> None:
        target.mkdir(parents=True)
        for entry in os.scandir(folder):
            if entry.is_symlink():
                (target / entry.name).symlink_to(str(Path(entry.path).readlink()))
            elif entry.is_dir():
                self._copy_torn(Path(entry.path), target / entry.name)
            else:
                data = Path(entry.path).read_bytes()
                is_flushed = self._contents.get(self._identity(entry.stat())) == data
                (target / entry.name).write_bytes(data if is_flushed else data[: len(data) // 2])


def die() -> None:
    """Ends this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
