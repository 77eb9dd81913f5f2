"""Titled tables and lines, for a rich console, as plain text, and as Markdown: what every report is made of."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 110


@dataclass(frozen=True, kw_only=True)
class Section:
    """One titled part of a report: a table, lines, or both."""

    title: str
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def to_rich(sections: Iterable[Section]) -> RenderableType:
    """The sections for a rich console."""
    parts: list[RenderableType] = []
    for section in sections:
        parts.append(Text(section.title, style="bold"))
        if section.rows:
            parts.append(_rich_table(section))
        # Text, not markup: a warning may hold square brackets.
        parts.extend(Text(f"  {line}", overflow="fold") for line in section.lines)
        parts.append(Text(""))
    return Group(*parts[:-1])


def to_text(sections: Iterable[Section]) -> str:
    """The sections as plain text, 110 columns wide. Paths and commands are never broken, even when longer."""
    written = io.StringIO()
    console = Console(file=written, width=PLAIN_WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
    for section in sections:
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


def to_markdown(sections: Iterable[Section]) -> str:
    """The sections as GitHub Markdown."""
    blocks: list[str] = []
    for section in sections:
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


def _rich_table(section: Section) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    for index, column in enumerate(section.columns):
        table.add_column(Text(column), justify="right" if index else "left", overflow="fold")
    for row in section.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
