"""Top-k and top-p for vLLM on a CPU, which by itself sorts the whole vocabulary for every token of every request.

With a vocabulary of 262,144 that is 29 ms of a core, many times what the network of a 270M model takes for the token.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

if TYPE_CHECKING:
    from vllm import SamplingParams

TOP_K_TOP_P = "top_k_top_p"
"""The key of a request's `extra_args` under which both are. vLLM's own `top_k` and `top_p` stay unset."""


class Nucleus(AdapterLogitsProcessor):  # type: ignore[misc]  # vLLM is not read by the type checker
    """Leaves a request the `top_k` likeliest tokens, and of these the fewest that have `top_p` of the probability."""

    def is_argmax_invariant(self) -> bool:
        """It is: so it comes after the temperature, as top-p has to, and greedy requests go without it."""
        return True

    def new_req_logits_processor(self, params: SamplingParams) -> Any:
        """None for a request that takes from all tokens."""
        both = (params.extra_args or {}).get(TOP_K_TOP_P)
        return None if both is None else functools.partial(_leave_likeliest, *both)


def _leave_likeliest(top_k: int, top_p: float, _written: list[int], logits: torch.Tensor) -> torch.Tensor:
    values, tokens = logits.topk(min(top_k, len(logits)))
    probabilities = values.softmax(0)
    likelier = probabilities.cumsum(0) - probabilities
    kept = likelier < top_p
    kept[0] = True
    logits.fill_(float("-inf"))
    logits[tokens[kept]] = values[kept]
    return logits
