"""What a step function gets and how it is marked: shards that survive a kill, files, progress."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self, TypeVar

from cai_bootstrap.errors import CorruptArtifact, UserError
from cai_bootstrap.redact import redact
from cai_bootstrap.store.artifacts import MANIFEST, RECORDS, Artifact, read_manifest
from cai_bootstrap.store.files import (
    dump_row,
    load_rows,
    make_folder,
    open_atomic,
    read_sealed,
    storage_errors,
    sync_folder,
    write_atomic,
    write_sealed,
)
from cai_bootstrap.store.journal import JOURNAL, Journal, JournalEntry
from cai_bootstrap.store.provenance import canonical_json, digest, ordered_json

DROPPED = "dropped.jsonl"
_SHARDS = "shards"
_STATE = "work.json"
_ATTEMPT = "attempt.json"
_CHECKPOINTS = "checkpoints"
IN_PROGRESS_ONLY = frozenset({_SHARDS, JOURNAL, _STATE, _ATTEMPT, _CHECKPOINTS})
"""Entries of a partial folder that its artifact does not keep: their content is in the step's own files."""

Rows = list[dict[str, Any]]
StepFunction = Callable[..., None]
F = TypeVar("F", bound=StepFunction)


def step(version: int, grows: str = "") -> Callable[[F], F]:
    """Marks a function as a step. Its result is addressed by name and `version`: raise it when the result changes.

    `grows` names a setting, with dots, of which a larger value only lets rows go on that were cut before: a token limit. Then
    an artifact with a smaller value is there as `Work.shorter`, and the seeds of shards do not depend on the value.
    """

    def mark(function: F) -> F:
        marked: Any = function
        marked.step_version = version
        marked.step_grows = grows
        marked.step_name = f"{function.__module__}.{function.__qualname__}"
        return function

    return mark


def step_identity(function: StepFunction) -> tuple[str, int]:
    """The name and version of a step function. Raises UserError when it was not marked with `@step`."""
    name, version = getattr(function, "step_name", None), getattr(function, "step_version", None)
    if not isinstance(name, str) or not isinstance(version, int):
        raise UserError(f"{function!r} is not a step: write @step(version=1) above it")
    return name, version


def step_facts(
    function: StepFunction,
    settings: Mapping[str, Any],
    inputs_digests: Mapping[str, str],
    values: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """What a step's address is taken of, as its manifest tells it. Raises UserError for an unmarked function."""
    name, version = step_identity(function)
    return {
        "function": name,
        "version": version,
        "settings": dict(settings),
        "inputs": dict(inputs_digests),
        "values": dict(values),
        "seed": seed,
    }


def step_digest(facts: Mapping[str, Any]) -> str:
    """The address of a step's result (64 hex digits), by `step_facts` or a manifest, which holds them.

    Library versions, code revision and measured settings are no part of it: they are recorded, not keyed. Raises UserError
    for a value that JSON cannot hold.
    """
    return digest({key: facts[key] for key in ("function", "version", "settings", "inputs", "values", "seed")})


def without_setting(facts: Mapping[str, Any], name: str) -> tuple[dict[str, Any], Any]:
    """`facts` without the setting of that dotted name, and its value. Raises UserError where there is no such setting."""
    copy: dict[str, Any] = json.loads(canonical_json(dict(facts)))
    *parents, last = name.split(".")
    inside = copy["settings"]
    try:
        for parent in parents:
            inside = inside[parent]
        return copy, inside.pop(last)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"step {facts['function']} grows with {name!r}, which is none of its settings") from None


class Task(Protocol):
    """One long piece of work that is shown while it goes on."""

    def update(self, done: int) -> None:
        """`done` of the total are finished (an absolute number)."""
        ...

    def line(self, text: str) -> None:
        """Show one line about it."""
        ...


class Progress(Protocol):
    """Shows what goes on."""

    def task(self, description: str, total: int | None) -> AbstractContextManager[Task]:
        """Show a task until the block ends; `total` is None when nobody knows it."""
        ...


class SilentProgress:
    """Shows nothing."""

    @contextlib.contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Task]:
        """A task that shows nothing."""
        yield self

    def update(self, done: int) -> None:
        """Nothing."""

    def line(self, text: str) -> None:
        """Nothing."""


class Work:
    """A step in progress. Everything is written into `folder`, which becomes the artifact when the function returns.
    A context manager: its end says whether the function did.

    After a kill the function is called again with the same arguments and the same folder: what `shard` committed comes
    back, and what the function left in `checkpoints` still lies there.
    """

    def __init__(
        self,
        stage: str,
        name: str,
        digest: str,
        folder: Path,
        seed: int,
        settings: dict[str, Any],
        progress: Progress,
        require_locks: Callable[[], None] = lambda: None,
        seeded_by: str = "",
        shorter: Artifact | None = None,
    ) -> None:
        """`require_locks` is called before each write, and raises when this process has lost the right to it.

        `seeded_by` is what shards' seeds come of, the step's digest unless given; `shorter` see `step`.
        """
        self._began = time.monotonic()
        self.stage = stage
        self.name = name
        self.digest = digest
        self.folder = folder
        self.seed = seed
        self.settings = settings
        self.progress = progress
        self.shorter = shorter
        self._require_locks = require_locks
        self._seeded_by = seeded_by or digest
        with storage_errors(folder):
            make_folder(folder)
        self._journal = Journal(folder)
        self._committed = self._journal.read()
        self._num_rows: dict[str, int] = {}
        self._dropped: BinaryIO | None = None
        self._open_files = contextlib.ExitStack()
        self._in_shard = False
        self._engines, self._warnings = self._read_state()
        self._earlier_engines = list(self._engines)
        self._earlier_s = self._begin_attempt()

    @property
    def checkpoints(self) -> Path:
        """A folder for what the step itself goes on from after a kill. It goes when the artifact is committed, and not before:
        until then a kill would cost all of it.
        """
        return self.folder / _CHECKPOINTS

    def shard(self, index: int, compute: Callable[[int], Rows]) -> None:
        """Commit a shard's rows, computed with the shard's own seed, unless they are committed; `rows_of` reads them back.

        `compute` gets that seed and must depend on nothing else that changes between calls; what it does beside
        returning rows is not repeated after a kill, so `drop` is refused inside it. Raises DiskFull.
        """
        if index < 0:
            raise UserError(f"shard index {index} is not valid: count from 0")
        if index not in self._committed:  # which holds those whose files were whole when this work began
            self._compute_shard(index, compute)

    def has_shard(self, index: int) -> bool:
        """Whether a shard is committed."""
        return index in self._committed

    def shard_seed(self, index: int) -> int:
        """The seed that a shard's `compute` gets: of the run's seed, the step and the shard."""
        # `attempt` keeps its place in the seed for steps that retry a shard with fresh luck.
        return int(digest({"seed": self.seed, "step": self._seeded_by, "shard": index, "attempt": 0})[:8], 16)

    def rows_of(self, shards: Iterable[int]) -> Iterator[dict[str, Any]]:
        """The rows of committed shards, read back one shard after the other. Raises CorruptArtifact for a damaged one."""
        for index in shards:
            entry = self._committed.get(index)
            data = None if entry is None else self._journal.content(entry)
            if data is None:
                raise CorruptArtifact(f"shard {index} of {self.folder} is missing or damaged: run the same command again")
            yield from load_rows(data)

    def uncut(self, by: str, is_whole: Callable[[dict[str, Any]], bool], file: str = RECORDS) -> dict[str, Rows]:
        """Of `shorter` the rows that a larger limit would not change, by the field `by`; all of one record are whole, or none
        is taken. Empty without `shorter`.
        """
        found: dict[str, Rows] = {}
        for row in [] if self.shorter is None else self.shorter.iter_rows(file):
            found.setdefault(str(row[by]), []).append(row)
        return {key: rows for key, rows in found.items() if all(map(is_whole, rows))}

    def num_committed(self) -> int:
        """How many shards are committed."""
        return len(self._committed)

    def write_rows(self, file: str, rows: Iterable[dict[str, Any]]) -> None:
        """Write a JSON Lines file of the artifact, row by row: `rows` may be a generator, which may call `drop`.

        Raises UserError for a row that JSON cannot hold, DiskFull.
        """
        count = 0
        with self.open(file) as lines:
            for row in rows:
                lines.write(dump_row(row))
                count += 1
        self._num_rows[file] = count

    def write_json(self, file: str, value: Any) -> None:
        """Write a JSON file of the artifact, keys in their order. Raises as `write_rows` does."""
        ordered_json(value)
        self.write_bytes(file, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())

    def write_bytes(self, file: str, data: bytes) -> None:
        """Write a file of the artifact. Raises as `open` does."""
        with self.open(file) as target:
            target.write(data)

    def open(self, file: str) -> AbstractContextManager[BinaryIO]:
        """A file of the artifact to write in a `with` block; it is there when the block ends without an exception.

        Raises UserError for a name that leads out of the artifact or is the store's own, DiskFull.
        """
        parts = PurePosixPath(file).parts
        if not parts or ".." in parts or PurePosixPath(file).is_absolute() or parts[0] in IN_PROGRESS_ONLY | {MANIFEST}:
            raise UserError(f"{file!r} is not valid as an artifact's file: write a relative name such as {RECORDS!r}")
        self._require_locks()
        return open_atomic(self.folder / file)

    def record_rows(self, file: str, num_rows: int) -> None:
        """Tell how many rows a file has that was written by `open`, for the manifest's `num_records`."""
        self._num_rows[file] = num_rows

    def record_engine(self, description: Mapping[str, Any]) -> None:
        """Put the engine that made the rows into the manifest; kept over a kill. A resumed step whose engine is another
        than before says so in its warnings.
        """
        engine = dict(description)
        if engine in self._engines:
            self._engines.remove(engine)  # the last one recorded is the one shown
        elif self._earlier_engines:
            earlier = canonical_json(self._earlier_engines[-1])
            self.warn(f"resumed with another engine: {canonical_json(engine)}, before: {earlier}")
        self._engines.append(engine)
        self._write_state()

    def warn(self, text: str) -> None:
        """Add a warning about validity; it stays with the artifact and every run that uses it. Kept over a kill."""
        text = redact(text)
        if text not in self._warnings:
            self._warnings.append(text)
            self._write_state()

    def drop(self, rows: Iterable[dict[str, Any]]) -> None:
        """Keep dropped samples beside the kept ones, in `dropped.jsonl`. Each row should carry its reason.

        Raises UserError inside a shard's compute, where a resumed step would lose them: return them as rows instead.
        """
        if self._in_shard:
            raise UserError("drop() inside a shard is lost after a kill: return the rows from the shard, then drop")
        if self._dropped is None:
            self._dropped = self._open_files.enter_context(self.open(DROPPED))
            self._num_rows[DROPPED] = 0
        for row in rows:
            self._dropped.write(dump_row(row))
            self._num_rows[DROPPED] += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        # What was dropped becomes a file, or goes when the step failed: the next attempt drops it again.
        self._open_files.__exit__(kind, value, trace)

    def summary(self) -> dict[str, Any]:
        """The manifest's num_records, engine, warnings, and seconds of all attempts (see `_begin_attempt`)."""
        others = sum(count for file, count in self._num_rows.items() if file != DROPPED)
        return {
            "num_records": self._num_rows.get(RECORDS, others),
            "engine": self._engines[-1] if self._engines else None,
            "warnings": self._warnings,
            "seconds": round(self._earlier_s + time.monotonic() - self._began, 3),
            **({} if self.shorter is None else {"grown_from": self.shorter.digest}),
        }

    def _compute_shard(self, index: int, compute: Callable[[int], Rows]) -> None:
        self._in_shard = True
        try:
            rows = compute(self.shard_seed(index))
        finally:
            self._in_shard = False
        data = b"".join(map(dump_row, rows))
        file = f"{_SHARDS}/{index}.jsonl"
        self._require_locks()
        write_atomic(self.folder / file, data)
        entry = JournalEntry(index, file, hashlib.sha256(data).hexdigest(), len(rows))
        self._journal.append(entry)
        self._committed[index] = entry

    def _begin_attempt(self) -> float:
        """Seconds that earlier attempts took, each up to what it wrote last; marks the begin of this one.

        Both ends are times of files, which the volume's own clock gives: the next attempt may be another machine's.
        """
        mark = self.folder / _ATTEMPT
        try:
            earlier = read_sealed(mark, "")
        except CorruptArtifact:
            earlier = None
            self._warnings.append(f"{_ATTEMPT} of an interrupted attempt was damaged: its seconds are not counted")
        earlier_s = 0.0
        if earlier is not None:
            last_sign = max(path.stat().st_mtime for path in self.folder.rglob("*"))
            earlier_s = earlier["seconds"] + last_sign - mark.stat().st_mtime
        self._require_locks()
        write_sealed(mark, {"seconds": round(earlier_s, 3)})
        return earlier_s

    def _read_state(self) -> tuple[list[dict[str, Any]], list[str]]:
        try:
            state = read_sealed(self.folder / _STATE, "") or {"engines": [], "warnings": []}
        except CorruptArtifact:
            return [], [f"{_STATE} of an interrupted attempt was damaged: its engine and warnings are lost"]
        return list(state["engines"]), list(state["warnings"])

    def _write_state(self) -> None:
        state = {"engines": self._engines, "warnings": self._warnings}
        self._require_locks()
        write_sealed(self.folder / _STATE, state)


def is_complete(partial: Path, stage: str, name: str, digest: str) -> bool:
    """Whether a kill came after the manifest and before the folder was renamed. A damaged one is cleared away."""
    try:
        manifest = read_manifest(partial)
        if manifest is None:
            return False
        _remove_progress(partial)
        Artifact(stage, name, digest, partial, manifest).verify()
    except CorruptArtifact:
        shutil.rmtree(partial)
        return False
    return bool(manifest["digest"] == digest)


def commit(partial: Path, final: Path) -> None:
    """Make a partial folder with its manifest the artifact. A kill in it loses nothing: the next call ends the move."""
    with storage_errors(final):
        _remove_progress(partial)
        sync_folder(partial)
        partial.rename(final)
        sync_folder(final.parent)


def _remove_progress(folder: Path) -> None:
    for name in sorted(IN_PROGRESS_ONLY):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
