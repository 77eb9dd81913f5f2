"""Progress with time left: live bars on a terminal, plain lines elsewhere, and never a silent minute."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

RESUMED_WITHIN_S = 1.0
"""A first update this early reports what was there before, and says nothing about the pace."""


class Task:
    """One long step under way. Made by `ConsoleProgress.task`."""

    def __init__(self, progress: ConsoleProgress, description: str, total: int | None) -> None:
        self._progress = progress
        self._started_s = self._anchor_s = progress.now_s()
        self._anchor_done = 0
        self._num_updates = 0
        self._bar: TaskID | None = None
        self.description = description
        self.total = total
        self.done = 0

    def update(self, done: int) -> None:
        """Say how many of the total are done so far (not how many more)."""
        now_s = self._progress.now_s()
        self._num_updates += 1
        self.done = done
        if self._num_updates == 1 and now_s - self._started_s < RESUMED_WITHIN_S:
            self._anchor_s, self._anchor_done = now_s, done
        self._progress._updated(self)

    def line(self, text: str) -> None:
        """Print a line without disturbing the bars."""
        self._progress.line(text)

    def seconds_left(self) -> float | None:
        """Seconds left at the pace so far, or None while there is no pace or no total."""
        gained = self.done - self._anchor_done
        if self.total is None or gained <= 0:
            return None
        return max(self.total - self.done, 0) * (self._progress.now_s() - self._anchor_s) / gained

    def summary(self) -> str:
        """`drafts: 96/420, 2.1 min left`."""
        count = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        left_s = self.seconds_left()
        if left_s is None:
            return f"{self.description}: {count}, {duration(self.elapsed_s())} so far"
        return f"{self.description}: {count}, {duration(left_s)} left"

    def elapsed_s(self) -> float:
        """Seconds since the task began."""
        return self._progress.now_s() - self._started_s


class ConsoleProgress:
    """Shows tasks on a stream (default: standard error, so that results can be piped).

    On a terminal: live bars with time left. Otherwise plain lines: one when a task begins, one when it ends, at most
    one every `interval_s` between, and one from a heartbeat thread when nothing was written for `heartbeat_s`.
    """

    def __init__(self, stream: TextIO | None = None, *, interval_s: float = 15.0, heartbeat_s: float = 45.0) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._interval_s = interval_s
        self._heartbeat_s = heartbeat_s
        self._live = self._stream.isatty()
        self._bars: Bars | None = None
        self._lock = threading.RLock()
        self._tasks: list[Task] = []
        self._written_s = self.now_s()

    @staticmethod
    def now_s() -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()

    def line(self, text: str) -> None:
        """Print one line, above the bars when there are any."""
        with self._lock:
            self._written_s = self.now_s()
            if self._bars is not None:
                self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, file=self._stream, flush=True)

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Task]:
        """A long step, from entering to leaving the context; `total` is None when it is not known. Tasks may nest. An
        exception passes through, and the last line then says where the step stopped.
        """
        task = Task(self, description, total)
        stop = threading.Event()
        self._begin(task)
        heartbeat = threading.Thread(target=self._beat, args=(task, stop), name=f"progress {description}", daemon=True)
        heartbeat.start()
        finished = False
        try:
            yield task
            finished = True
        finally:
            stop.set()
            heartbeat.join()
            self._end(task, finished)

    def _begin(self, task: Task) -> None:
        with self._lock:
            self._tasks.append(task)
            if not self._live:
                self.line(f"{task.description}: {'started' if task.total is None else f'0/{task.total}'}")
                return
            if self._bars is None:
                self._bars = self._start_bars()
            task._bar = self._bars.add_task(task.description, total=task.total)

    def _updated(self, task: Task) -> None:
        with self._lock:
            if self._bars is not None and task._bar is not None:
                self._bars.update(task._bar, completed=task.done)
            elif self.now_s() - self._written_s >= self._interval_s:
                self.line(task.summary())

    def _end(self, task: Task, finished: bool) -> None:
        with self._lock:
            self._tasks.remove(task)
            took = duration(task.elapsed_s())
            count = f"{task.done}" if task.total is None else f"{task.done}/{task.total}"
            if not finished:
                self.line(f"{task.description}: stopped at {count} after {took}")
            elif not self._live:
                self.line(f"{task.description}: {count}, done in {took}")
            if self._bars is None or task._bar is None:
                return
            if finished and task.total is None:  # a bar without a total would pulse for ever
                self._bars.update(task._bar, total=max(task.done, 1), completed=max(task.done, 1))
            self._bars.stop_task(task._bar)
            if not self._tasks:
                self._bars.stop()
                self._bars = None

    def _beat(self, task: Task, stop: threading.Event) -> None:
        # On a terminal the bars' own clock moves; a line would only push them down.
        wait_s = self._heartbeat_s
        while not stop.wait(max(wait_s, 0.01)):
            with self._lock:
                silent_s = self.now_s() - self._written_s
                innermost = bool(self._tasks) and self._tasks[-1] is task
                if not self._live and innermost and silent_s >= self._heartbeat_s:
                    self.line(f"{task.summary()} (still running)")
                    silent_s = 0.0
            wait_s = self._heartbeat_s - silent_s if innermost else self._heartbeat_s

    def _start_bars(self) -> Bars:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=self._stream, force_terminal=True),
            speed_estimate_period=1800,  # a shard can take minutes, longer than the default period of 30 s
        )
        bars.start()
        return bars


def duration(seconds: float) -> str:
    """`35 s`, `2.1 min`, `1.6 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
