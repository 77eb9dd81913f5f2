"""Files that are there whole or not at all, what a full disk says, and JSON Lines."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from cai_bootstrap.errors import CorruptArtifact, DiskFull, UserError
from cai_bootstrap.store.provenance import digest, ordered_json

TEMPORARY_SUFFIX = ".being-written"
_SEAL = "sha256"
"""The key of a file's own hash."""
# EFBIG is a file-size limit (ulimit -f), EDQUOT a quota: the same trouble for the user, and the same way out.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def full_disk(error: BaseException, path: Path) -> DiskFull | None:
    """DiskFull naming `path` when `error` says that no space was left, else None."""
    number = error.errno if isinstance(error, OSError) else None
    # Libraries that write through native code give the errno in their own error's text only (safetensors does).
    if number is None and (told := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(told.group(1))
    if number not in _NO_SPACE:
        return None
    reason = os.strerror(number or errno.ENOSPC).lower()
    return DiskFull(f"{path} cannot be written, {reason}: free some space and run the same command again")


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns a full disk into DiskFull and a folder that cannot be written into UserError, each naming `path`."""
    try:
        yield
    except OSError as error:
        full = full_disk(error, path)
        if full is not None:
            raise full from error
        if error.errno in _NOT_WRITABLE:
            what = f"{error.filename or path} cannot be written ({os.strerror(error.errno).lower()})"
            raise UserError(f"{what}: write paths.root= with a folder of your own") from error
        raise


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that names made or renamed in it outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, each flushed into the folder above, so that what is put there outlives a power
    cut with it.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which stands under `path` when the block has ended, and not at all when it raised.

    After a kill at any instant the whole old content or the whole new one is there. Missing folders are made. Raises
    DiskFull when no space is left (the old content stays), UserError when the place cannot be written.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    with storage_errors(path):
        make_folder(path.parent)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all. Raises as `open_atomic` does."""
    with open_atomic(path) as file:
        file.write(data)


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file that carries its own hash, whole or not at all. Raises as `open_atomic` does, UserError for what JSON
    cannot hold.
    """
    sealed = {**value, _SEAL: digest({key: inner for key, inner in value.items() if key != _SEAL})}
    write_atomic(path, (json.dumps(sealed, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_sealed(path: Path, way_out: str) -> dict[str, Any] | None:
    """What `write_sealed` wrote, without the hash; None when there is no file.

    Raises CorruptArtifact, with the way out, for a file that was altered or that carries no hash.
    """
    try:
        told = json.loads(path.read_bytes())
        seal = told.pop(_SEAL)
        if digest(told) != seal:
            raise ValueError("it was altered")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptArtifact(f"{path} cannot be read ({error!r:.200}): {way_out}") from error
    return dict(told)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed writers left anywhere under `folder`."""
    for leftover in folder.rglob(f".*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)


def dump_row(row: dict[str, Any]) -> bytes:
    """One line of JSON Lines, the keys in their order. Raises UserError for a row that JSON cannot hold."""
    return (ordered_json(row) + "\n").encode()


def load_rows(data: bytes) -> list[dict[str, Any]]:
    """The rows of JSON Lines. Raises ValueError when a line is not JSON."""
    # Not str.splitlines: it also splits at U+2028 and its like, which stand unescaped inside the texts.
    lines = [line for line in data.decode().split("\n") if line]
    # As one array, which takes half the time of a call for each line.
    rows: list[dict[str, Any]] = json.loads(f"[{','.join(lines)}]")
    if len(rows) != len(lines):
        raise ValueError(f"{len(lines)} lines hold {len(rows)} values: write one to a line")
    return rows
