"""Heavy work in a child process: the same results, and no process that outlives its parent. Real processes throughout."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file, save_file

from cai_bootstrap import engines, errors
from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines.child import Child, ChildEngine
from cai_bootstrap.engines.engine import Engine, GenerationRequest
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import CaiError, StepFailed, UserError

CHECKOUT = Path(__file__).resolve().parent.parent
PROMPTS = ["0. the sun rises", "1. a cat says", "2. äöü 東京"]


class Target:
    """What the children of these tests hold."""

    def __init__(self, start: int = 0, fail: str = "") -> None:
        if fail:
            raise getattr(errors, fail)(f"{fail} while building") if hasattr(errors, fail) else RuntimeError(fail)
        self.count = start

    def add(self, number: int, *, on_done: Any = None) -> int:
        for done in range(number):
            self.count += 1
            if on_done is not None:
                on_done(done + 1)
        return self.count

    def fail(self, name: str, text: str) -> None:
        raise getattr(errors, name)(text)

    def fail_plainly(self) -> None:
        raise RuntimeError("wires crossed")

    def sleep(self) -> None:
        time.sleep(600)

    def count_then_sleep(self, *, on_done: Any = None) -> None:
        on_done(1)
        self.sleep()

    @property
    def pid(self) -> int:
        return os.getpid()


class Stoppable(Target):
    """Saves what it has done when it is asked to, or is deaf."""

    asked = False

    def stop(self) -> None:
        self.asked = True

    def work(self, file: Path, deaf: bool, *, on_done: Any = None) -> None:
        on_done(1)
        while deaf or not self.asked:
            on_done(2)  # nobody may be reading any more
            time.sleep(0.01)
        file.write_text("saved")
        raise StepFailed("stopped")


@pytest.fixture
def other_tiny_model(tiny_model: Path, tmp_path: Path) -> Path:
    """The same with other weights."""
    folder = shutil.copytree(tiny_model, tmp_path / "other")
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor * 1.1 for name, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child(Target, {"start": 10})
    yield child
    child.close()


def _config(in_process: bool) -> EngineConfig:
    return EngineConfig(in_process=in_process, device="cpu", dtype="float32", batch_size=4, threads=1)


def _requests() -> list[GenerationRequest]:
    return [GenerationRequest(prompt=p, max_tokens=16, temperature=0.7 * (i % 2), seed=i) for i, p in enumerate(PROMPTS)]


def _answers(engine: Engine) -> list[Any]:
    seen: list[int] = []
    return [
        [engine.encode(prompt) for prompt in PROMPTS],
        engine.generate(_requests(), seen.append),
        engine.choice_logprobs(PROMPTS, [" A", " B"], seen.append),
        engine.completion_logprobs([(prompt, " and sets") for prompt in PROMPTS], seen.append),
        engine.description,
        seen,
    ]


def _gone(pid: int, timeout_s: float) -> bool:
    """Whether the process ends within the time; a zombie has ended."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.slow
def test_an_engine_in_a_child_gives_the_same(tiny_model: Path) -> None:
    here, there = (engines.start(_config(in_process), tiny_model) for in_process in (True, False))
    try:
        assert isinstance(there, ChildEngine)
        assert there.pid != os.getpid()
        assert _answers(there) == _answers(here)
        pid = there.pid
        # The child goes on after an error that it raised itself.
        with pytest.raises(UserError, match="context is 3072"):
            there.generate([GenerationRequest(prompt="sun " * 5000, max_tokens=1)])
        assert there.encode("the sun") == here.encode("the sun")
    finally:
        there.close()
    assert _gone(pid, timeout_s=0.5)


@pytest.mark.slow
def test_another_model_is_loaded_in_the_same_process(tiny_model: Path, other_tiny_model: Path) -> None:
    with Session(_config(in_process=False)) as session:
        pids, scores = [], []
        for folder in (tiny_model, other_tiny_model, tiny_model):
            there, here = session.engine(folder), engines.start(_config(in_process=True), folder)
            assert isinstance(there, ChildEngine)
            answers = _answers(there)
            assert answers == _answers(here)
            pids.append(there.pid)
            scores.append(answers[2])
        assert len(set(pids)) == 1
        assert scores[0] == scores[2] != scores[1]
        # What cannot be loaded leaves no engine behind; the next call starts a new one.
        with pytest.raises(CaiError, match="nowhere"):
            session.engine(tiny_model.parent / "nowhere")
        assert _gone(pids[0], timeout_s=0.5)
        assert isinstance(again := session.engine(tiny_model), ChildEngine)
        assert again.pid != pids[0]
        assert again.encode("the sun") == here.encode("the sun")


@pytest.mark.slow
def test_where_a_process_keeps_a_models_memory_the_next_model_gets_its_own(
    tiny_model: Path, other_tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "vllm" not in engines._GIVE_BACK
    monkeypatch.setattr(engines, "_GIVE_BACK", set[str]())
    with Session(_config(in_process=False)) as session:
        first = session.engine(tiny_model)
        assert isinstance(first, ChildEngine)
        pid = first.pid
        second = session.engine(other_tiny_model)
        assert isinstance(second, ChildEngine)
        assert second.pid != pid
        assert _gone(pid, timeout_s=0.5)
        assert second.encode("the sun")


def test_a_model_that_cannot_be_loaded_is_told_in_this_process_too(tiny_model: Path) -> None:
    with Session(_config(in_process=True)) as session:
        session.engine(tiny_model)
        with pytest.raises(OSError, match="nowhere"):
            session.engine(tiny_model.parent / "nowhere")
        assert session.engine(tiny_model).encode("the sun")


def test_calls_keep_state_and_tell_progress(child: Child) -> None:
    seen: list[int] = []
    assert child.call("add", 3, on_done=seen.append) == 13
    assert seen == [1, 2, 3]
    assert child.call("add", number=2) == 15
    assert child.call("count") == 15
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("name", [n for n, e in vars(errors).items() if isinstance(e, type) and issubclass(e, CaiError)])
def test_every_error_of_the_package_arrives_as_itself(child: Child, name: str) -> None:
    kind = getattr(errors, name)
    with pytest.raises(kind) as caught:
        child.call("fail", name, "what was wrong: write something else")
    assert type(caught.value) is kind
    assert str(caught.value) == "what was wrong: write something else"
    assert caught.value.exit_code == kind.exit_code
    assert child.call("count") == 10


def test_an_error_while_building_arrives_as_itself() -> None:
    with pytest.raises(UserError, match="while building"):
        Child(Target, {"fail": "UserError"})
    with pytest.raises(StepFailed, match="RuntimeError: no such wire"):
        Child(Target, {"fail": "no such wire"})


def test_an_unforeseen_error_is_told_and_ends_the_child() -> None:
    child = Child(Target, {})
    with pytest.raises(StepFailed, match="fail_plainly failed in the child: RuntimeError: wires crossed"):
        child.call("fail_plainly")
    with pytest.raises(StepFailed, match="exit code 1"):
        child.call("count")
    child.close()


def test_a_killed_child_is_a_failed_step_and_not_a_hang() -> None:
    child = Child(Target, {})
    pid = child.call("pid")
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {pid}"])
    with pytest.raises(StepFailed, match=r"killed, most likely for want of memory.*run the same command again"):
        child.call("sleep")
    killer.wait()
    with pytest.raises(StepFailed, match="killed"):
        child.call("count")
    child.close()


def test_a_child_left_in_the_middle_of_a_call_is_ended_at_once() -> None:
    child = Child(Target, {})

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        child.call("count_then_sleep", on_done=interrupt)
    begin = time.monotonic()
    child.close()
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("deaf", [False, True])
def test_who_can_stop_is_asked_to_before_it_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: bool) -> None:
    monkeypatch.setattr("cai_bootstrap.engines.child._STOPPING_S", 1.0 if deaf else 25.0)
    child, file = Child(Stoppable, {}), tmp_path / "saved"

    def terminate(done: int) -> None:
        raise errors.Terminated

    with pytest.raises(errors.Terminated):
        child.call("work", file, deaf, on_done=terminate)
    begin = time.monotonic()
    child.close()
    assert time.monotonic() - begin < 5
    assert file.exists() is not deaf
    assert _gone(child.pid, timeout_s=0.5)


def test_close_may_be_called_twice() -> None:
    child = Child(Target, {})
    pid = child.call("pid")
    child.close()
    assert _gone(pid, timeout_s=0.5)
    child.close()


PARENT = """
import sys, time, threading
from pathlib import Path
from cai_bootstrap import engines
from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines.engine import GenerationRequest
if __name__ == "__main__":
    config = EngineConfig(device="cpu", dtype="float32", batch_size=1, threads=1)
    engine = engines.start(config, Path(sys.argv[1]))
    print(engine.pid, flush=True)
    request = GenerationRequest(prompt="0. the sun", max_tokens=300)
    if sys.argv[2] == "idle":
        time.sleep(600)
    engine.generate([request] * 10000, lambda done: print(done, flush=True))
"""


def _start_parent(tmp_path: Path, tiny_model: Path, what: str) -> subprocess.Popen[str]:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    return subprocess.Popen(
        [sys.executable, str(script), str(tiny_model), what],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("what", ["idle", "busy"])
def test_a_killed_parent_takes_the_child_with_it(tmp_path: Path, tiny_model: Path, what: str) -> None:
    parent = _start_parent(tmp_path, tiny_model, what)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    if what == "busy":
        # Written by the parent after the child's first progress: it is in the middle of its work.
        assert parent.stdout.readline() == "1\n"
    assert psutil.pid_exists(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert _gone(pid, timeout_s=2)


def test_a_parent_killed_while_the_child_starts_takes_it_too(tmp_path: Path, tiny_model: Path) -> None:
    parent = _start_parent(tmp_path, tiny_model, "idle")
    process = psutil.Process(parent.pid)
    deadline_s = time.monotonic() + 60
    children: list[psutil.Process] = []
    while not any("spawn_main" in " ".join(c.cmdline()) for c in children):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
        children = process.children(recursive=True)
    parent.kill()
    parent.wait()
    # A child that has not come so far as to ask the kernel ends as soon as it does: after its imports.
    for started in children:
        assert _gone(started.pid, timeout_s=20)
