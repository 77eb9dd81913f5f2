"""The journal of a step's committed shards: one fsynced line each, append-only."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cai_bootstrap.store.files import storage_errors, sync_folder
from cai_bootstrap.store.provenance import canonical_json

JOURNAL = "journal.jsonl"
_BLOCK = 4096


@dataclass(frozen=True)
class JournalEntry:
    """One committed shard: its file, relative to the journal's folder, that file's hash, and its number of rows."""

    shard: int
    file: str
    sha256: str
    num_records: int


class Journal:
    """The journal in `folder`. One writer at a time, which the artifact's lock ensures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / JOURNAL

    def append(self, entry: JournalEntry) -> None:
        """Commit a shard whose file is already on the disk. Raises DiskFull; the shard is then not committed."""
        line = canonical_json(vars(entry)).encode() + b"\n"
        with storage_errors(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                # A kill may have torn the last line; what is written after it would be torn with it.
                end = self._end_of_whole_lines(descriptor)
                os.ftruncate(descriptor, end)
                os.lseek(descriptor, end, os.SEEK_SET)
                written = 0
                while written < len(line):
                    written += os.write(descriptor, line[written:])
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_folder(self.folder)

    def read(self) -> dict[int, JournalEntry]:
        """The committed shards by index; the last line of a shard wins.

        A torn last line, a damaged line, and a shard whose file is missing or has another hash do not count: such a
        shard is computed again, with the same seed.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is torn or empty
        except FileNotFoundError:
            return {}
        entries: dict[int, JournalEntry] = {}
        for line in lines:
            entry = _parse(line)
            if entry is not None:
                entries[entry.shard] = entry
        return {shard: entry for shard, entry in sorted(entries.items()) if self.content(entry) is not None}

    def content(self, entry: JournalEntry) -> bytes | None:
        """The bytes of a committed shard's file, or None when they are missing or have another hash."""
        try:
            data = (self.folder / entry.file).read_bytes()
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == entry.sha256 else None

    @staticmethod
    def _end_of_whole_lines(descriptor: int) -> int:
        # From the end: reading a long journal whole for each line of it would be quadratic.
        end = os.lseek(descriptor, 0, os.SEEK_END)
        while end:
            begin = max(0, end - _BLOCK)
            if (found := os.pread(descriptor, end - begin, begin).rfind(b"\n")) >= 0:
                return begin + found + 1
            end = begin
        return 0


def _parse(line: bytes) -> JournalEntry | None:
    try:
        entry = JournalEntry(**json.loads(line))
    except (ValueError, TypeError):
        return None
    sound = (
        type(entry.shard) is int
        and type(entry.file) is str
        and type(entry.sha256) is str
        and type(entry.num_records) is int
        # The name says which shard it is, so that a damaged line cannot pass one shard off as another.
        and PurePosixPath(entry.file).stem == str(entry.shard)
        and ".." not in PurePosixPath(entry.file).parts
        and not PurePosixPath(entry.file).is_absolute()
    )
    return entry if sound else None
