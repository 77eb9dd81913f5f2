"""The output layer, read in tiles of the vocabulary: likeliest tokens and log-probabilities without a table of logits.

For a small model the table is most of a step's memory traffic: 64 rows of Gemma's 262,144 logits are 64 MiB, which would be
written, transposed, and read again for the normaliser and for each choice. A tile stays in the cache, and is dropped when its
largest entries and its share of the normaliser are taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

_TILE_ENTRIES = 2**20
"""4 MiB of fp32 logits."""
_MIN_TILE = 1024
"""Tokens: a product of fewer rows is slow."""

_UNSUPPORTED_SCALES = ("logits_scaling", "logit_scale", "lm_head_multiplier", "output_multiplier")


def unsupported_scales(config: Any) -> list[str]:
    """Names of a text configuration's factors on the logits, which neither decoding nor training applies."""
    return [name for name in _UNSUPPORTED_SCALES if getattr(config, name, None) not in (None, 1.0)]


@dataclass(frozen=True)
class Scan:
    """What one pass over the vocabulary gives, all in fp32 and per row of hidden states."""

    normaliser: torch.Tensor
    """(rows,): log of the sum of exp(logit); logit − normaliser is a log-probability."""
    logits: torch.Tensor
    """(rows, kept): the largest logits, descending."""
    ids: torch.Tensor
    """(rows, kept): their tokens."""


def scan_head(model: PreTrainedModel, hidden: torch.Tensor, num_kept: int) -> Scan:
    """Largest logits and normaliser of the next token after last hidden states (rows, hidden)."""
    kept_logits, kept_ids, normalisers = [], [], []
    for start, logits in _tiles(model, hidden):
        if num_kept == 1:
            largest, ids = (part[:, None] for part in logits.max(dim=0))
        else:
            largest, ids = torch.topk(logits.T.contiguous(), min(num_kept, len(logits)), dim=1)
        kept_logits.append(largest)
        kept_ids.append(ids + start)
        top = largest[:, 0]
        normalisers.append(top + (logits - top).exp_().sum(dim=0).log_())
    found = torch.cat(kept_logits, dim=1)
    logits, places = torch.topk(found, min(num_kept, found.shape[1]), dim=1)
    ids = torch.cat(kept_ids, dim=1).gather(1, places)
    return Scan(torch.stack(normalisers).logsumexp(dim=0), logits, ids)


def token_logprobs(model: PreTrainedModel, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of tokens `ids` (rows, n) after last hidden states (rows, hidden): (rows, n) in fp32."""
    weight: torch.Tensor = model.get_output_embeddings().weight  # type: ignore[no-untyped-call]
    logits = _capped(model, torch.einsum("rh,rnh->rn", hidden, weight[ids]).float())
    return logits - scan_head(model, hidden, 1).normaliser[:, None]


def _tiles(model: PreTrainedModel, hidden: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """(first token, logits (tokens, rows)) for each tile; one tile on a GPU, where many small products are slow."""
    weight: torch.Tensor = model.get_output_embeddings().weight  # type: ignore[no-untyped-call]
    size = max(_TILE_ENTRIES // len(hidden), _MIN_TILE) if hidden.device.type == "cpu" else len(weight)
    columns = hidden.T.contiguous()
    for start in range(0, len(weight), size):
        # weight @ hiddenᵀ runs 1.3 to 1.5 times as fast as hidden @ weightᵀ at decoding's row counts.
        yield start, _capped(model, (weight[start : start + size] @ columns).float())


def _capped(model: PreTrainedModel, logits: torch.Tensor) -> torch.Tensor:
    softcap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return logits if not softcap else torch.tanh(logits / softcap) * softcap
