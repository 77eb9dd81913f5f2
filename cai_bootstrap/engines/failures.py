"""What it means when an engine fails: want of memory, a record that it cannot take, or a mistake of who called it."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Sequence

from cai_bootstrap.engines.engine import Engine, Generation, GenerationRequest, OnDone
from cai_bootstrap.errors import CaiError, OutOfMemory, RecordError

# torch's own class for it says the first; the allocator of the CPU has none and says the second.
_SAY_MEMORY = ("out of memory", "can't allocate memory")


@contextlib.contextmanager
def memory_told(doing: str, remedy: str = "") -> Iterator[None]:
    """Turns what torch and the allocators raise for want of memory into OutOfMemory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(said in str(error) for said in _SAY_MEMORY):
            raise
        raise OutOfMemory(f"{doing} ran out of memory{remedy}: {error}") from error


@contextlib.contextmanager
def _failures_told(doing: str) -> Iterator[None]:
    try:
        with memory_told(doing, " (write a smaller engine.batch_size)"):
            yield
    except CaiError:
        raise
    except Exception as error:
        # Whoever asks about several records finds out which of them it was; where it happened is told here only.
        traceback.print_exc()
        raise RecordError(f"{doing} failed: {type(error).__name__}: {error}") from error


class Guarded:
    """An engine that raises CaiErrors only: RecordError for whatever a library raises on what it was given."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def description(self) -> dict[str, str | int | float]:
        """See the protocol."""
        return self._engine.description

    def encode(self, text: str) -> list[int]:
        """See the protocol."""
        return self._engine.encode(text)

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        """See the protocol."""
        with _failures_told("generation"):
            return self._engine.generate(requests, on_done)

    def choice_logprobs(
        self, prompts: Sequence[str], choices: Sequence[str], on_done: OnDone | None = None
    ) -> list[tuple[float, ...]]:
        """See the protocol."""
        with _failures_told("judging"):
            return self._engine.choice_logprobs(prompts, choices, on_done)

    def completion_logprobs(self, pairs: Sequence[tuple[str, str]], on_done: OnDone | None = None) -> list[tuple[float, int]]:
        """See the protocol."""
        with _failures_told("scoring"):
            return self._engine.completion_logprobs(pairs, on_done)

    def close(self) -> None:
        """See the protocol."""
        self._engine.close()
