"""What a stage is: named plain functions and committed inputs. Its numbers live in `conf/stage/<name>.yaml`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from cai_bootstrap.errors import UserError
from cai_bootstrap.resources import resource

StepFunction = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage's steps in the order of the pipeline, its held-out suite, and its committed seeds."""

    name: str
    suite: str
    seeds: str
    kinds: tuple[tuple[str, tuple[str, ...]], ...]
    """(kind, the words that its instructions open with): tells a worked example's kind."""
    make_instructions: StepFunction
    draft: StepFunction
    calibrate: StepFunction
    judge: StepFunction
    keep: StepFunction
    write_rejected: StepFunction
    make_pairs: StepFunction


def load_seeds(name: str) -> dict[str, Any]:
    """The committed seeds: `instructions` by kind, `shots` by set, `refusals`. Raises UserError for an unfit file."""
    path = resource(f"data/seeds/{name}.yaml")
    seeds = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(seeds, dict):
        raise UserError(f"{path} is not a mapping: write instructions, shots and refusals")
    for key in ("instructions", "shots", "refusals"):
        if not seeds.get(key):
            raise UserError(f"the seed pool {path} has no {key!r}: write some, see CONTRIBUTING.md")
    return seeds
