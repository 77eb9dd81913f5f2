"""Looking after a store: is everything whole that runs refer to, and what does nobody refer to any more."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai_bootstrap.errors import CaiError, CorruptArtifact, MissingArtifact, UserError
from cai_bootstrap.store.artifacts import Artifact, Store, list_files, read_manifest
from cai_bootstrap.store.files import storage_errors
from cai_bootstrap.store.lock import run_lock, start_lock
from cai_bootstrap.store.run import read_run, run_folder, run_names
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


def verify_run(root: Path, run: str) -> Iterator[Checked]:
    """Every artifact that a run points to and everything that they were made from, each checked, in the run's order.

    Checked are all files against their hashes, that nothing else lies in the folder, that the address is the digest of what
    the manifest tells (function, settings, inputs, values, seed), and that the inputs are there. Raises UserError for an
    unknown run.
    """
    state = read_run(root, run)
    if state is None:
        raise UserError(f"run={run} does not exist under {root}: runs are {', '.join(run_names(root)) or 'none yet'}")
    held, store = {artifact.digest: artifact for artifact in _artifacts(root)}, Store(root)
    wanted = _pointed_to(state)
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
    artifacts = _artifacts(root)
    held = {artifact.digest: artifact for artifact in artifacts}
    states = [read_run(root, run) or {"stages": {}} for run in run_names(root)]
    wanted = [digest for state in states for _, _, digest in _pointed_to(state)]
    needed: set[str] = set()
    while wanted:
        digest = wanted.pop()
        if digest not in needed:
            needed.add(digest)
            if digest in held:
                wanted += held[digest].manifest["inputs"].values()
    # By digest and not by path: a folder that was copied by hand names the same artifact, and either may be the one in use.
    left = {artifact.path for artifact in artifacts if artifact.digest not in needed}
    left |= {path for path in _folders(root) if path.suffix == _REMOVED or (partial and path.suffix == _PARTIAL)}
    return [Unused(path, sum((path / name).lstat().st_size for name in list_files(path))) for path in sorted(left)]


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


def _pointed_to(state: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The steps that a run's state points to, by stage, name and digest, in their order."""
    return [(stage, name, digest) for stage, entry in state["stages"].items() for name, digest in entry["steps"].items()]


def _folders(root: Path) -> list[Path]:
    """Every folder at the place of an artifact."""
    places = [*(root / "data" / "store").glob("*/*"), *(root / "checkpoints").glob("*/*")]
    return sorted(path for path in places if path.is_dir() and not path.is_symlink() and path.name != ".locks")


def _artifacts(root: Path) -> list[Artifact]:
    """All artifacts in the store that have a sound manifest, sorted by path: what another folder is nobody can tell."""
    found = []
    for path in _folders(root):
        if path.suffix not in (_REMOVED, _PARTIAL):
            with contextlib.suppress(CorruptArtifact):
                manifest = read_manifest(path)
                if manifest is not None:
                    found.append(Artifact(manifest["stage"], manifest["name"], manifest["digest"], path, manifest))
    return found
