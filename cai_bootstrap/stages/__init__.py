"""The curriculum: the stages in order, by name. A stage is one small file here plus one YAML in conf/stage/."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from cai_bootstrap.errors import UserError

if TYPE_CHECKING:  # the command line reads the names below without loading any step
    from cai_bootstrap.stages.stage import Stage

CURRICULUM = ("baseline", "explicit", "implicit", "generation", "evaluation", "revision", "constitutional")


def load(name: str) -> Stage:
    """The stage of that name. Raises UserError where none of that name is trained."""
    if name not in CURRICULUM[1:]:
        raise UserError(f"stage={name} has no steps: write one of {', '.join(CURRICULUM[1:])}")
    module = importlib.import_module(f"cai_bootstrap.stages.{name}")
    stage: Stage = module.STAGE
    return stage
