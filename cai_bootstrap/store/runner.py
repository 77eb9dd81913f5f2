"""What the pipeline needs of a run: steps that are found by their digest or made."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cai_bootstrap.store.artifacts import Artifact


class Runner(Protocol):
    """`Run` computes, `report.plan.Planner` only looks."""

    def step(
        self,
        stage: str,
        name: str,
        function: Callable[..., None],
        *,
        settings: Mapping[str, Any],
        inputs: Mapping[str, Artifact] | None = None,
        values: Mapping[str, Any] | None = None,
        seed: int,
    ) -> Artifact:
        """The artifact of a step."""
        ...

    def warnings(self, stage: str) -> list[str]:
        """What the steps of a stage warn of, as far as they were walked."""
        ...


def bind(function: Callable[..., None], **resources: Any) -> Callable[..., None]:
    """A step with what it works with (a session); resources are no part of its digest."""
    bound: Any = functools.partial(function, **resources)
    for mark in ("step_name", "step_version", "step_grows"):
        setattr(bound, mark, getattr(function, mark))
    return bound  # type: ignore[no-any-return]
