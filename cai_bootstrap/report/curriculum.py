"""The curriculum in one table: what each stage of a run began with, came to, and used for it."""

from __future__ import annotations

from cai_bootstrap import stages
from cai_bootstrap.evals.statistics import Outcome, percent, rate
from cai_bootstrap.lineage import outdated, round_suffix
from cai_bootstrap.report import sections
from cai_bootstrap.report.sections import Section
from cai_bootstrap.report.status import gate_word, outdated_word
from cai_bootstrap.steps.decide import eval_records
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.files import write_atomic
from cai_bootstrap.store.run import Run

CURRICULUM_FILE = "curriculum.txt"
_COLUMNS = ["stage", "base [95 %]", "parent [95 %]", "trained [95 %]", "gate", "pairs", "lines", "answers", "min."]
_LEGEND = (
    "base: zero-shot content of the base model; parent, trained: strict; all on the stage's own held-out suite",
    "lines: share of the listed lines that were kept as instructions; answers: share of these (stage 6: of all prompts) kept",
    "min.: minutes that the stage's steps took, what was measured for it in the baseline left out",
)


def curriculum_table(run: Run) -> Section:
    """A row for each trained stage of the run and one for the baseline; no rows before the first stage has come to its gate."""
    anew = outdated(run.root, run.name)
    rows = [row for name in stages.CURRICULUM[1:] if (row := _row(run, name, anew.get(name)))]
    if rows:
        rows = [["baseline", *["–"] * (len(_COLUMNS) - 2), _minutes(run, stages.CURRICULUM[0])], *rows]
    return Section(title=f"Curriculum of run {run.name}", columns=_COLUMNS, rows=rows, lines=list(_LEGEND) if rows else [])


def keep_curriculum(run: Run) -> None:
    """Write the table as `curriculum.txt` and `curriculum.md` into the run's folder. Nothing where it has no rows."""
    table = curriculum_table(run)
    if table.rows:
        write_atomic(run.folder / CURRICULUM_FILE, sections.to_text([table]).encode())
        write_atomic((run.folder / CURRICULUM_FILE).with_suffix(".md"), sections.to_markdown([table]).encode())


def _row(run: Run, name: str, anew: str | None) -> list[str]:
    entry = run.stage(name)
    if entry is None or (entry["gate"] is None and not entry["skipped"]):
        return []
    if entry["skipped"]:
        return [name, *["–"] * 3, gate_word(entry), *["–"] * (len(_COLUMNS) - 5)]
    suffix, suite = round_suffix(entry), stages.load(name).suite
    pairs = run.artifact(name, f"pairs{suffix}")
    return [
        name,
        _rate(run.artifact("baseline", f"{suite}-cued"), "content"),
        _rate(run.artifact(name, "parent") if "parent" in entry["steps"] else None, "strict"),
        _rate(run.artifact(name, f"eval{suffix}"), "strict"),
        f"{gate_word(entry)}, {outdated_word(anew)}" if anew else gate_word(entry),
        "–" if pairs is None else str(pairs.json("statistics.json")["num_pairs"]),
        _share_of_lines(run.artifact(name, f"instructions{suffix}")),
        # Stage 6 answers committed prompts, too.
        _share_answered(
            run.artifact(name, f"kept{suffix}"),
            run.artifact(name, f"prompts{suffix}") or run.artifact(name, f"instructions{suffix}"),
        ),
        _minutes(run, name),
    ]


def _rate(evaluated: Artifact | None, outcome: Outcome) -> str:
    return "–" if evaluated is None else percent(rate(eval_records(evaluated), outcome))


def _share_of_lines(instructions: Artifact | None) -> str:
    if instructions is None:
        return "–"
    kept, dropped = int(instructions.manifest["num_records"]), sum(1 for _ in instructions.iter_rows("dropped.jsonl"))
    return f"{kept} of {kept + dropped}"


def _share_answered(kept: Artifact | None, asked: Artifact | None) -> str:
    if kept is None or asked is None:
        return "–"
    return f"{kept.manifest['num_records']} of {asked.manifest['num_records']}"


def _minutes(run: Run, name: str) -> str:
    steps = (run.stage(name) or {"steps": {}})["steps"]
    found = [artifact for step in steps if (artifact := run.artifact(name, step)) is not None]
    return f"{sum(artifact.manifest['seconds'] for artifact in found) / 60:.1f}"
