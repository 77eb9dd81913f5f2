"""Trainer checkpoints that are whole or not there: safetensors and JSON, hashed in a manifest that is written last.

A folder is written under another name, flushed, and renamed. What does not match its manifest is never used.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cai_bootstrap.store.files import full_disk, make_folder, storage_errors, sync_folder, write_atomic
from cai_bootstrap.store.provenance import file_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable

Tensors = dict[str, torch.Tensor]

_MANIFEST = "manifest.json"
_NUM_KEPT = 2
_PREFIX = "step-"


def write(folder: Path, key: str, tensors: Mapping[str, Tensors], values: Mapping[str, Any]) -> None:
    """Write `tensors` (file stem to tensors) and `values` (file stem to JSON) as `folder`, in place of what was there.

    `key` names the training that they belong to. Raises DiskFull.
    """
    partial = folder.with_name(folder.name + ".partial")
    with storage_errors(folder):
        shutil.rmtree(partial, ignore_errors=True)
        make_folder(partial)
        for name, content in tensors.items():
            _save_tensors(content, partial / f"{name}.safetensors")
        for name, value in values.items():
            (partial / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        files = sorted(path for path in partial.iterdir())
        for path in files:
            _sync(path)
        manifest = {"key": key, "files": {path.name: file_sha256(path) for path in files}}
        write_atomic(partial / _MANIFEST, json.dumps(manifest).encode())
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        sync_folder(folder.parent)


def is_whole(folder: Path, key: str) -> bool:
    """Whether every file of `folder` matches its manifest, and it belongs to the training `key`."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        files: dict[str, str] = manifest["files"]
        return manifest["key"] == key and all(file_sha256(folder / name) == sha for name, sha in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def newest(parent: Path, key: str) -> Path | None:
    """The checkpoint with the most steps that is whole, or None."""
    return next((folder for folder in reversed(_steps(parent)) if is_whole(folder, key)), None)


def step_folder(parent: Path, step: int) -> Path:
    """Where the checkpoint after `step` optimizer steps lies."""
    return parent / f"{_PREFIX}{step}"


def prune(parent: Path) -> None:
    """Remove all but the last two checkpoints."""
    for folder in _steps(parent)[:-_NUM_KEPT]:
        shutil.rmtree(folder)


def load(folder: Path, name: str) -> Tensors:
    """The tensors of a whole folder's file."""
    return load_file(folder / f"{name}.safetensors")


def load_value(folder: Path, name: str) -> Any:
    """The JSON value of a whole folder's file."""
    return json.loads((folder / f"{name}.json").read_bytes())


def pack_optimizer(state: Mapping[str, Any]) -> tuple[Tensors, list[dict[str, Any]]]:
    """An optimizer's `state_dict` as named tensors and JSON."""
    tensors = {
        f"{index}.{name}": value.detach().cpu() for index, entry in state["state"].items() for name, value in entry.items()
    }
    return tensors, state["param_groups"]


def unpack_optimizer(tensors: Tensors, groups: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The `state_dict` that `pack_optimizer` was given."""
    state: dict[int, Tensors] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": [{**group, "betas": tuple(group["betas"])} for group in groups]}


def random_state() -> tuple[Tensors, dict[str, Any]]:
    """The state of every random number generator in use, as tensors and JSON."""
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return tensors, {"python": random.getstate(), "numpy": [name, [int(k) for k in keys], position, has_gauss, gauss]}


def restore_random_state(tensors: Tensors, value: Mapping[str, Any]) -> None:
    """Set every generator to what `random_state` gave."""
    version, internal, gauss = value["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = value["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(tensors["cpu"])
    if "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"])


def _steps(parent: Path) -> list[Path]:
    found = [
        path
        for path in parent.glob(f"{_PREFIX}*")
        if path.is_dir() and path.name.removeprefix(_PREFIX).isdigit()  # not what a kill left half-written
    ]
    return sorted(found, key=lambda path: int(path.name.removeprefix(_PREFIX)))


def _save_tensors(tensors: Tensors, path: Path) -> None:
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
    except SafetensorError as error:
        full = full_disk(error, path)
        if full is not None:
            raise full from error
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
