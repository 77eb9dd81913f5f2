"""The output layer, read in tiles of the vocabulary: likeliest tokens and log-probabilities without a table of logits.

For a small model the table is most of a step's memory traffic: 64 rows of Gemma's 262,144 logits are 64 MiB, which would be
written, and read again for the normaliser and for each choice. A tile stays in the cache, and is dropped when its largest
entries and its share of the normaliser are taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from cai_bootstrap.engines import packed

_TILE_TOKENS = 16384
"""4 MiB of fp32 logits for 64 rows."""

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


@dataclass(frozen=True)
class _Tile:
    """Output weights of the tokens from `start` on, plain (tokens, hidden) or packed, and packed the other way round."""

    start: int
    weight: torch.Tensor
    bias: torch.Tensor | None
    is_packed: bool
    transposed: torch.Tensor | None


class OutputLayer:
    """A model's frozen output layer; the weights are packed a second time where that is faster (see `packed`)."""

    def __init__(self, model: PreTrainedModel, *, differentiable: bool = False) -> None:
        """`differentiable` makes ready for `pull` as well."""
        head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        self.weight: torch.Tensor = head.weight.detach()
        self.bias: torch.Tensor | None = None if getattr(head, "bias", None) is None else head.bias.detach()
        self.softcap: float | None = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        self.is_packed = packed.is_supported(self.weight)
        self._tiles: list[_Tile] = []
        # One tile on a GPU, where many small products are slow.
        self.tile_tokens = size = _TILE_TOKENS if self.weight.device.type == "cpu" else len(self.weight)
        for start in range(0, len(self.weight), size):
            part, bias = self.weight[start : start + size], None if self.bias is None else self.bias[start : start + size]
            transposed = packed.pack(part.T) if self.is_packed and differentiable else None
            self._tiles.append(_Tile(start, packed.pack(part) if self.is_packed else part, bias, self.is_packed, transposed))

    def tiles(self, hidden: torch.Tensor) -> Iterator[tuple[_Tile, torch.Tensor]]:
        """(tile, logits (rows, its tokens) in fp32, soft-capped where the model does that) after last hidden states."""
        for tile in self._tiles:
            if tile.is_packed:
                logits = packed.multiply(hidden, tile.weight, tile.bias)
            else:
                logits = torch.nn.functional.linear(hidden, tile.weight, tile.bias).float()
            yield tile, logits if not self.softcap else torch.tanh_(logits / self.softcap).mul_(self.softcap)

    @staticmethod
    def pull(tile: _Tile, weights: torch.Tensor) -> torch.Tensor:
        """weights (rows, tokens of the tile) @ its output weights: (rows, hidden)."""
        if tile.is_packed:
            assert tile.transposed is not None, "made without differentiable=True"
            return packed.multiply(weights, tile.transposed)
        return weights.to(tile.weight.dtype) @ tile.weight

    def scan(self, hidden: torch.Tensor, num_kept: int) -> Scan:
        """Largest logits and normaliser of the next token after last hidden states (rows, hidden)."""
        kept = _Largest(hidden) if num_kept == 1 else _Kept(num_kept)
        normalisers = []
        for tile, logits in self.tiles(hidden):
            top = kept.take(logits, tile.start)
            normalisers.append(top[:, 0] + logits.sub_(top).exp_().sum(dim=1).log_())
        logits, ids = kept.result()
        return Scan(torch.stack(normalisers).logsumexp(dim=0), logits, ids)

    def token_logprobs(self, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of tokens `ids` (rows, n) after last hidden states (rows, hidden): (rows, n) in fp32."""
        logits = torch.einsum("rh,rnh->rn", hidden, self.weight[ids]).float()
        if self.bias is not None:
            logits = logits + self.bias[ids]
        if self.softcap:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits - self.scan(hidden, 1).normaliser[:, None]


class _Largest:
    """The largest logit of each row. Its place is looked for in rows that rose only: finding it costs far more than the
    value, and a row rises in a few tiles."""

    def __init__(self, hidden: torch.Tensor) -> None:
        self.logits = hidden.new_full((len(hidden), 1), float("-inf"), dtype=torch.float32)
        self.ids = torch.zeros_like(self.logits, dtype=torch.long)

    def take(self, logits: torch.Tensor, start: int) -> torch.Tensor:
        """Take in the logits (rows, tokens) of the tokens from `start` on; returns their largest, (rows, 1)."""
        top = logits.amax(dim=1, keepdim=True)
        rows = (top > self.logits)[:, 0].nonzero()[:, 0]
        self.ids[rows] = logits[rows].argmax(dim=1, keepdim=True) + start
        self.logits = torch.maximum(self.logits, top)
        return top

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(logits, ids), each (rows, 1)."""
        return self.logits, self.ids


class _Kept:
    """The `num_kept` largest logits of each row."""

    def __init__(self, num_kept: int) -> None:
        self.num_kept = num_kept
        self.logits: list[torch.Tensor] = []
        self.ids: list[torch.Tensor] = []

    def take(self, logits: torch.Tensor, start: int) -> torch.Tensor:
        """As `_Largest.take`."""
        largest, ids = logits.topk(min(self.num_kept, logits.shape[1]), dim=1, sorted=False)
        self.logits.append(largest)
        self.ids.append(ids + start)
        return largest.amax(dim=1, keepdim=True)

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(logits, ids), each (rows, kept), descending."""
        found = torch.cat(self.logits, dim=1)
        logits, places = torch.topk(found, min(self.num_kept, found.shape[1]), dim=1)
        return logits, torch.cat(self.ids, dim=1).gather(1, places)
