"""The notebook on preference pairs: its cells run outside Jupyter, and what they print is what the run wrote."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from data_path import KNOWN, LEAK, PILOT, all_pairs, configured
from notebook_cells import cells, run_notebook
from scripted import ScriptedEngine

from cai_bootstrap import constitution
from cai_bootstrap.report.pairs import load_pairs
from cai_bootstrap.store.run import Run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run `r`: a pilot and two rounds, replies that a critic chose, and instructions lost to disagreement."""
    folder = tmp_path_factory.mktemp("notebook")
    words = ("stage.selection.methods.respond=critic", "stage.selection.min_scores.agreement=1.0", *PILOT)
    config = configured(40, 15, *words)
    all_pairs(folder, ScriptedEngine(KNOWN, spoil=[LEAK]), num_rounds=2, config=config)
    return folder


@pytest.fixture(scope="module")
def printed(root: Path) -> str:
    """What the code cells print."""
    return run_notebook(root, "r", "explicit")


@pytest.fixture(scope="module")
def statistics(root: Path) -> dict[str, Any]:
    with Run(root, "r") as run:
        pairs = run.artifact("explicit", "pairs-2")
    assert pairs is not None
    found: dict[str, Any] = pairs.json("statistics.json")
    return found


def section(printed: str, title: str) -> list[str]:
    """The rows under a title, without the line of columns."""
    found = re.search(rf"^{re.escape(title)}(?!: none)[^\n]*\n[^\n]*\n(.*?)(?:\n\n|\Z)", printed, re.MULTILINE | re.DOTALL)
    assert found, f"{title!r} is not in:\n{printed}"
    return found.group(1).splitlines()


def counts(printed: str, title: str) -> dict[str, int]:
    """The numbers beside the words of a table such as `counted` makes."""
    rows = [re.fullmatch(r"(.*?)\s+(\d+)\s+\d+\.\d\d\s+█*\s*", line) for line in section(printed, title)]
    return {row.group(1).strip(): int(row.group(2)) for row in rows if row}


def test_no_output_is_committed() -> None:
    assert [cell["outputs"] for cell in cells() if cell["cell_type"] == "code" and cell["outputs"]] == []
    assert all(cell["execution_count"] is None for cell in cells() if cell["cell_type"] == "code")
    assert "".join(cells()[0]["source"]).count("os.environ.get(") == 3  # the parameters come first


def test_pairs_and_kinds_are_those_of_the_statistics(printed: str, statistics: dict[str, Any]) -> None:
    head = f"{statistics['num_pairs']} pairs of run r, stage explicit; {statistics['num_unique_chosen']} different chosen texts"
    assert printed.splitlines()[0] == head
    assert counts(printed, "Pairs by kind of instruction") == statistics["kinds"]
    assert counts(printed, "Pairs by rejected kind") == statistics["rejected_kinds"]


def test_lengths_are_those_of_the_statistics(printed: str, statistics: dict[str, Any]) -> None:
    for name in ("chosen", "rejected"):
        assert f"\n{name}: {statistics[f'mean_{name}_characters']:.1f} characters in the mean" in printed
        assert sum(counts(printed, f"{name}: ").values()) == statistics["num_pairs"]
    assert f"chosen is the longer one in {100 * statistics['share_chosen_longer']:.1f} % of the pairs" in printed
    table = {line.split()[0]: line.split() for line in section(printed, "Chosen minus rejected, in characters")[:-1]}
    for kind, share in statistics["share_chosen_longer_by_rejected_kind"].items():
        assert int(table[kind][1]) == statistics["rejected_kinds"][kind]
        assert float(table[kind][-1]) == pytest.approx(100 * share, abs=0.006)


def test_drops_are_those_of_each_step_but_the_pilots(printed: str, root: Path) -> None:
    with Run(root, "r") as run:
        assert run.artifact("explicit", "instructions-pilot") is not None
        for name in ("instructions", "kept", "instructions-2", "kept-2"):
            artifact = run.artifact("explicit", name)
            assert artifact is not None
            reasons = Counter(row["reason"] for row in artifact.rows("dropped.jsonl"))
            assert f"\nDropped by {name}: {reasons.total()}\n" in printed
            assert counts(printed, f"Dropped by {name}: ") == reasons
        made = [run.artifact("explicit", name) for name in ("instructions", "instructions-2")]
    total = sum(artifact.manifest["num_records"] for artifact in made if artifact)
    num_pairs = len(load_pairs(root, "r"))
    assert num_pairs < total
    assert "-pilot" not in printed
    assert f"{total} instructions had candidates: {num_pairs} became pairs, {total - num_pairs} were lost" in printed
    assert f"{num_pairs} pairs come of these instructions, 0 of committed cases" in printed
    assert sum(counts(printed, "Instructions lost, by reason").values()) == total - num_pairs
    assert sum(counts(printed, "Instructions lost, by kind").values()) == total - num_pairs


def test_principles_are_counted_where_a_critic_chose(printed: str, root: Path) -> None:
    pairs = load_pairs(root, "r")
    named = pairs["principle"].dropna()
    assert 0 < len(named) == (pairs["selection"] == "critic").sum() < len(pairs)
    assert f"{len(named)} of {len(pairs)} pairs name a principle; {named.nunique()} of 16 principles are named" in printed
    rows = (line.split() for line in section(printed, "Pairs by principle"))
    assert {row[0]: int(row[1]) for row in rows if int(row[1])} == Counter(named)
    category = {principle.id: principle.category for principle in constitution.load().principles}
    rows = (line.split() for line in section(printed, "Pairs by category"))
    by_category = {row[0]: int(row[1]) for row in rows}
    assert by_category.keys() == set(category.values())
    assert +Counter(by_category) == Counter(category[name] for name in named)


def test_scores_repetition_and_pairs_to_read_are_shown(printed: str, root: Path) -> None:
    pairs = load_pairs(root, "r")
    for method, found in pairs.groupby("selection"):
        assert sum(counts(printed, f"Scores by {method}").values()) == len(found)
    assert f"\n0 of {len(pairs)} pairs have a margin of chosen over rejected" in printed  # nothing scored what they reject
    repeated = section(printed, "Texts that repeat an earlier one")
    for what in ("instructions, each other", "instructions, held-out items"):
        assert any(re.fullmatch(rf"{what}\s+0\s+0\s+0\s+{len(pairs)}\s+0\.00\s*", line) for line in repeated)
    for title in ("20 random pairs", "20 pairs with the lowest scores"):
        rows = section(printed, title)
        assert len(rows) == 20
        assert all(any(text[:50] in row for text in pairs["instruction"]) for row in rows)
