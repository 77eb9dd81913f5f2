"""A step whose code changed needs a raised version, or somebody's word that its results stay the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from step_sources import GOLDEN, PACKAGE, ROOT, Sources, compare, snapshot


def test_every_changed_step_has_a_new_version() -> None:
    golden, now = json.loads(GOLDEN.read_text()), snapshot(Sources())
    stale = compare(golden, now)
    told = [f"{name}: {', '.join(changed)}" for name, changed in stale.items()]
    how = "raise the version of a step whose results change; others: python tests/step_sources.py --equivalent STEP …"
    assert not told, "steps reach changed code under an unchanged version.\n" + "\n".join([*told, how])
    assert golden == now, "run python tests/step_sources.py and commit tests/golden/steps.json"


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    """What the sources are."""
    return snapshot(Sources())


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("evals/english.py", 'endswith("ie")', 'endswith("oe")', {"steps.evaluate.score_outputs", "steps.filter.keep_best"}),
        ("steps/pair.py", "def make_pairs(", "def make_pairs(", set()),
        ("steps/pair.py", "@step(version=", "# a remark\n@step(version=", set()),
        ("steps/pair.py", "@step(version=", "@step(version=9", set()),
        ("templates.py", "Instruction: ", "Question: ", {"steps.evaluate.write_outputs", "steps.generate.draft_candidates"}),
        ("engines/decoding.py", "\n\n\n", "\n\nSPEED = 1\n\n\n", set()),
        ("store/journal.py", "\n\n\n", "\n\nSPEED = 1\n\n\n", set()),
    ],
)  # fmt: skip
def test_a_change_is_found_where_it_matters(
    tmp_path: Path, before: dict[str, Any], file: str, old: str, new: str, stale: set[str]
) -> None:
    shutil.copytree(ROOT / PACKAGE, tmp_path / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / PACKAGE / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    found = compare(before, snapshot(Sources(tmp_path)))
    assert stale <= set(found) if stale else not found


def test_a_step_reaches_the_engine_that_it_works_with() -> None:
    reached = Sources().uses("steps.evaluate.write_outputs")
    assert {"templates.cued", "engines.transformers.TransformersEngine"} <= set(reached)
    assert any(name.startswith("engines.decoding.") for name in reached)
    assert not any(name.startswith(("store.", "report.")) for name in reached)
