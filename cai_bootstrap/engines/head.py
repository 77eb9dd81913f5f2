"""The output layer, read in tiles of the vocabulary: likeliest tokens and log-probabilities without a table of logits.

For a small model the table is most of a step's memory traffic: 64 rows of Gemma's 262,144 logits are 64 MiB, which would be
written, and read again for the normaliser and for each choice. A tile stays in the cache, and is dropped when its largest
entries and its share of the normaliser are taken.

Where the processor multiplies bf16 natively, twice as fast as fp32, the next token is chosen in two passes: one in bf16, whose
logits are kept in two bytes each, finds which entries can be the largest, and these are computed anew in fp32. So tokens and
their logits are those of fp32, and of the normaliser only what rounding does to the small entries is left (Gemma 3 270M:
0.0014 nats, root mean square).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from cai_bootstrap.engines import measure, packed

_TILE_TOKENS = 16384
"""4 MiB of fp32 logits for 64 rows."""

_BLOCK = 32
"""Neighbouring tokens of which only the largest rounded logit is looked at first."""
_SPARE = 64
"""Entries computed anew beyond those that are kept: one is missed only where that many lie within rounding of it."""

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

    def __init__(self, model: PreTrainedModel, *, differentiable: bool = False, rounded: bool = False) -> None:
        """`differentiable` makes ready for `pull` as well. `rounded` packs weights in bf16, for products in it."""
        head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        self.weight: torch.Tensor = head.weight.detach()
        self.bias: torch.Tensor | None = None if getattr(head, "bias", None) is None else head.bias.detach()
        self.softcap: float | None = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        self.is_packed = packed.is_supported(self.weight)
        self.is_rounded = self.is_packed and rounded
        """Whether `tiles` and `pull` multiply in bf16."""
        self._tiles: list[_Tile] = []
        self._scout: list[torch.Tensor] = []
        """The tiles in bf16 for the first of two passes; none where there is one pass."""
        has_scout = self.is_packed and not differentiable and self.bias is None and measure.has_fast_bf16()
        # One tile on a GPU, where many small products are slow.
        self.tile_tokens = size = _TILE_TOKENS if self.weight.device.type == "cpu" else len(self.weight)
        for start in range(0, len(self.weight), size):
            part, bias = self.weight[start : start + size], None if self.bias is None else self.bias[start : start + size]
            kept = part.bfloat16() if self.is_rounded else part
            transposed = packed.pack(kept.T) if self.is_packed and differentiable else None
            weight = packed.pack(kept) if self.is_packed else kept
            self._tiles.append(_Tile(start, weight, bias, self.is_packed, transposed))
            if has_scout:
                self._scout.append(packed.pack(part.bfloat16()))

    @property
    def num_passes(self) -> int:
        """Over the vocabulary for a token: 2 where one in bf16 comes first."""
        return 2 if self._scout else 1

    def tiles(self, hidden: torch.Tensor) -> Iterator[tuple[_Tile, torch.Tensor]]:
        """(tile, logits (rows, its tokens) in fp32, soft-capped where the model does that) after last hidden states."""
        for tile in self._tiles:
            if self.is_rounded:
                logits = packed.multiply(hidden.bfloat16(), tile.weight).float()
                logits = logits if tile.bias is None else logits + tile.bias
            elif tile.is_packed:
                logits = packed.multiply(hidden, tile.weight, tile.bias)
            else:
                logits = torch.nn.functional.linear(hidden, tile.weight, tile.bias).float()
            yield tile, self._capped(logits)

    def pull(self, tile: _Tile, weights: torch.Tensor) -> torch.Tensor:
        """weights (rows, tokens of the tile) @ its output weights: (rows, hidden)."""
        if tile.is_packed:
            assert tile.transposed is not None, "made without differentiable=True"
            if self.is_rounded:
                return packed.multiply(weights.bfloat16(), tile.transposed).float()
            return packed.multiply(weights, tile.transposed)
        return weights.to(tile.weight.dtype) @ tile.weight

    def scan(self, hidden: torch.Tensor, num_kept: int) -> Scan:
        """Largest logits and normaliser of the next token after last hidden states (rows, hidden), in two passes if that is
        faster.
        """
        return self._scan_twice(hidden, num_kept) if self._scout else self._scan_once(hidden, num_kept)

    def _scan_once(self, hidden: torch.Tensor, num_kept: int) -> Scan:
        kept = _Largest(hidden) if num_kept == 1 else _Kept(num_kept)
        normalisers = []
        for tile, logits in self.tiles(hidden):
            top = kept.take(logits, tile.start)
            normalisers.append(top[:, 0] + logits.sub_(top).exp_().sum(dim=1).log_())
        logits, ids = kept.result()
        return Scan(torch.stack(normalisers).logsumexp(dim=0), logits, ids)

    def _scan_twice(self, hidden: torch.Tensor, num_kept: int) -> Scan:
        low, vocabulary = hidden.bfloat16(), len(self.weight)
        number = min(num_kept + _SPARE, vocabulary)
        rounded = hidden.new_empty(len(hidden), vocabulary, dtype=torch.bfloat16)
        peaks, normalisers = [], []
        for tile, weight in zip(self._tiles, self._scout, strict=True):
            here = packed.multiply(low, weight)
            rounded[:, tile.start : tile.start + here.shape[1]] = here
            logits = self._capped(here.float())
            peaks.append(_peaks(logits))
            top = peaks[-1].amax(dim=1, keepdim=True)
            normalisers.append(top[:, 0] + logits.sub_(top).exp_().sum(dim=1).log_())
        places = self._near(torch.cat(peaks, dim=1), number)
        values = rounded.gather(1, places.clamp(max=vocabulary - 1)).float().masked_fill_(places >= vocabulary, float("-inf"))
        near, chosen = values.topk(number, dim=1, sorted=False)
        ids = places.gather(1, chosen)
        exact = self.logits_of(hidden, ids)
        # What the first pass gave these entries is taken out of the normaliser, and what they are put in.
        normaliser = torch.stack(normalisers).logsumexp(dim=0)[:, None]
        top = torch.maximum(normaliser, exact.amax(dim=1, keepdim=True))
        rest = (normaliser - top).exp() - (self._capped(near) - top).exp().sum(dim=1, keepdim=True)
        total = rest.clamp_(min=0) + (exact - top).exp().sum(dim=1, keepdim=True)
        logits, order = exact.topk(min(num_kept, vocabulary), dim=1)
        return Scan((top + total.log())[:, 0], logits, ids.gather(1, order))

    def _near(self, peaks: torch.Tensor, number: int) -> torch.Tensor:
        """The tokens of the `number` blocks with the largest peaks, (rows, tokens): the `number` largest are among them.

        What stands behind the end of a tile is marked by a place behind the vocabulary.
        """
        size, vocabulary = self.tile_tokens, len(self.weight)
        each = -(-min(size, vocabulary) // _BLOCK)
        blocks = peaks.topk(min(number, peaks.shape[1]), dim=1, sorted=False).indices
        tile, block = torch.div(blocks, each, rounding_mode="floor")[:, :, None], (blocks % each)[:, :, None]
        inside = block * _BLOCK + torch.arange(_BLOCK, device=peaks.device)
        return torch.where(inside < size, tile * size + inside, vocabulary).flatten(1)

    def _capped(self, logits: torch.Tensor) -> torch.Tensor:
        return logits if not self.softcap else torch.tanh_(logits / self.softcap).mul_(self.softcap)

    def logits_of(self, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The logits of tokens `ids` (rows, n) after last hidden states (rows, hidden): (rows, n) in fp32."""
        logits = torch.einsum("rh,rnh->rn", hidden, self.weight[ids]).float()
        return self._capped(logits if self.bias is None else logits + self.bias[ids])

    def token_logprobs(self, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of tokens `ids` (rows, n) after last hidden states (rows, hidden): (rows, n) in fp32."""
        return self.logits_of(hidden, ids) - self._scan_once(hidden, 1).normaliser[:, None]


def _peaks(logits: torch.Tensor) -> torch.Tensor:
    """The largest of each `_BLOCK` neighbours: (rows, tokens) to (rows, blocks)."""
    short = -logits.shape[1] % _BLOCK
    whole = torch.nn.functional.pad(logits, (0, short), value=float("-inf")) if short else logits
    return whole.view(len(logits), -1, _BLOCK).amax(dim=2)


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
