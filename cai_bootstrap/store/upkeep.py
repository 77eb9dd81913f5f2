"""Looking after a store: is everything whole that runs refer to, and what does nobody refer to any more."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cai_bootstrap.errors import CaiError, CorruptArtifact, MissingArtifact, UserError
from cai_bootstrap.store.artifacts import MANIFEST, Artifact, Store, list_files, read_manifest
from cai_bootstrap.store.files import storage_errors
from cai_bootstrap.store.lock import run_lock, start_lock
from cai_bootstrap.store.run import read_run, run_folder
from cai_bootstrap.store.work import step_digest

_REMOVED, _PARTIAL = ".removed", ".partial"


@dataclass(frozen=True)
class Checked:
    """What was found of one artifact that a run refers to, directly or through what it was made from."""

    stage: str
    name: str
    digest: str
    num_bytes: int
    problem: str
    """Empty when the artifact is whole and its address is that of what its manifest tells."""


@dataclass(frozen=True)
class Unused:
    """A folder in the store that nothing refers to."""

    path: Path
    num_bytes: int


def run_names(root: Path) -> list[str]:
    """The names of all runs, sorted."""
    return sorted(path.parent.name for path in (root / "data" / "runs").glob("*/run.json"))


def verify_run(root: Path, run: str) -> Iterator[Checked]:
    """Every artifact that a run points to and everything that they were made from, each checked, in the run's order.

    Checked are all files against their hashes, that nothing else lies in the folder, that the address is the digest of what
    the manifest tells (function, settings, inputs, values, seed), and that the inputs are there. Raises UserError for an
    unknown run.
    """
    state = read_run(root, run)
    if state is None:
        raise UserError(f"run={run} does not exist under {root}: runs are {', '.join(run_names(root)) or 'none yet'}")
    held, store = _by_digest(root), Store(root)
    wanted = [(stage, name, digest) for stage, entry in state["stages"].items() for name, digest in entry["steps"].items()]
    seen: set[str] = set()
    while wanted:
        stage, name, digest = wanted.pop(0)
        if digest in seen:
            continue
        seen.add(digest)
        try:
            artifact = store.find(stage, name, digest)
            if artifact is None:
                raise MissingArtifact(f"it is gone: run stage={stage} run={run} again")
            _require_sound(artifact)
        except CaiError as error:
            yield Checked(stage, name, digest, 0, str(error))
            continue
        lost = []
        for key, made_from in artifact.manifest["inputs"].items():
            found = held.get(made_from)
            if found is None and made_from not in seen:
                lost.append(key)
            elif found is not None:
                wanted.append((found.stage, found.name, made_from))
        problem = f"what it was made from is gone or damaged: {', '.join(lost)}" if lost else ""
        yield Checked(stage, name, digest, sum(entry["bytes"] for entry in artifact.manifest["files"].values()), problem)


def unused(root: Path, *, partial: bool = False) -> list[Unused]:
    """Folders of artifacts that no run refers to, directly or through what was made from them, sorted by path.

    With `partial` also what interrupted steps left, which a run may still go on with. Raises CorruptArtifact for a run that
    cannot be read: what it refers to is not known then.
    """
    held = _by_digest(root)
    needed: set[str] = set()
    wanted = [digest for run in run_names(root) for digest in _pointed_to(root, run)]
    while wanted:
        digest = wanted.pop()
        if digest not in needed:
            needed.add(digest)
            if digest in held:
                wanted += held[digest].manifest["inputs"].values()
    used = {artifact.path for digest, artifact in held.items() if digest in needed}
    found = []
    for path in _folders(root):
        if path.suffix == _PARTIAL and not partial:
            continue
        if path.suffix in (_REMOVED, _PARTIAL) or (path not in used and _whole(path) is not None):
            found.append(Unused(path, sum((path / name).lstat().st_size for name in list_files(path))))
    return found


@contextlib.contextmanager
def no_runs(root: Path) -> Iterator[None]:
    """No run is held and none can begin until the block ends. Raises RunLocked, naming who holds one."""
    with contextlib.ExitStack() as locks:
        locks.enter_context(start_lock(root))
        for run in run_names(root):
            locks.enter_context(run_lock(run_folder(root, run), f"run {run}"))
        yield


def remove(folders: Iterable[Unused]) -> None:
    """Remove them. A kill in it leaves no half artifact: a folder is renamed first, and what is left goes next time."""
    for each in folders:
        path = each.path
        with storage_errors(path):
            if path.suffix != _REMOVED:
                path = path.rename(path.with_name(path.name + _REMOVED))
            shutil.rmtree(path)


def _require_sound(artifact: Artifact) -> None:
    artifact.verify()
    expected = step_digest(artifact.manifest)
    if expected != artifact.digest:
        raise CorruptArtifact(f"{artifact.path}: its manifest tells of {expected[:16]}, not of this artifact")


def _pointed_to(root: Path, run: str) -> list[str]:
    state = read_run(root, run) or {"stages": {}}
    return [digest for entry in state["stages"].values() for digest in entry["steps"].values()]


def _folders(root: Path) -> list[Path]:
    """Every folder at the place of an artifact."""
    places = [*(root / "data" / "store").glob("*/*"), *(root / "checkpoints").glob("*/*")]
    return sorted(path for path in places if path.is_dir() and not path.is_symlink() and path.name != ".locks")


def _whole(path: Path) -> dict[str, object] | None:
    """A folder's manifest, None for a folder that is no artifact or a damaged one: what it is nobody can tell."""
    try:
        return read_manifest(path)
    except CorruptArtifact:
        return None


def _by_digest(root: Path) -> dict[str, Artifact]:
    """All artifacts in the store that have a sound manifest."""
    found = {}
    for path in _folders(root):
        manifest = _whole(path) if (path / MANIFEST).is_file() and path.suffix not in (_REMOVED, _PARTIAL) else None
        if manifest is not None:
            digest = str(manifest["digest"])
            found[digest] = Artifact(str(manifest["stage"]), str(manifest["name"]), digest, path, dict(manifest))
    return found
