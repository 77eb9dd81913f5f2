"""The curriculum: the stages in order, by name. A stage is one small file here plus one YAML in conf/stage/."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING

from cai_bootstrap.errors import UserError
from cai_bootstrap.resources import resource

if TYPE_CHECKING:  # the command line reads the names below without loading any step
    from cai_bootstrap.stages.stage import Stage

_KEY = re.compile(r'^(name|parent): *"?([\w-]*)"?', re.MULTILINE)


def _in_order() -> tuple[str, ...]:
    """The stages from the one without a parent on, each after the one that its `parent` in conf/stage/ names.

    Raises UserError when two stages have one parent, or a parent is no stage: the curriculum is one chain.
    """
    after: dict[str, str] = {}
    for path in sorted(resource("conf/stage").glob("*.yaml")):
        told = dict(_KEY.findall(path.read_text(encoding="utf-8")))
        if told["parent"] in after:
            raise UserError(
                f"{path}: parent {told['parent']!r} is the parent of stage {after[told['parent']]} already: name another stage"
            )
        after[told["parent"]] = told["name"]
    order: list[str] = []
    while (name := after.pop(order[-1] if order else "", None)) is not None:
        order.append(name)
    for parent, name in after.items():
        raise UserError(f"conf/stage/{name}.yaml: parent {parent!r} is no stage: write one of {', '.join(order)}")
    return tuple(order)


CURRICULUM = _in_order()
"""The baseline first, which trains nothing."""


def load(name: str) -> Stage:
    """The stage of that name. Raises UserError where none of that name is trained."""
    if name not in CURRICULUM[1:]:
        raise UserError(f"stage={name} has no steps: write one of {', '.join(CURRICULUM[1:])}")
    module = importlib.import_module(f"cai_bootstrap.stages.{name}")
    stage: Stage = module.STAGE
    return stage
