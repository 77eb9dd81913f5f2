"""The engine protocol: what a step may ask of a model. Implementations are found in `engines.ENGINES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cai_bootstrap.records import FinishReason

OnDone = Callable[[int], None]
"""Called with the number of requests finished so far."""


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
        """Continue each prompt. Raises UserError for a prompt that does not fit the context."""
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
