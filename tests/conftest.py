"""Fixtures shared by all tests: the tiny model, and the real command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

# Before anything imports torch. Two workers share the cores, and one thread count gives one result.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

CHECKOUT = Path(__file__).resolve().parent.parent
_COUNTED = "counted"


class RunCli(Protocol):
    """Runs `python -m cai_bootstrap ARGS…` in `root` and gives (exit code, stdout, stderr)."""

    def __call__(self, *args: str, root: Path, timeout_s: float = 300) -> tuple[int, str, str]: ...


@pytest.fixture(scope="session")
def run_cli() -> RunCli:
    """The command line as a user calls it: `root` is the working directory, hence `paths.root` when not given."""

    def run(*args: str, root: Path, timeout_s: float = 300) -> tuple[int, str, str]:
        path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]))
        done = subprocess.run(
            [sys.executable, "-m", "cai_bootstrap", *args],
            cwd=root,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny random model and its tokenizer, built once per test process. Read it, never write it."""
    from cai_bootstrap.config import ModelConfig, ModelSource
    from cai_bootstrap.engines.base_models import prepare

    target = tmp_path_factory.mktemp("tiny-model")
    model = ModelConfig(name="tiny-random", source=ModelSource.tiny_random, licence="none", sentinels=False)
    prepare(model, target, lambda line: None)
    return target


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest of the fast tests and of the slow ones come first: one process shall not wait for the other at the end."""
    items.sort(key=lambda item: item.path.name not in ("test_whole_curriculum.py", "test_stages.py"))


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Call it with the line of counts that a proof ends with; told at the end, whichever process counted it."""
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
