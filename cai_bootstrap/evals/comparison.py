"""Several trained models against the first of them, on the same held-out items: the rows of a sweep's summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cai_bootstrap.evals.statistics import benjamini_hochberg, compare, rate
from cai_bootstrap.records import EvalRecord, PairedTest, Rate


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A trained model's strict rate, and how it differs from the model that it is compared with."""

    rate: Rate
    reference: str | None
    """The job that it is compared with; None for that job itself."""
    test: PairedTest | None
    """First: this model. On the items that both answered; None for the reference, and where there are none."""
    adjusted: float | None
    """The test's p-value, adjusted over all tests of all suites (Benjamini–Hochberg)."""


def compare_with_first(
    suites: Mapping[str, Mapping[str, Sequence[EvalRecord]]],
) -> dict[str, dict[str, Comparison]]:
    """For each suite and each job, in their order, its comparison with the suite's first job; all by strict.

    Jobs that drew different items (`eval.num_items`) are compared on those that both have, which `test.total` counts.
    UserError for a job without records, or with an item twice.
    """
    tests: dict[tuple[str, str], PairedTest] = {}
    for suite, jobs in suites.items():
        for job in list(jobs)[1:]:
            one, two = _common(jobs[job], jobs[next(iter(jobs))])
            if one:
                tests[suite, job] = compare(f"{suite}: {job}", one, "strict", two, "strict")
    keys = list(tests)
    # By place, since names are only text: what is adjusted has to come back to its own test.
    raised = benjamini_hochberg({str(place): tests[key].p_value for place, key in enumerate(keys)})
    adjusted = {key: raised[str(place)] for place, key in enumerate(keys)}
    return {
        suite: {
            job: Comparison(
                rate=rate(records, "strict"),
                reference=next(iter(jobs)) if place else None,
                test=tests.get((suite, job)),
                adjusted=adjusted.get((suite, job)),
            )
            for place, (job, records) in enumerate(jobs.items())
        }
        for suite, jobs in suites.items()
    }


def _common(one: Sequence[EvalRecord], two: Sequence[EvalRecord]) -> tuple[list[EvalRecord], list[EvalRecord]]:
    both = {record.item_id for record in one} & {record.item_id for record in two}
    return [record for record in one if record.item_id in both], [record for record in two if record.item_id in both]
