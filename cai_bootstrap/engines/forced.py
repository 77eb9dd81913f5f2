"""vLLM made to write given tokens: what a text's tokens are worth comes of one step each, behind a prompt from the cache.

vLLM's own `prompt_logprobs` leaves the cache aside and takes the whole vocabulary at every token of the prompt: 1.5 seconds a
prompt on a CPU, with a vocabulary of 262,144.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

if TYPE_CHECKING:
    from vllm import SamplingParams

TOKENS = "forced"
"""The key of a request's `extra_args` under which its tokens are. Log-probabilities are taken before tokens are forced."""


class Forced(AdapterLogitsProcessor):  # type: ignore[misc]  # vLLM is not read by the type checker
    """Leaves a request's next token as the only choice."""

    def is_argmax_invariant(self) -> bool:
        """It is not."""
        return False

    def new_req_logits_processor(self, params: SamplingParams) -> Any:
        """None for a request that writes freely."""
        tokens = (params.extra_args or {}).get(TOKENS)
        return None if tokens is None else functools.partial(_leave_one, tokens)


def _leave_one(tokens: list[int], written: list[int], logits: torch.Tensor) -> torch.Tensor:
    token = tokens[len(written)]
    value = logits[token].clone()
    logits.fill_(float("-inf"))
    logits[token] = value
    return logits
