"""An engine that fails on what it was given says so as RecordError, and goes on with the next."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from scripted import ScriptedEngine

from cai_bootstrap.__main__ import main
from cai_bootstrap.engines.child import ChildEngine
from cai_bootstrap.engines.engine import Engine, Generation, GenerationRequest, OnDone
from cai_bootstrap.engines.failures import Guarded
from cai_bootstrap.errors import OutOfMemory, RecordError, UserError

RAISED: dict[str, Exception] = {
    "poison": IndexError("list index out of range"),
    "host memory": MemoryError(),
    "device memory": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "allocator": RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    "caller": UserError("max_tokens=0 is not valid: write 1 or more"),
}


class Failing(ScriptedEngine):
    """Raises what the prompt names."""

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        self._fail([request.prompt for request in requests])
        return super().generate(requests, on_done)

    def choice_logprobs(
        self, prompts: Sequence[str], choices: Sequence[str], on_done: OnDone | None = None
    ) -> list[tuple[float, ...]]:
        self._fail(prompts)
        return super().choice_logprobs(prompts, choices, on_done)

    def completion_logprobs(self, pairs: Sequence[tuple[str, str]], on_done: OnDone | None = None) -> list[tuple[float, int]]:
        self._fail([prompt for prompt, _ in pairs])
        return super().completion_logprobs(pairs, on_done)

    def _fail(self, prompts: Sequence[str]) -> None:
        for prompt in prompts:
            if prompt in RAISED:
                raise RAISED[prompt]


def guarded() -> Engine:
    return Guarded(Failing())


@pytest.fixture(scope="module")
def engine() -> Iterator[ChildEngine]:
    engine = ChildEngine(guarded, {})
    yield engine
    engine.close()


def ask(engine: Engine, prompt: str) -> list[Generation]:
    return engine.generate([GenerationRequest(prompt=prompt, max_tokens=4)])


def test_what_a_library_raises_is_about_a_record(engine: ChildEngine) -> None:
    before = ask(engine, "What do bees make?")
    with pytest.raises(RecordError, match=r"^generation failed: IndexError: list index out of range$"):
        ask(engine, "poison")
    with pytest.raises(RecordError, match=r"^judging failed: IndexError: list index out of range$"):
        engine.choice_logprobs(["poison"], [" A", " B"])
    with pytest.raises(RecordError, match=r"^scoring failed: IndexError: list index out of range$"):
        engine.completion_logprobs([("poison", " yes")])
    assert ask(engine, "What do bees make?") == before


def test_where_it_happened_stands_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RecordError):
        ask(guarded(), "poison")
    assert "in _fail" in capsys.readouterr().err


@pytest.mark.parametrize("prompt", ["host memory", "device memory", "allocator"])
def test_want_of_memory_is_no_records_fault(engine: ChildEngine, prompt: str) -> None:
    with pytest.raises(OutOfMemory, match=r"generation ran out of memory \(write a smaller engine.batch_size\)"):
        ask(engine, prompt)


def test_a_callers_mistake_stays_one(engine: ChildEngine) -> None:
    with pytest.raises(UserError, match="max_tokens=0") as caught:
        ask(engine, "caller")
    assert type(caught.value) is UserError


def test_a_missing_vllm_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "vllm" else find_spec(name))
    assert main(["stage=1", "engine=vllm", f"paths.root={tmp_path}"]) == 2
    assert capsys.readouterr().err == (
        "cai_bootstrap: error: engine=vllm needs vllm, which is not installed: "
        "run `make setup-vllm` on a CPU, `pip install -e '.[vllm]'` on a GPU\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_settings_of_vllm_without_it_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stage=1", "engine.name=vllm", f"paths.root={tmp_path}"]) == 2
    assert "engine.vllm='missing' is not valid: write engine=vllm with engine.vllm" in capsys.readouterr().err
