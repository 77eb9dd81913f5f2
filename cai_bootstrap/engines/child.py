"""Heavy work in a child process that dies with its parent and gives its memory back when it ends.

The child holds one object (an engine, or nothing) and answers calls over a pipe. It never writes the store. Progress comes
back as messages between a call and its answer.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from cai_bootstrap.engines.engine import Generation, GenerationRequest, OnDone
from cai_bootstrap.errors import CaiError, OutOfMemory, StepFailed, Stopped, UserError
from cai_bootstrap.redact import redact_outputs

_PR_SET_PDEATHSIG = 1
_ENDING_S = 3.0
"""How long a killed process may take to be gone after its connections are."""
_STOPPING_S = 25.0
"""How long a child may take to save what it does when it is asked to stop; whoever sent SIGTERM will not wait much longer."""


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent ends (Linux); elsewhere a thread watches the parent's id."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the call
            os._exit(1)
        return

    def watch() -> None:
        waiting = threading.Event()
        while not waiting.wait(1.0):
            if os.getppid() != parent:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _serve(connection: Connection, parent: int, build: Callable[..., Any], arguments: dict[str, Any]) -> None:
    redact_outputs()
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        target = build(**arguments)
    except CaiError as error:
        connection.send(("error", error))
        return
    except Exception as error:  # the parent raises it; nothing is swallowed
        connection.send(("error", StepFailed(f"the child could not start: {type(error).__name__}: {error}")))
        raise
    can_stop = hasattr(target, "stop")
    if can_stop:
        signal.signal(signal.SIGTERM, lambda number, frame: target.stop())
    connection.send(("ready", can_stop))
    while True:
        try:
            name, args, kwargs, wants_progress = connection.recv()
        except EOFError:
            return
        if name is None:
            return
        try:
            if wants_progress:
                kwargs["on_done"] = lambda done: connection.send(("progress", done))
            value = getattr(target, name)
            connection.send(("value", value(*args, **kwargs) if callable(value) else value))
        except CaiError as error:
            connection.send(("error", error))
        except Exception as error:  # as above
            connection.send(("error", StepFailed(f"{name} failed in the child: {type(error).__name__}: {error}")))
            raise


class Child:
    """A process that built `build(**arguments)` and answers calls on it.

    When it is closed in the middle of a call, what it built is asked to `stop`, where it can: to save what it has done and end
    the call.

    Raises the builder's own CaiError, OutOfMemory when the process was killed, StepFailed when it ended unexpectedly otherwise.
    """

    def __init__(self, build: Callable[..., Any], arguments: dict[str, Any], *, await_ready: bool = True) -> None:
        """Returns when the target is built; without `await_ready` at once, and `receive` then gives whether it can stop."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # Library threads are set by the engine; a child must not inherit a fork server's choices.
        self._process = context.Process(target=_serve, args=(theirs, os.getpid(), build, arguments), daemon=True)
        self._busy = False
        """Whether it works on a call: then nobody reads what it would answer to a friendly goodbye."""
        self._can_stop = False
        self._process.start()
        theirs.close()
        if not await_ready:
            self._busy = True
            return
        try:
            self._can_stop = bool(self._receive(None))
        except BaseException:
            self._process.kill()
            raise

    def call(self, name: str, *args: Any, on_done: OnDone | None = None, **kwargs: Any) -> Any:
        """The result of `target.name(*args, **kwargs)` in the child."""
        self._begin(name, args, kwargs, on_done is not None)
        return self._receive(on_done)

    @property
    def pid(self) -> int:
        """The process's id."""
        pid = self._process.pid
        assert pid is not None  # set since start()
        return pid

    def close(self) -> None:
        """End the process; its memory is free when this returns."""
        if self._busy:  # left in the middle of a call, by an interrupt
            try:
                if self._can_stop:
                    self._ask_to_stop()
            finally:
                self._process.kill()
        elif self._process.is_alive():
            with contextlib.suppress(BrokenPipeError, OSError):  # it is ending already, which is what is asked for
                self._connection.send((None, (), {}, False))
            self._process.join(timeout=10)
            if self._process.is_alive():
                self._process.kill()
        self._process.join()
        self._connection.close()

    def _ask_to_stop(self) -> None:
        deadline_s = time.monotonic() + _STOPPING_S
        with contextlib.suppress(EOFError, ConnectionResetError, ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
            while self._connection.poll(max(0.0, deadline_s - time.monotonic())):
                if self._connection.recv()[0] != "progress":
                    return

    def _begin(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], wants_progress: bool) -> None:
        try:
            self._connection.send((name, args, kwargs, wants_progress))
        except (BrokenPipeError, OSError) as error:
            raise self._ended() from error

    def _receive(self, on_done: OnDone | None) -> Any:
        self._busy = True
        while self._busy:
            value = self._take(on_done)
        return value

    def _take(self, on_done: OnDone | None) -> Any:
        """The next message: a report, or the answer that ends the call."""
        try:
            kind, value = self._connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._ended() from error
        if kind == "progress":
            if on_done is not None:
                on_done(value)
            return None
        self._busy = False
        if kind == "error":
            raise value
        return value

    def _ended(self) -> StepFailed:
        self._process.join(timeout=10)
        code = self._process.exitcode
        killed = code == -signal.SIGKILL
        why = "killed, most likely for want of memory" if killed else f"exit code {code}"
        told = f"the child process ended unexpectedly ({why}); run the same command again to go on"
        return OutOfMemory(told) if killed else StepFailed(told)


class Crew:
    """Children that answer each call together, since none gets on without the others; reports and results are the first one's.

    The first to fail ends all. Raises what `Child` does.
    """

    def __init__(self, build: Callable[..., Any], arguments: Sequence[dict[str, Any]]) -> None:
        """One child for each of `arguments`; returns when all are built."""
        self._children: list[Child] = []
        try:
            for each in arguments:
                self._children.append(Child(build, each, await_ready=False))
            for child, can_stop in zip(self._children, self._answers(None), strict=True):
                child._can_stop = bool(can_stop)
        except BaseException:
            self._kill(self._children)
            raise

    @property
    def pids(self) -> list[int]:
        """The processes' ids."""
        return [child.pid for child in self._children]

    def call(self, name: str, *args: Any, on_done: OnDone | None = None, **kwargs: Any) -> Any:
        """The first child's result of `target.name(*args, **kwargs)`."""
        for index, child in enumerate(self._children):
            child._begin(name, args, kwargs, on_done is not None and index == 0)
            child._busy = True
        return self._answers(on_done)[0]

    def close(self) -> None:
        """End the processes. In the middle of a call the first is asked to stop, and has the others stop as well."""
        first, *others = self._children
        try:
            first.close()
        finally:
            self._kill([child for child in others if child._busy])
            for child in others:
                child.close()

    def _answers(self, on_done: OnDone | None) -> list[Any]:
        found: dict[int, Any] = {}
        while waiting := {child._connection: i for i, child in enumerate(self._children) if i not in found}:
            for connection in wait(list(waiting)):
                index = waiting[connection]  # type: ignore[index]
                try:
                    value = self._children[index]._take(on_done if index == 0 else None)
                except CaiError as error:
                    told = isinstance(error, UserError | OutOfMemory | Stopped)
                    killed = None if told else self._killed_beside(self._children[index])
                    self._kill([child for child in self._children if child._busy])
                    if killed is not None:
                        raise killed._ended() from error
                    raise
                if not self._children[index]._busy:
                    found[index] = value
        return [found[index] for index in range(len(self._children))]

    def _killed_beside(self, failed: Child) -> Child | None:
        """The member whose end `failed` may tell of as a lost connection: those are closed before a process has ended."""
        others = {child._process.sentinel: child for child in self._children if child is not failed}
        gone = wait(list(others), timeout=_ENDING_S)
        ended = [child for sentinel, child in others.items() if sentinel in gone]
        for child in ended:
            child._process.join(timeout=_ENDING_S)
        return next((child for child in ended if child._process.exitcode == -signal.SIGKILL), None)

    @staticmethod
    def _kill(children: Sequence[Child]) -> None:
        for child in children:
            child._process.kill()
            child._process.join()
            child._busy = False


class ChildEngine:
    """The engine protocol, spoken to an engine in a child."""

    def __init__(self, build: Callable[..., Any], arguments: dict[str, Any]) -> None:
        self._child = Child(build, arguments)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def description(self) -> dict[str, str | int | float]:
        """The child engine's description."""
        value: dict[str, str | int | float] = self._child.call("description")
        return value

    def encode(self, text: str) -> list[int]:
        """See the protocol."""
        value: list[int] = self._child.call("encode", text)
        return value

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        """See the protocol."""
        value: list[Generation] = self._child.call("generate", list(requests), on_done=on_done)
        return value

    def choice_logprobs(
        self, prompts: Sequence[str], choices: Sequence[str], on_done: OnDone | None = None
    ) -> list[tuple[float, ...]]:
        """See the protocol."""
        value: list[tuple[float, ...]] = self._child.call("choice_logprobs", list(prompts), list(choices), on_done=on_done)
        return value

    def completion_logprobs(self, pairs: Sequence[tuple[str, str]], on_done: OnDone | None = None) -> list[tuple[float, int]]:
        """See the protocol."""
        value: list[tuple[float, int]] = self._child.call("completion_logprobs", list(pairs), on_done=on_done)
        return value

    def load(self, folder: Path) -> None:
        """Another model in the same process, the old one's memory given back first; `build` made what can do so."""
        self._child.call("load", folder)

    def close(self) -> None:
        """End the child."""
        self._child.close()
