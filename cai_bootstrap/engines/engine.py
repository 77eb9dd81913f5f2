"""The engine protocol: what a step may ask of a model. Implementations are found in `engines.ENGINES`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cai_bootstrap.errors import RecordError
from cai_bootstrap.records import FinishReason

OnDone = Callable[[int], None]
"""Called with the number of requests finished so far."""
STOP_ASKED_EVERY = 8
"""Tokens between two calls of a request's `stop_when`, which may take a millisecond."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One prompt to continue. `prompt` is plain text without BOS; the engine puts exactly one BOS before it."""

    prompt: str
    max_tokens: int
    stop: tuple[str, ...] = ()
    """Strings that end the generation, matched on decoded text; the text is cut before the match."""
    stop_when: Callable[[str], bool] | None = None
    """Asked every few tokens with the text so far: whether the rest is not wanted. A module-level function or a partial of
    one, since it travels to a child. The text is not cut. An engine that cannot ask writes to the end."""
    temperature: float = 0.0
    """0 is greedy."""
    top_k: int = 64
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What the model wrote. Order and number equal the requests'."""

    text: str
    token_ids: tuple[int, ...]
    """The generated ids, EOS included when `finish` is `eos`."""
    finish: FinishReason
    logprob: float
    """Sum of the generated tokens' natural log-probabilities at temperature 1, before top-k and top-p."""
    num_prompt_tokens: int


def place_of_stop(text: str, stops: Iterable[str]) -> int | None:
    """Where the first stop string begins, None without one. Leading white space is no place for a stop."""
    lead = len(text) - len(text.lstrip())
    return min((at for stop in stops if (at := text.find(stop, lead)) >= 0), default=None)


def require_fit(num_tokens: int, context: int, text: str) -> None:
    """Raises RecordError where the model's context is too short for a prompt and what is to follow it."""
    if num_tokens > context:
        raise RecordError(
            f"a prompt needs {num_tokens} tokens, the model's context is {context}: shorten it or lower "
            f"max_tokens; it begins {text[:60]!r}"
        )


class Engine(Protocol):
    """A loaded model."""

    @property
    def description(self) -> dict[str, str | int | float]:
        """Engine, dtype, device, threads, batch size, library versions: recorded with what it makes."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids that the model receives for `text` as a prompt: exactly one BOS first (where the model has one)."""
        ...

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        """Continue each prompt. Raises RecordError for a prompt that does not fit the context."""
        ...

    def choice_logprobs(
        self, prompts: Sequence[str], choices: Sequence[str], on_done: OnDone | None = None
    ) -> list[tuple[float, ...]]:
        """Per prompt, the natural log-probability of each choice's first token as the next token."""
        ...

    def completion_logprobs(self, pairs: Sequence[tuple[str, str]], on_done: OnDone | None = None) -> list[tuple[float, int]]:
        """Per (prompt, completion): the sum of the completion tokens' log-probabilities, and how many they are."""
        ...

    def close(self) -> None:
        """Give the model's memory back."""
        ...
