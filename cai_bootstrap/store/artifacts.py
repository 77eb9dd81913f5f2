"""Content-addressed artifacts: a folder of files with a manifest that is written last.

An artifact exists when its manifest does. The manifest lists every file with its size and SHA-256, and carries a hash
of itself, so that a torn, truncated or altered artifact is found before it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cai_bootstrap.errors import CorruptArtifact, MissingArtifact, UserError
from cai_bootstrap.store.files import load_rows, storage_errors, sync_folder, write_atomic
from cai_bootstrap.store.provenance import canonical_json, digest, file_sha256

MANIFEST = "manifest.json"
RECORDS = "records.jsonl"
SCRIPTED = "scripted, no claim"
"""Stands wherever a figure is shown that comes of the scripted engine."""
MODEL_NAMES = frozenset({"base", "adapter", "model"})
"""Artifacts that hold weights; they live under `checkpoints/`, those of a later round (`model-2`) too."""
_checked: set[tuple[Path, int, int, int]] = set()


@dataclass(frozen=True)
class Artifact:
    """A committed artifact. Its files are read through it, so that no altered content gets in."""

    stage: str
    name: str
    digest: str
    path: Path
    manifest: dict[str, Any]

    @property
    def is_made(self) -> bool:
        """False for an artifact that is only planned."""
        return bool(self.manifest)

    @property
    def is_scripted(self) -> bool:
        """Whether the scripted engine made it, or something that it comes of: then it claims nothing."""
        return bool(self.manifest.get("scripted"))

    def file(self, name: str) -> Path:
        """The path of a file, its content checked against the manifest the first time in this process.

        Raises MissingArtifact when the artifact has no such file, CorruptArtifact when its content differs.
        """
        path = self._listed(name)
        with _reading(path):
            status = path.stat()
            key = (path.resolve(), status.st_ino, status.st_size, status.st_mtime_ns)
            if key not in _checked:
                self._compare(name, file_sha256(path))
                _checked.add(key)
        return path

    def read(self, name: str) -> bytes:
        """A file's content; these very bytes were checked. Raises as `file` does."""
        path = self._listed(name)
        with _reading(path):
            data = path.read_bytes()
        self._compare(name, hashlib.sha256(data).hexdigest())
        return data

    def rows(self, file: str = RECORDS) -> list[dict[str, Any]]:
        """The rows of a JSON Lines file. Raises as `file` does."""
        return load_rows(self.read(file))

    def iter_rows(self, file: str = RECORDS) -> Iterator[dict[str, Any]]:
        """The rows of a JSON Lines file one by one, so that its size is no matter. Raises as `file` does."""
        path = self.file(file)
        with _reading(path), path.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                yield json.loads(line)

    def json(self, file: str) -> Any:
        """The value in a JSON file. Raises as `file` does."""
        return json.loads(self.read(file))

    def verify(self) -> Path:
        """The folder, after every file was checked: for libraries that take a folder, such as a model's loader.

        Raises CorruptArtifact also for a file that the manifest does not list, because such a library might load it.
        """
        for name in self.manifest["files"]:
            self.file(name)
        for name in list_files(self.path):
            if name != MANIFEST and name not in self.manifest["files"]:
                raise CorruptArtifact(f"{self.path / name} is not in the manifest: remove it and run again")
        return self.path

    def _listed(self, name: str) -> Path:
        if name not in self.manifest["files"]:
            held = ", ".join(sorted(self.manifest["files"]))
            raise MissingArtifact(f"{self.stage}/{self.name} has no file {name!r}: it has {held}")
        return self.path / name

    def _compare(self, name: str, actual: str) -> None:
        expected = self.manifest["files"][name]["sha256"]
        if actual != expected:
            raise _corrupt(self.path, f"{name} has sha256 {actual}, its manifest says {expected}")


class Store:
    """Where artifacts live under a root folder. Makes no folder by itself, so looking writes nothing."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, stage: str, name: str, digest: str) -> Path:
        """The folder of an artifact, whether it exists or not."""
        kind = Path("checkpoints") if name.partition("-")[0] in MODEL_NAMES else Path("data", "store")
        return self.root / kind / stage / f"{name}-{digest[:16]}"

    def find(self, stage: str, name: str, digest: str) -> Artifact | None:
        """The committed artifact, or None when there is no manifest.

        Sizes are compared here, contents when they are read. Raises CorruptArtifact when the manifest is unreadable or
        another artifact's, or when a listed file is missing or has another size.
        """
        folder = self.folder(stage, name, digest)
        manifest = read_manifest(folder)
        if manifest is None:
            return None
        found = (manifest["stage"], manifest["name"], manifest["digest"])
        if found != (stage, name, digest):
            raise _corrupt(folder, f"{MANIFEST} is that of {found}, not of {(stage, name, digest)}")
        return Artifact(stage, name, digest, folder, manifest)

    def versions(self, stage: str, name: str) -> Iterator[Artifact]:
        """The committed artifacts of that stage and name, whatever their digests. Damaged ones are left out."""
        for folder in sorted(self.folder(stage, name, "").parent.glob(f"{name}-*")):
            with contextlib.suppress(CorruptArtifact):
                manifest = read_manifest(folder)
                if manifest is not None and (manifest["stage"], manifest["name"]) == (stage, name):
                    yield Artifact(stage, name, manifest["digest"], folder, manifest)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, checked together with its files' sizes; None when there is none.

    Raises CorruptArtifact when the manifest is damaged, or a listed file is missing or has another size.
    """
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _corrupt(folder, f"{MANIFEST} cannot be read ({error.strerror})") from error
    try:
        manifest = json.loads(data)
        told = manifest["manifest_sha256"]
        # The bytes are compared as well as the hash: JSON has several texts for one value (1e5 and 1E5).
        if render_manifest(manifest) != data:
            raise _corrupt(folder, f"{MANIFEST} has sha256 {_own_hash(manifest)} or another layout, it says {told}")
        files: dict[str, dict[str, Any]] = manifest["files"]
        for name, entry in files.items():
            _check_size(folder, name, int(entry["bytes"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _corrupt(folder, f"{MANIFEST} cannot be read ({error!r:.200})") from error
    return dict(manifest)


def is_scripted_model(model_folder: Path) -> bool:
    """Whether the folder of a model is one in the store that is stamped as scripted."""
    try:
        manifest = read_manifest(model_folder.resolve().parent)
    except CorruptArtifact:  # somebody else's file of that name beside a model of their own
        return False
    return bool((manifest or {}).get("scripted"))


def write_manifest(folder: Path, facts: dict[str, Any], skip: frozenset[str] = frozenset()) -> None:
    """Flush and hash every file in `folder`, then write the manifest as its last file.

    `facts` are all keys but `files` and `manifest_sha256`; entries of the folder named in `skip` are not listed.
    Raises DiskFull, and UserError for a symbolic link, whose target no hash would protect.
    """
    files: dict[str, dict[str, Any]] = {}
    with storage_errors(folder):
        for name in list_files(folder):
            path = folder / name
            if PurePosixPath(name).parts[0] in skip:
                continue
            if path.is_symlink():
                raise UserError(f"{path} is a symbolic link: a step writes its files itself")
            with path.open("rb") as file:
                os.fsync(file.fileno())
            files[name] = {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            sync_folder(path)
    write_atomic(folder / MANIFEST, render_manifest({**facts, "files": files}))


def render_manifest(manifest: dict[str, Any]) -> bytes:
    """The manifest's one text, its own hash included."""
    canonical_json(manifest)
    whole = {**manifest, "manifest_sha256": _own_hash(manifest)}
    return (json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def list_files(folder: Path) -> list[str]:
    """Relative names, with slashes, of all files and links under `folder`, sorted."""
    files = (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _own_hash(manifest: dict[str, Any]) -> str:
    return digest({key: value for key, value in manifest.items() if key != "manifest_sha256"})


def _check_size(folder: Path, name: str, expected: int) -> None:
    # A manifest is data: a name in it must not lead out of its folder.
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise _corrupt(folder, f"{MANIFEST} lists {name!r}, which is outside of the folder")
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise _corrupt(folder, f"{name} is missing or no plain file")
    actual = path.stat().st_size
    if actual != expected:
        raise _corrupt(folder, f"{name} has {actual} bytes, its manifest says {expected}")


def _corrupt(folder: Path, what: str) -> CorruptArtifact:
    return CorruptArtifact(f"{folder}: {what}; remove this folder and run the same command again to make it anew")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except CorruptArtifact:
        raise
    except OSError as error:
        raise _corrupt(path.parent, f"{path.name} cannot be read ({error.strerror})") from error
