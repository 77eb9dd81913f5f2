"""Attention over a prefix that all rows share plus a cache of each row's own tokens.

Few-shot prompts repeat the same few hundred tokens in every row. Here their keys and values exist once, are computed once,
and enter each step as one matrix product over all rows; a row's own keys and values lie in a preallocated slot and are
written in place. transformers calls `attend` through its attention interface, so any architecture that uses the interface
(Gemma, Llama, Qwen …) works, grouped-query heads and sliding windows included.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface

NAME = "cai_shared_prefix"
"""Not registered as a mask function, so transformers builds no mask: positions alone decide what is seen."""


class SlotCache:
    """Keys and values: one shared prefix, and `num_slots` rows of up to `capacity` own tokens each.

    Key j of a row stands at position `prefix_length + j`. A row may look at every key whose position is not above the
    query's, so what lies behind a row's end (padding, an earlier tenant) is never seen.
    """

    def __init__(self, num_layers: int, prefix_length: int = 0) -> None:
        self.prefix: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * num_layers
        self.rows: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * num_layers
        self.prefix_length = prefix_length
        self.num_slots = 0
        self.capacity = 0
        self.slots = torch.empty(0, dtype=torch.long)
        self.starts = torch.empty(0, dtype=torch.long)
        self.positions = torch.empty(0, 0, dtype=torch.long)
        self.visible = 0
        self.fresh = True
        self._unseen: dict[tuple[int, int | None], torch.Tensor] = {}

    def reserve(self, num_slots: int, capacity: int) -> None:
        """Make room for rows; what rows held before is dropped, the prefix stays."""
        self.rows = [None] * len(self.rows)
        self.num_slots, self.capacity = num_slots, capacity

    def begin(self, slots: torch.Tensor, starts: torch.Tensor, width: int) -> torch.Tensor:
        """Announce a forward pass over `width` tokens for each of `slots`, the first at `starts` (own-token offsets).

        Either a prefill (all starts 0, any slots), or one decoding step (width 1, slots 0 … n−1). Returns the position
        ids, (rows, width).
        """
        self.fresh = not bool(starts.any())
        self.slots, self.starts = slots, starts
        offsets = starts[:, None] + torch.arange(width, device=starts.device)
        self.positions = offsets + self.prefix_length
        self.visible = int(offsets.max()) + 1
        self._unseen.clear()
        return self.positions

    def unseen(self, num_keys: int, window: int | None) -> torch.Tensor:
        """Which of the first `num_keys` keys (prefix, then own) a query may not look at, bool (rows, 1, 1, width, keys);
        `window` is a sliding window in tokens. Made once a forward pass, since most layers ask for the same."""
        if (num_keys, window) not in self._unseen:
            keys = torch.arange(num_keys, device=self.positions.device)
            queries = self.positions[:, None, None, :, None]
            unseen = keys > queries
            if window is not None:
                unseen = unseen | (keys <= queries - window)
            self._unseen[num_keys, window] = unseen
        return self._unseen[num_keys, window]

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store (rows, kv heads, width, dim) at the announced place; returns all own keys and values of these rows."""
        held = self.rows[layer]
        if held is None:
            shape = (self.num_slots, keys.shape[1], self.capacity, keys.shape[3])
            held = (keys.new_zeros(shape), values.new_zeros(shape))
            self.rows[layer] = held
        width = keys.shape[2]
        if self.fresh:
            for store, new in zip(held, (keys, values), strict=True):
                store[self.slots, :, :width] = new
            return keys, values
        for store, new in zip(held, (keys, values), strict=True):
            store[self.slots, :, self.starts] = new[:, :, 0]
        num_rows = len(self.slots)
        return held[0][:num_rows, :, : self.visible], held[1][:num_rows, :, : self.visible]

    def move(self, source: int, target: int) -> None:
        """Copy a row's keys and values to another slot."""
        for held in self.rows:
            if held is not None:
                held[0][target].copy_(held[0][source])
                held[1][target].copy_(held[1][source])


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    slot_cache: SlotCache,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention; query (rows, heads, width, dim), key and value (rows, kv heads, width, dim).

    Returns (rows, width, heads, dim), as transformers' attention functions do.
    """
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    rows, heads, width, dim = query.shape
    kv_heads = key.shape[1]
    group = heads // kv_heads
    own_keys, own_values = slot_cache.write(layer, key, value)
    grouped = query.reshape(rows, kv_heads, group * width, dim)
    scores = torch.matmul(grouped, own_keys.transpose(2, 3))
    prefix = slot_cache.prefix[layer]
    length = 0 if prefix is None else prefix[0].shape[1]
    if prefix is not None:
        flat = grouped.transpose(0, 1).reshape(kv_heads, rows * group * width, dim)
        shared = torch.matmul(flat, prefix[0].transpose(1, 2)).view(kv_heads, rows, group * width, length)
        scores = torch.cat([shared.transpose(0, 1), scores], dim=3)
    scores = scores * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    unseen = slot_cache.unseen(length + own_keys.shape[2], sliding_window)
    scores = scores.view(rows, kv_heads, group, width, -1).masked_fill_(unseen, float("-inf"))
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype).view(rows, kv_heads, group * width, -1)
    output = torch.matmul(weights[..., length:], own_values)
    if prefix is not None:
        flat = weights[..., :length].transpose(0, 1).reshape(kv_heads, rows * group * width, length)
        shared = torch.matmul(flat, prefix[1]).view(kv_heads, rows, group * width, dim)
        output = output + shared.transpose(0, 1)
    return output.view(rows, kv_heads * group, width, dim).transpose(1, 2), None


AttentionInterface.register(NAME, attend)
