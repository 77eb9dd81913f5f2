"""Two processes that want one run at the same instant: exactly one gets it, and the other is told by whom it is held."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forks import FULL, in_fork

from cai_bootstrap.errors import RunLocked
from cai_bootstrap.store.run import Run

NUM_RACES = 100 if FULL else 5


def race(folder: Path) -> list[str]:
    """What two processes that start at one instant find: `won`, or the message of the refusal."""
    at_s = time.monotonic() + 0.05  # the clock is the machine's: both see the same

    def contend(name: str) -> None:
        while time.monotonic() < at_s:
            pass
        try:
            with Run(folder, "default"):
                (folder / name).write_text("won")
                time.sleep(0.3)
        except RunLocked as error:
            (folder / name).write_text(str(error))

    first = os.fork()
    if first == 0:
        os._exit(in_fork(lambda: contend("first")))
    assert in_fork(lambda: contend("second")) == 0
    os.waitpid(first, 0)
    return [(folder / name).read_text() for name in ("first", "second")]


@pytest.mark.slow
def test_exactly_one_of_two_wins(tmp_path: Path, counted: Callable[[str], None]) -> None:
    for number in range(NUM_RACES):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = race(folder)
        assert found.count("won") == 1, found
        (refusal,) = [text for text in found if text != "won"]
        assert "run default is in use by process " in refusal
    counted(f"{NUM_RACES} races: exactly one winner each time")
