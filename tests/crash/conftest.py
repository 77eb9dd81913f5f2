"""What the proofs counted, told at the end of a test run, whichever process counted it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_COUNTED = "counted"


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Call it with the line of counts that the test ends with."""
    return lambda line: record_property(_COUNTED, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the lines."""
    lines = [
        f"{report.nodeid.partition('::')[2]}: {value}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, value in report.user_properties
        if name == _COUNTED
    ]
    if lines:
        terminalreporter.section("what the proofs counted")
        terminalreporter.write_line("\n".join(lines))
