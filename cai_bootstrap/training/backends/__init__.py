"""What gives the model that is trained, by `train.backend`: one small file each. Importing this imports no library."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cai_bootstrap.errors import UserError

Load = Callable[..., Any]
"""Makes the model of a folder, with the options of transformers' `from_pretrained`: weights need not come from its files."""


@dataclass(frozen=True)
class Prepared:
    """A model to train."""

    model: Any
    """On its device, its own weights frozen."""
    peft_config: Any
    """The adapter that the trainer is to put on it; None where it has one."""
    own_head: bool
    """Whether this package's output layer fits it (see `training.head`); else the trainer's own is used."""


class Backend(Protocol):
    """`config` is a TrainConfig as dict. Without `own_head` the model is prepared for the trainer's own output layer."""

    def __call__(
        self,
        folder: Path,
        config: dict[str, Any],
        *,
        device: str,
        dtype: str,
        seed: int,
        own_head: bool,
        load: Load | None,
    ) -> Prepared: ...


def _peft(
    folder: Path, config: dict[str, Any], *, device: str, dtype: str, seed: int, own_head: bool, load: Load | None
) -> Prepared:
    from cai_bootstrap.training.backends import peft_lora

    return peft_lora.prepare(folder, config, device, dtype, own_head, load)


def _unsloth(
    folder: Path, config: dict[str, Any], *, device: str, dtype: str, seed: int, own_head: bool, load: Load | None
) -> Prepared:
    from cai_bootstrap.training.backends import unsloth_lora

    if load is not None:
        raise UserError("train.backend=unsloth loads its models by itself: write train.backend=peft")

    return unsloth_lora.prepare(folder, config, dtype, seed)


BACKENDS: dict[str, Backend] = {"peft": _peft, "unsloth": _unsloth}


def import_first(name: str) -> None:
    """Import what changes transformers and TRL, and has to come before them. For the process that will train."""
    if name == "unsloth":
        importlib.import_module("unsloth")
