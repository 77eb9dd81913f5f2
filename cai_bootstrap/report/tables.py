"""The table at the end of a run, for a terminal, for a plain log, and as Markdown. No rate without its interval."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cai_bootstrap.errors import UserError
from cai_bootstrap.evals.statistics import compare, compare_by_kind, p_text, percent, points, rate
from cai_bootstrap.records import EvalRecord, GateResult, PairedTest
from cai_bootstrap.steps.gate import has_gap
from cai_bootstrap.store.artifacts import SCRIPTED

PLAIN_WIDTH = 110
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
    scripted: bool = False
    """Whether the scripted engine wrote the texts."""


@dataclass(frozen=True, kw_only=True)
class _Section:
    """One titled part of the report: a table, lines, or both."""

    title: str
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def result_table(report: Report) -> RenderableType:
    """The report for a rich console. UserError for an unknown arm, or arms that hold different items."""
    parts: list[RenderableType] = []
    for section in _sections(report):
        parts.append(Text(section.title, style="bold"))
        if section.rows:
            parts.append(_rich_table(section))
        # Text, not markup: a warning may hold square brackets.
        parts.extend(Text(f"  {line}", overflow="fold") for line in section.lines)
        parts.append(Text(""))
    return Group(*parts[:-1])


def render_text(report: Report) -> str:
    """`result_table` as plain text, 110 columns wide. Paths and commands are never broken, even when longer."""
    written = io.StringIO()
    console = Console(file=written, width=PLAIN_WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
    for section in _sections(report):
        written.write(f"{section.title}\n")
        if section.rows:
            console.print(_rich_table(section))
        for line in section.lines:
            wrapped = textwrap.wrap(
                line,
                PLAIN_WIDTH,
                initial_indent="  ",
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            written.write("\n".join(wrapped) + "\n")
        written.write("\n")
    return "\n".join(line.rstrip() for line in written.getvalue().rstrip().splitlines()) + "\n"


def as_markdown(report: Report) -> str:
    """`result_table` as GitHub Markdown."""
    blocks: list[str] = []
    for section in _sections(report):
        blocks.append(f"### {section.title}")
        if section.rows:
            align = ["---", *["---:"] * (len(section.columns) - 1)]
            rows = [section.columns, align, *section.rows]
            blocks.append("\n".join(_markdown_row(row) for row in rows))
        if section.lines:
            blocks.append("\n".join(f"- {line}" for line in section.lines))
    return "\n\n".join(blocks) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def _rich_table(section: _Section) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    for index, column in enumerate(section.columns):
        table.add_column(Text(column), justify="right" if index else "left", overflow="fold")
    for row in section.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _sections(report: Report) -> Iterator[_Section]:
    unknown = sorted(report.arms.keys() - _ARM_NAMES.keys())
    if unknown:
        raise UserError(f"arm {unknown[0]!r} is unknown: write one of {', '.join(_ARM_NAMES)}")
    arms = {label: report.arms[arm] for arm, label in _ARM_NAMES.items() if arm in report.arms}
    if report.trained is not None:
        arms["trained"] = report.trained
    stamp = f" – {SCRIPTED}" if report.scripted else ""
    if stamp:
        told = "engine=scripted wrote every text, at set rates: the figures show that the parts work, and nothing of a model"
        yield _Section(title=SCRIPTED.capitalize(), lines=[told])
    if arms:
        yield _Section(
            title=f"Held-out suite {report.suite}, greedy (rates with 95 % Wilson intervals){stamp}",
            columns=["model", "content [95 %]", "strict [95 %]", "n"],
            rows=[
                [label, percent(rate(records, "content")), percent(rate(records, "strict")), str(len(records))]
                for label, records in arms.items()
            ],
        )
    yield from _paired(report.arms, report.trained)
    if report.gate is not None:
        yield _gate(report.gate, stamp)
    columns, rows = report.ledger
    if rows:
        yield _Section(title=f"Drift, stage by stage (95 % intervals){stamp}", columns=columns, rows=rows)
    if report.artifacts:
        yield _Section(title="Artifacts", lines=[f"{name}: {place}" for name, place in report.artifacts.items()])
    if report.minutes:
        spent = [[step, f"{value:.1f}"] for step, value in report.minutes.items()]
        total = ["together", f"{sum(report.minutes.values()):.1f}"]
        this_call = f"this call took {report.call_minutes:.1f} minutes"
        yield _Section(title="Time", columns=["step", "minutes"], rows=[*spent, total], lines=[this_call])
    # A warning may stand with the gate and with the run: show it once.
    lines = list(dict.fromkeys([*(report.gate.warnings if report.gate is not None else []), *report.warnings]))
    if lines:
        yield _Section(title="Warnings", lines=[f"! {line}" for line in lines])
    if report.next_command:
        yield _Section(title="Next", lines=[report.next_command])


def _paired(base: Mapping[str, Sequence[EvalRecord]], trained: Sequence[EvalRecord] | None) -> Iterator[_Section]:
    title = "Paired tests on the same items (exact McNemar; difference in points, first minus second)"
    if trained is None:
        if "cued" in base and "fewshot" in base:
            _, test, reason = has_gap(base["cued"], base["fewshot"])
            yield _Section(title=title, columns=_TEST_COLUMNS, rows=[_test_row(test)], lines=[reason])
        return
    others = {arm: name for arm, name in (("cued", "cued"), ("fewshot", "few-shot")) if arm in base}
    if others:
        tests = [
            compare(f"trained strict vs {name} content", trained, "strict", base[arm], "content")
            for arm, name in others.items()
        ]
        if "parent" in base:
            tests.append(compare("trained strict vs parent strict", trained, "strict", base["parent"], "strict"))
        yield _Section(title=title, columns=_TEST_COLUMNS, rows=[_test_row(test) for test in tests])
    if "cued" in base:
        yield _by_kind(trained, base["cued"])


def _by_kind(trained: Sequence[EvalRecord], cued: Sequence[EvalRecord]) -> _Section:
    rows = []
    for kind, (test, adjusted) in compare_by_kind(trained, "strict", cued, "content").items():
        one = rate([record for record in trained if record.kind == kind], "strict")
        two = rate([record for record in cued if record.kind == kind], "content")
        rows.append([kind, str(test.total), percent(one), percent(two), _difference(test), _p(adjusted)])
    return _Section(
        title="By kind: trained strict against base cued content (p adjusted by Benjamini–Hochberg)",
        columns=["kind", "n", "trained strict [95 %]", "cued content [95 %]", "difference [95 %]", "adjusted p"],
        rows=rows,
    )


def _gate(gate: GateResult, stamp: str) -> _Section:
    lines = [f"{'✓' if check['passed'] else '✗'} {check['name']}: {check['reason']}" for check in gate.checks]
    if gate.override is not None:
        lines.append(f"! override, recorded with the result: {gate.override}")
    return _Section(title=f"Gate of stage {gate.stage}: {'passed' if gate.passed else 'NOT passed'}{stamp}", lines=lines)


def _test_row(test: PairedTest) -> list[str]:
    return [
        test.name,
        str(test.total),
        _difference(test),
        str(test.only_first),
        str(test.only_second),
        _p(test.p_value),
        f"{test.effect_size:.2f}",
    ]


def _difference(test: PairedTest) -> str:
    return points(test).removesuffix(" points")


def _p(p_value: float) -> str:
    return p_text(p_value).removeprefix("= ")
