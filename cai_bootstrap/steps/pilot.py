"""A look at some dozens of items before the full generation: what would spoil it stops it."""

from __future__ import annotations

from typing import Any

from cai_bootstrap.errors import StepFailed
from cai_bootstrap.evals import english, statistics
from cai_bootstrap.evals.statistics import percent
from cai_bootstrap.records import Rate
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step


@step(version=2)
def judge_pilot(work: Work, *, instructions: Artifact, candidates: Artifact, kept: Artifact) -> None:
    """`pilot.json`: by quality its rate with the 95 % Wilson interval, the limit, and whether it is kept.

    `runaway`: texts that repeat themselves; `cut`: texts that reached the token limit; `duplicates`: lines that repeat an
    instruction; `kept`: of what was answered, what has an answer that is good enough. A limit is missed when the whole interval
    lies beyond it: some dozens of items tell no more. Raises StepFailed, which names every limit that was missed.
    """
    limits = work.settings
    rows = list(candidates.iter_rows())
    texts = [text for row in rows for text in row.get("revisions", [row])]
    num_asked, num_kept = len({row["prompt_id"] for row in rows}), int(kept.manifest["num_records"])
    num_written, dropped = int(instructions.manifest["num_records"]), list(instructions.iter_rows("dropped.jsonl"))
    repeated = sum(row["reason"].startswith("duplicate") for row in dropped)
    found = {
        "runaway": _at_most(sum(english.is_loop(text["text"]) for text in texts), len(texts), limits["max_runaway"]),
        "cut": _at_most(sum(text["finish"] == "length" for text in texts), len(texts), limits["max_cut"]),
        "duplicates": _at_most(repeated, num_written + len(dropped), limits["max_duplicates"]),
        "kept": _at_least(num_kept, num_asked, limits["min_kept"]),
    }
    missed = [
        f"{name} {percent(Rate.from_row(entry['rate']))} (limit {100 * entry['limit']:g} %)"
        for name, entry in found.items()
        if not entry["passed"]
    ]
    if missed:
        raise StepFailed(
            f"the pilot of {num_asked} instructions missed {', '.join(missed)}: look at its records, mend the seeds or "
            "the sampling, or change the limit in stage.pilot"
        )
    work.write_json("pilot.json", found)


def _at_most(successes: int, total: int, limit: float) -> dict[str, Any]:
    rate = statistics.wilson(successes, total)
    return {"rate": rate.to_row(), "limit": limit, "passed": rate.low <= limit}


def _at_least(successes: int, total: int, limit: float) -> dict[str, Any]:
    rate = statistics.wilson(successes, total)
    return {"rate": rate.to_row(), "limit": limit, "passed": rate.high >= limit}
