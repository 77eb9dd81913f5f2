"""The table at the end of a run, for a terminal, for a plain log, and as Markdown. No rate without its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import RenderableType

from cai_bootstrap.errors import UserError
from cai_bootstrap.evals.statistics import compare, compare_by_kind, p_text, percent, points, rate
from cai_bootstrap.records import EvalRecord, GateResult, PairedTest, Rate
from cai_bootstrap.report import sections
from cai_bootstrap.report.sections import Section
from cai_bootstrap.store.artifacts import SCRIPTED

_ARM_NAMES = {"raw": "base raw", "cued": "base cued", "fewshot": "base few-shot", "parent": "parent"}
_TEST_COLUMNS = ["paired test", "n", "difference [95 %]", "only 1st", "only 2nd", "McNemar p", "Cohen's g"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run came to."""

    suite: str
    """The held-out suite of the arms below."""
    arms: Mapping[str, Sequence[EvalRecord]]
    """The records of the base model's arms `raw`, `cued` and `fewshot`, and of `parent`, as far as they were measured."""
    trained: Sequence[EvalRecord] | None
    """None when the stage was skipped or has not trained; the baseline's test for a gap is then shown."""
    gate: GateResult | None
    artifacts: Mapping[str, str]
    """Names to places."""
    next_command: str
    minutes: Mapping[str, float]
    """Steps to minutes, as far back as they were made."""
    call_minutes: float
    """Of this call alone."""
    warnings: Sequence[str]
    ledger: tuple[list[str], list[list[str]]] = ([], [])
    """Columns and rows of the drift ledger."""
    judging: Mapping[str, Any] = field(default_factory=dict)
    """By what is wrong with an answer the rates of `evals.judging`, where the stage teaches to judge."""
    adherence: Mapping[str, Any] = field(default_factory=dict)
    """By principle what `steps.adherence` counts, where the stage revises by principles."""
    gap: str = ""
    """Whether there was something to train, in a sentence."""
    scripted: bool = False
    """Whether the scripted engine wrote the texts."""


def result_table(report: Report) -> RenderableType:
    """The report for a rich console. UserError for an unknown arm, or arms that hold different items."""
    return sections.to_rich(_sections(report))


def render_text(report: Report) -> str:
    """`result_table` as plain text, 110 columns wide. Paths and commands are never broken, even when longer."""
    return sections.to_text(_sections(report))


def as_markdown(report: Report) -> str:
    """`result_table` as GitHub Markdown."""
    return sections.to_markdown(_sections(report))


def _sections(report: Report) -> Iterator[Section]:
    unknown = sorted(report.arms.keys() - _ARM_NAMES.keys())
    if unknown:
        raise UserError(f"arm {unknown[0]!r} is unknown: write one of {', '.join(_ARM_NAMES)}")
    arms = {label: report.arms[arm] for arm, label in _ARM_NAMES.items() if arm in report.arms}
    if report.trained is not None:
        arms["trained"] = report.trained
    stamp = f" – {SCRIPTED}" if report.scripted else ""
    if stamp:
        told = "engine=scripted wrote every text, at set rates: the figures show that the parts work, and nothing of a model"
        yield Section(title=SCRIPTED.capitalize(), lines=[told])
    if arms:
        yield Section(
            title=f"Held-out suite {report.suite}, greedy (rates with 95 % Wilson intervals){stamp}",
            columns=["model", "content [95 %]", "strict [95 %]", "n"],
            rows=[
                [label, percent(rate(records, "content")), percent(rate(records, "strict")), str(len(records))]
                for label, records in arms.items()
            ],
        )
    yield from _paired(report.arms, report.trained, report.gap)
    if report.judging:
        yield _judging(report.judging)
    if report.adherence:
        yield _adherence(report.adherence)
    if report.gate is not None:
        yield _gate(report.gate, stamp)
    columns, rows = report.ledger
    if rows:
        yield Section(title=f"Drift, stage by stage (95 % intervals){stamp}", columns=columns, rows=rows)
    if report.artifacts:
        yield Section(title="Artifacts", lines=[f"{name}: {place}" for name, place in report.artifacts.items()])
    if report.minutes:
        spent = [[step, f"{value:.1f}"] for step, value in report.minutes.items()]
        total = ["together", f"{sum(report.minutes.values()):.1f}"]
        this_call = f"this call took {report.call_minutes:.1f} minutes"
        yield Section(title="Time", columns=["step", "minutes"], rows=[*spent, total], lines=[this_call])
    # A warning may stand with the gate and with the run: show it once.
    lines = list(dict.fromkeys([*(report.gate.warnings if report.gate is not None else []), *report.warnings]))
    if lines:
        yield Section(title="Warnings", lines=[f"! {line}" for line in lines])
    if report.next_command:
        yield Section(title="Next", lines=[report.next_command])


def _paired(base: Mapping[str, Sequence[EvalRecord]], trained: Sequence[EvalRecord] | None, gap: str) -> Iterator[Section]:
    title = "Paired tests on the same items (exact McNemar; difference in points, first minus second)"
    if trained is None:
        if "cued" in base and "fewshot" in base:
            test = compare("few-shot content vs cued strict", base["fewshot"], "content", base["cued"], "strict")
            yield Section(title=title, columns=_TEST_COLUMNS, rows=[_test_row(test)], lines=[gap] if gap else [])
        return
    others = {arm: name for arm, name in (("cued", "cued"), ("fewshot", "few-shot")) if arm in base}
    if others:
        tests = [
            compare(f"trained strict vs {name} content", trained, "strict", base[arm], "content")
            for arm, name in others.items()
        ]
        if "parent" in base:
            tests.append(compare("trained strict vs parent strict", trained, "strict", base["parent"], "strict"))
        yield Section(title=title, columns=_TEST_COLUMNS, rows=[_test_row(test) for test in tests])
    if "cued" in base:
        yield _by_kind(trained, base["cued"])


def _by_kind(trained: Sequence[EvalRecord], cued: Sequence[EvalRecord]) -> Section:
    rows = []
    for kind, (test, adjusted) in compare_by_kind(trained, "strict", cued, "content").items():
        one = rate([record for record in trained if record.kind == kind], "strict")
        two = rate([record for record in cued if record.kind == kind], "content")
        rows.append([kind, str(test.total), percent(one), percent(two), difference_text(test), p_cell(adjusted)])
    return Section(
        title="By kind: trained strict against base cued content (p adjusted by Benjamini–Hochberg)",
        columns=["kind", "n", "trained strict [95 %]", "cued content [95 %]", "difference [95 %]", "adjusted p"],
        rows=rows,
    )


def _judging(by_corruption: Mapping[str, Any]) -> Section:
    judges = list(next(iter(by_corruption.values())))
    return Section(
        title="By what is wrong with the answer: groups judged right, and by classifiers that were trained on the same pairs",
        columns=["", "n", *(f"{judge} [95 %]" for judge in judges)],
        rows=[
            [corruption, str(rates["trained"]["total"]), *(percent(Rate.from_row(rates[judge])) for judge in judges)]
            for corruption, rates in by_corruption.items()
        ],
    )


def _adherence(by_principle: Mapping[str, Any]) -> Section:
    used: dict[str, int] = {}
    for found in by_principle.values():
        used[found["category"]] = used.get(found["category"], 0) + found["used"]
    rows = []
    for principle, found in by_principle.items():
        told = "–"
        if found["judged"]:
            interval = {key: float(found[key]) for key in ("value", "low", "high")}
            told = percent(Rate(successes=found["adhered"], total=found["judged"], **interval))
        rows.append([principle, found["category"], str(found["used"]), str(found["judged"]), told])
    return Section(
        title="By principle: pairs that name it, and revisions that the critic prefers by it in both orders",
        columns=["principle", "category", "pairs", "judged", "preferred [95 %]"],
        rows=rows,
        lines=["pairs by category: " + ", ".join(f"{category} {number}" for category, number in used.items())],
    )


def _gate(gate: GateResult, stamp: str) -> Section:
    lines = [f"{'✓' if check['passed'] else '✗'} {check['name']}: {check['reason']}" for check in gate.checks]
    if gate.override is not None:
        lines.append(f"! override, recorded with the result: {gate.override}")
    return Section(title=f"Gate of stage {gate.stage}: {'passed' if gate.passed else 'NOT passed'}{stamp}", lines=lines)


def _test_row(test: PairedTest) -> list[str]:
    return [
        test.name,
        str(test.total),
        difference_text(test),
        str(test.only_first),
        str(test.only_second),
        p_cell(test.p_value),
        f"{test.effect_size:.2f}",
    ]


def difference_text(test: PairedTest) -> str:
    """`+20.0 [+5.6, +32.9]`, for a column that says points."""
    return points(test).removesuffix(" points")


def p_cell(p_value: float) -> str:
    """`0.031` or `2.1e-07`."""
    return p_text(p_value).removeprefix("= ")
