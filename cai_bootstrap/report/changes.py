"""What a call changes of a stage that a run holds already, and what that costs, in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cai_bootstrap.report.plan import PlannedStep
from cai_bootstrap.store.artifacts import Store
from cai_bootstrap.store.run import read_config, read_run

_NOWHERE = ("paths", "run", "machine", "model.shape", "merge.device")
"""Keys that say where, not what, with those below them."""
_MAX_SHOWN = 4
_MISSING = object()


def describe_changes(root: Path, run: str, stage: str, config: Mapping[str, Any], planned: Sequence[PlannedStep]) -> str:
    """«train.learning_rate 5e-05 → 0.0001: adapter, model, eval, gate will be computed again», or nothing.

    `planned` are the stage's steps as this call would have them. What is named is the configuration's keys that differ from the
    last call's; where none does, what the first changed step was made from (its code's version, an input, a value). Empty
    where the run holds nothing of the stage, or everything as it is.
    """
    held: dict[str, str] = (((read_run(root, run) or {}).get("stages") or {}).get(stage) or {}).get("steps") or {}
    changed = [each for each in planned if each.stage == stage and held.get(each.name, each.digest) != each.digest]
    if not changed:
        return ""
    again = [each.name for each in changed if not each.cached]
    causes = list(_keys(_last_config(root, run, stage), config)) or list(_facts(root, stage, held, changed[0]))
    told = _shortened(causes) or f"{changed[0].name} is made from something else"
    if not again:
        return f"{told}: {', '.join(each.name for each in changed)} were made before, and are found"
    return f"{told}: {', '.join(again)} will be computed again"


def _last_config(root: Path, run: str, stage: str) -> dict[str, Any]:
    return read_config(root, run, stage) or {}


def _keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """`key old → new` for each leaf of two configurations that differs."""
    if not before:
        return
    one, two = dict(_leaves(before)), dict(_leaves(json.loads(json.dumps(after))))
    for key in dict.fromkeys([*one, *two]):
        old, new = one.get(key, _MISSING), two.get(key, _MISSING)
        if old != new and not f"{key}.".startswith(tuple(f"{name}." for name in _NOWHERE)):
            yield f"{key} {_text(old)} → {_text(new)}"


def _facts(root: Path, stage: str, held: Mapping[str, str], step: PlannedStep) -> Iterator[str]:
    """The same of what a step was made from, which no configuration tells: code, inputs, committed data."""
    artifact = Store(root).find(stage, step.name, held[step.name])
    if artifact is None:
        return
    before, after = artifact.manifest, json.loads(json.dumps(step.facts))
    if (old := before["version"]) != (new := after["version"]):
        yield f"the code of {step.name} (version {old} → {new})"
    for part, what in (("inputs", "input"), ("values", "data")):
        for key in dict.fromkeys([*before[part], *after[part]]):
            if before[part].get(key, _MISSING) != after[part].get(key, _MISSING):
                yield f"the {what} {key!r} of {step.name}"


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def _text(value: Any) -> str:
    return "nothing" if value is _MISSING else json.dumps(value, ensure_ascii=False)


def _shortened(causes: Sequence[str]) -> str:
    more = f" and {len(causes) - _MAX_SHOWN} more" if len(causes) > _MAX_SHOWN else ""
    return ", ".join(causes[:_MAX_SHOWN]) + more
