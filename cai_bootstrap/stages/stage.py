"""What a stage is: named plain functions and committed inputs. Its numbers live in `conf/stage/<name>.yaml`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cai_bootstrap.errors import UserError, first_line
from cai_bootstrap.resources import read_yaml, resource
from cai_bootstrap.steps.decide import decide_gate
from cai_bootstrap.store.artifacts import Artifact

StepFunction = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage's steps in the order of the pipeline, its held-out suite, and its committed seeds."""

    name: str
    suite: str
    seeds: tuple[str, ...]
    """Names of seed pools: the first gives worked examples and refusals, all of them kinds of instructions."""
    kinds: tuple[tuple[str, str], ...]
    """(kind, a pattern that its instructions begin with): the first that matches tells a worked example's kind."""
    path: Callable[..., Artifact]
    """How its pairs come about, a function of `stages.paths`."""
    roles: tuple[str, ...] = ("writer",)
    """What on its path another stage's model may do (`stage.roles`)."""
    keep: StepFunction
    """Chooses at most one answer an instruction."""
    construct: StepFunction | None = None
    """Makes the stage's own tasks, with known answers, out of the kept answers; None where these are the tasks."""
    constructed_from: tuple[str, ...] = ("refusals",)
    """What `construct` is given beside the kept answers, by the names in `stages.paths`."""
    decide: StepFunction = decide_gate
    """Its gate."""
    decided_from_pairs: bool = False
    """Whether `decide` is given the pairs beside the outcomes."""


def seeds_of(stage: Stage, given: str | None = None) -> dict[str, Any]:
    """A stage's seeds as one: a user's file takes the place of its first pool. Raises as `load_seeds` does."""
    first = load_seeds(stage.seeds[0], given)
    pools = [*(load_seeds(name) for name in stage.seeds[1:]), first]
    by_kind = {part: {k: v for pool in pools for k, v in pool.get(part, {}).items()} for part in ("instructions", "examples")}
    return {**first, **by_kind}


def load_seeds(name: str, given: str | None = None) -> dict[str, Any]:
    """Seeds: `instructions` by kind and form, `shots` by set, `refusals`; the committed ones of that name, or the user's file.

    `examples`, worked examples by kind (one list, or lists by style), may be missing: then `shots` serve all kinds.
    Raises UserError for a file that is missing, no YAML, or without one of these parts.
    """
    path = resource(f"data/seeds/{name}.yaml") if given is None else Path(given)
    try:
        seeds = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = first_line(error)
        raise UserError(
            f"stage.seeds={str(path)!r} cannot be read ({reason}): give a YAML file as data/seeds/{name}.yaml is"
        ) from error
    if not isinstance(seeds, dict):
        raise UserError(f"{path} is not a mapping: write instructions, shots and refusals")
    for key, kind, example in (
        ("instructions", dict, "answer: {form: [...]}"),
        ("shots", dict, "a: [[question, answer], ...]"),
        ("examples", dict, "answer: [[question, answer], ...]"),
    ):
        if not isinstance(seeds.get(key, {}), kind):
            raise UserError(f"{key} of the seed pool {path} is no mapping: write {key}: {{{example}}}")
    for key in ("instructions", "shots", "refusals"):
        if not seeds.get(key) or (key == "instructions" and not any(seeds[key].values())):
            raise UserError(f"the seed pool {path} has no {key!r}: write some, see CONTRIBUTING.md")
    for kind, forms in seeds.get("instructions", {}).items():
        if not isinstance(forms, dict) or not all(isinstance(texts, list) for texts in forms.values()):
            raise UserError(f"instructions.{kind} of the seed pool {path} is no mapping: write {kind}: {{form: [...]}}")
    return seeds


def texts_in(seeds: Any) -> Iterator[str]:
    """Every text in a part of the seeds, however deep it stands."""
    if isinstance(seeds, str):
        yield seeds
    elif isinstance(seeds, dict | list):
        for part in seeds.values() if isinstance(seeds, dict) else seeds:
            yield from texts_in(part)
