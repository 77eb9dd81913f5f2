"""The end of a sweep: its jobs on the same held-out items, and what each had to compute. Printed, and kept as files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from cai_bootstrap.config import Config
from cai_bootstrap.errors import CorruptArtifact, MissingArtifact
from cai_bootstrap.evals.comparison import Comparison, compare_with_first
from cai_bootstrap.evals.statistics import percent
from cai_bootstrap.lineage import gate_of, round_suffix
from cai_bootstrap.records import EvalRecord, GateResult
from cai_bootstrap.report import sections
from cai_bootstrap.report.sections import Section
from cai_bootstrap.report.status import GATE_FILE
from cai_bootstrap.report.tables import difference_text, p_cell
from cai_bootstrap.stages import CURRICULUM
from cai_bootstrap.steps.decide import eval_records
from cai_bootstrap.store.artifacts import Artifact, Store
from cai_bootstrap.store.files import write_atomic
from cai_bootstrap.store.provenance import digest
from cai_bootstrap.store.run import read_run

_RESULT_COLUMNS = ["job", "gate", "strict [95 %]", "n", "difference [95 %]", "McNemar p", "adjusted p"]
_WORK_COLUMNS = ["job", "run", "steps", "computed", "of earlier jobs", "from before", "min. computed", "min. found"]


@dataclass(kw_only=True)
class Job:
    """One run of a sweep: stages one after the other, with the same overrides."""

    number: int
    """Its place in the sweep, from 1."""
    overrides: list[str]
    """Those that not all jobs have, as they were written."""
    chain: list[Config]
    made: list[Artifact] = field(default_factory=list)
    """What this call computed for it."""
    stopped_at: str | None = None
    """The stage behind which nothing was run."""
    error: str | None = None
    """What that stage failed with; None when its gate was not passed."""

    @property
    def name(self) -> str:
        """What it is called in the summary."""
        return f"job {self.number}"

    @property
    def run(self) -> str:
        """The run's name."""
        return self.chain[0].run

    @property
    def root(self) -> Path:
        """Where its run and artifacts are."""
        return Path(self.chain[0].paths.root)

    @property
    def stages(self) -> list[str]:
        """Its stages in the order in which they run."""
        return [config.stage.name for config in self.chain]

    @property
    def not_run(self) -> list[str]:
        """The stages that were not run because an earlier one stopped the job."""
        return [] if self.stopped_at is None else self.stages[self.stages.index(self.stopped_at) + 1 :]

    @property
    def why_not_run(self) -> str:
        """Why those were not run."""
        return f"the gate of {self.stopped_at} was not passed" if self.error is None else f"{self.stopped_at} failed"


@dataclass(frozen=True, kw_only=True)
class _Result:
    """What one stage of one job came to."""

    gate: str
    reasons: Sequence[str] = ()
    """Why it was not passed, or has no figures."""
    records: Sequence[EvalRecord] = ()
    """The units that the gate counted."""


def print_summary(jobs: Sequence[Job]) -> None:
    """Print what the jobs came to, and keep it as `summary.txt`, `.md` and `.json` in `data/sweeps/<digest>/`.

    The digest is that of the runs' names and the stages, so the same sweep called again replaces its files.
    """
    stages = jobs[0].stages
    results = {stage: {job.name: _result(job, stage) for job in jobs} for stage in stages}
    measured = {
        stage: {name: found.records for name, found in by_job.items() if found.records} for stage, by_job in results.items()
    }
    compared = compare_with_first({stage: by_job for stage, by_job in measured.items() if by_job})
    work = _work(jobs)
    shown = [*_results(jobs, results, compared), _work_section(work)]
    folder = jobs[0].root / "data" / "sweeps" / digest({"runs": [job.run for job in jobs], "stages": stages})[:8]
    told = {"stages": stages, "results": list(_rows(jobs, results, compared)), "work": work}
    for name, text in (
        ("summary.txt", sections.to_text(shown)),
        ("summary.md", sections.to_markdown(shown)),
        ("summary.json", json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n"),
    ):
        write_atomic(folder / name, text.encode())
    if sys.stdout.isatty():
        Console().print(sections.to_rich(shown))
    else:
        print(sections.to_text(shown), end="")
    print(f"summary: {folder / 'summary.md'}", flush=True)


def _result(job: Job, stage: str) -> _Result:
    if stage in job.not_run:
        return _Result(gate="not run", reasons=[job.why_not_run])
    if stage == job.stopped_at and job.error is not None:
        return _Result(gate="error", reasons=[job.error])
    try:
        entry = ((read_run(job.root, job.run) or {}).get("stages") or {}).get(stage)
        if entry is None:
            return _Result(gate="error", reasons=[f"run={job.run} holds nothing of {stage}"])
        return _of_entry(job, stage, entry)
    except (CorruptArtifact, MissingArtifact) as error:
        return _Result(gate="error", reasons=[str(error)])


def _of_entry(job: Job, stage: str, entry: dict[str, Any]) -> _Result:
    """What a run recorded of a stage. Raises MissingArtifact for a gate or an evaluation that was removed."""
    if entry["skipped"]:
        return _Result(gate="skipped", reasons=["the baseline shows no gap that the stage could close"])
    if stage == CURRICULUM[0]:
        return _Result(gate="measured", reasons=["it trains nothing"])
    held = entry["gate"]
    if held is None:
        return _Result(gate="error", reasons=[f"run={job.run} holds no gate of {stage}"])
    gate = gate_of(job.root, stage, entry)
    name = f"eval{round_suffix(entry)}"
    trained = None if gate is None else Store(job.root).find(stage, name, gate.manifest["inputs"]["trained"])
    if gate is None or trained is None:
        gone = "gate" if gate is None else name
        raise MissingArtifact(f"{stage}/{gone} of run={job.run} is gone: run the same command again")
    checks = GateResult.from_row(gate.json(GATE_FILE)).checks
    missed = [check["reason"] for check in checks if not check["passed"]]
    records = eval_records(trained)
    if held["passed"]:
        return _Result(gate="passed", records=records)
    if held["override"]:
        return _Result(gate="overridden", reasons=[f"overridden: {held['override']}", *missed], records=records)
    return _Result(gate="FAILED", reasons=missed, records=records)


def _work(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """By job: how many of its steps this call computed, and how many it found, made by an earlier job or before."""
    rows: list[dict[str, Any]] = []
    by_root: dict[Path, set[tuple[str, str, str]]] = {}
    for job in jobs:
        steps, earlier = _steps(job), by_root.setdefault(job.root, set())
        made = {(one.stage, one.name, one.digest): one.manifest["seconds"] for one in job.made}
        found = {key: seconds for key, seconds in steps.items() if key not in made}
        rows.append(
            {
                "job": job.name,
                "run": job.run,
                "steps": len(made.keys() | steps.keys()),
                "computed": len(made),
                "of_earlier_jobs": len(found.keys() & earlier),
                "from_before": len(found.keys() - earlier),
                "minutes_computed": sum(made.values()) / 60,
                "minutes_found": sum(found.values()) / 60,
            }
        )
        earlier |= steps.keys() | made.keys()
    return rows


def _steps(job: Job) -> dict[tuple[str, str, str], float]:
    """The steps that the job's run points to, by stage, name and digest, with the seconds that they took."""
    found = {}
    try:
        held = (read_run(job.root, job.run) or {"stages": {}})["stages"]
        for stage in dict.fromkeys((CURRICULUM[0], *job.stages)):
            for name, address in held.get(stage, {"steps": {}})["steps"].items():
                artifact = Store(job.root).find(stage, name, address)
                if artifact is not None:
                    found[stage, name, address] = float(artifact.manifest["seconds"])
    except CorruptArtifact:
        return found  # the same error stands with the job's result
    return found


def _results(
    jobs: Sequence[Job], results: dict[str, dict[str, _Result]], compared: dict[str, dict[str, Comparison]]
) -> Iterator[Section]:
    for stage, by_job in results.items():
        if stage == CURRICULUM[0] and len(results) > 1 and all(found.gate == "measured" for found in by_job.values()):
            continue  # the other stages show it
        rows, lines = [], []
        for job, found in zip(jobs, by_job.values(), strict=True):
            comparison = compared.get(stage, {}).get(job.name)
            rows.append([f"{job.number}: {' '.join(job.overrides)}", found.gate, *_cells(comparison)])
            lines += [f"{job.name}: {reason}" for reason in found.reasons]
            if comparison is not None and comparison.reference is not None:
                num = 0 if comparison.test is None else comparison.test.total
                if num < len(found.records):
                    lines.append(
                        f"{job.name}: {num} of its {len(found.records)} items are also those of {comparison.reference}"
                    )
        reference = next(iter(compared.get(stage, {})), None)
        against = "" if reference is None else f"; difference in points from {reference}, on the same items"
        if reference is not None and any(config.eval.split == "test" for job in jobs for config in job.chain):
            lines.append("These are items of the test half: to choose among jobs, sweep with eval.split=dev.")
        yield Section(title=f"Sweep, stage {stage}: trained strict{against}", columns=_RESULT_COLUMNS, rows=rows, lines=lines)


def _cells(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return ["–"] * 5
    share = [percent(comparison.rate), str(comparison.rate.total)]
    if comparison.reference is None:
        return [*share, "reference", "–", "–"]
    if comparison.test is None or comparison.adjusted is None:
        return [*share, "no item in common", "–", "–"]
    return [*share, difference_text(comparison.test), p_cell(comparison.test.p_value), p_cell(comparison.adjusted)]


def _rows(
    jobs: Sequence[Job], results: dict[str, dict[str, _Result]], compared: dict[str, dict[str, Comparison]]
) -> Iterator[dict[str, Any]]:
    """The results as JSON holds them."""
    for stage, by_job in results.items():
        for job, found in zip(jobs, by_job.values(), strict=True):
            row = {"stage": stage, "job": job.name, "overrides": job.overrides, "run": job.run}
            row |= {"gate": found.gate, "reasons": list(found.reasons)}
            comparison = compared.get(stage, {}).get(job.name)
            blank = dict.fromkeys(("rate", "reference", "test", "adjusted"))
            yield row | (blank if comparison is None else asdict(comparison))


def _work_section(work: Sequence[dict[str, Any]]) -> Section:
    counts = ("steps", "computed", "of_earlier_jobs", "from_before")
    minutes = ("minutes_computed", "minutes_found")
    return Section(
        title="Steps and time: computed in this call; found, made by an earlier job of the sweep or before it",
        columns=_WORK_COLUMNS,
        rows=[
            [row["job"], row["run"], *(str(row[name]) for name in counts), *(f"{row[name]:.1f}" for name in minutes)]
            for row in work
        ],
    )
