"""A run's preference pairs, and all that was dropped on the way to them, as tables. Reads only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_bootstrap import stages
from cai_bootstrap.errors import MissingArtifact
from cai_bootstrap.steps.pair import PAIRS
from cai_bootstrap.store.artifacts import MODEL_NAMES, Artifact, Store
from cai_bootstrap.store.run import read_run
from cai_bootstrap.store.work import DROPPED

if TYPE_CHECKING:
    import pandas as pd

DROPPED_COLUMNS = ("step", "reason", "prompt_id", "kind", "instruction", "text")
_PILOT = "-pilot"
"""Ends the names of the steps that a pilot takes."""
_ASKED = re.compile(r"[0-9a-f]{8}-\d{5,}")
"""The id of an instruction that a model was asked."""


def load_pairs(root: Path | str, run: str = "default", stage: str = "explicit") -> pd.DataFrame:
    """The pairs that a stage of a run trains on, a row each, with the columns of `pairs.parquet` (`provenance` is JSON).

    After several rounds these are the last round's, which hold the earlier ones. Raises UserError for an unknown stage,
    MissingArtifact when the run has no pairs of it, CorruptArtifact when the file is not as its manifest says.
    """
    import pandas as pd

    steps = _steps(root, run, stage)
    names = [step for step in steps if _verb(step) == "pairs"]
    if not names:
        raise MissingArtifact(f"run={run} has no pairs of stage={stage} yet: {_way_out(run, stage)}")
    return pd.read_parquet(_artifact(root, run, stage, names[-1], steps[names[-1]]).file(PAIRS))


def load_dropped(root: Path | str, run: str = "default", stage: str = "explicit", *, pilot: bool = False) -> pd.DataFrame:
    """What the steps of a stage of a run dropped, a row each, in the order of the steps; with `pilot` what those of its pilot
    did instead, of which nothing becomes a pair.

    Columns: `step` (as the run calls it: `kept`, in a second round `kept-2`), `reason`, `prompt_id` (none for
    instructions, which get one when they are kept), `kind`, `instruction`, `text` (the answer that was dropped; none where
    a whole instruction was). Raises as `load_pairs` does, but takes a stage whose pairs are not made yet.
    """
    import pandas as pd

    rows = [
        {**{column: row.get(column) for column in DROPPED_COLUMNS}, "step": step}
        for step, digest in _steps(root, run, stage).items()
        if _verb(step) not in MODEL_NAMES and step.endswith(_PILOT) == pilot
        for row in _dropped(_artifact(root, run, stage, step, digest))
    ]
    return pd.DataFrame(rows, columns=list(DROPPED_COLUMNS))


def made_of(prompt_id: str) -> str | None:
    """The id of the instruction whose answer a task is made of, which most often is the task itself; of a task that a stage
    constructed it is how its id begins («0123abcd-00007-echo-rate-1»). None for a committed case: no model was asked.
    """
    found = _ASKED.match(prompt_id)
    return found.group() if found else None


def lost_instructions(pairs: pd.DataFrame, dropped: pd.DataFrame) -> pd.DataFrame:
    """Of `dropped` a row for each instruction that had candidates and of which no pair came: the last, which says what it was
    lost to. An answer that several tasks were made of is not lost while one of these is in `pairs`.
    """
    paired = {made_of(json.loads(text)["prompt_id"]) for text in pairs["provenance"]}
    last: dict[str, int] = {}
    for place, prompt_id in enumerate(dropped["prompt_id"]):
        asked = made_of(prompt_id) if isinstance(prompt_id, str) else None  # a line that was never asked has none
        if asked is not None and asked not in paired:
            last[asked] = place
    return dropped.iloc[sorted(last.values())]


def _dropped(artifact: Artifact) -> Iterable[dict[str, Any]]:
    return artifact.iter_rows(DROPPED) if DROPPED in artifact.manifest["files"] else ()


def _steps(root: Path | str, run: str, stage: str) -> dict[str, str]:
    """The digests of the stage's steps by name, in the order in which they were made."""
    name = stages.load(stage).name
    state = read_run(Path(root), run)
    if state is None:
        raise MissingArtifact(f"there is no run={run} under {Path(root).resolve()}: {_way_out(run, stage)}")
    return dict(state["stages"].get(name, {}).get("steps", {}))


def _artifact(root: Path | str, run: str, stage: str, step: str, digest: str) -> Artifact:
    artifact = Store(Path(root)).find(stage, step, digest)
    if artifact is None:
        raise MissingArtifact(f"{stage}/{step} of run={run} was removed: {_way_out(run, stage)}")
    return artifact


def _verb(step: str) -> str:
    return step.split("-")[0]


def _way_out(run: str, stage: str) -> str:
    return f"run `python -m cai_bootstrap stage={stage} run={run}` first"
