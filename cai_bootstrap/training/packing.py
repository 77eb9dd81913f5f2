"""A pair as one sequence: the prompt once, then the chosen and the rejected response, which never see each other.

TRL runs a pair as two sequences, each with the prompt in front and padded to the longer one. Here the prompt's work is
done once and little is padded. Position ids go on from the prompt for either response, so every token sees exactly what
it sees in its own sequence. transformers calls `attend` through its attention interface.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface

from cai_bootstrap.errors import StepFailed

NAME = "cai_packed_pairs"
"""Not registered as a mask function, so transformers builds no mask: `PackedPairs` makes its own."""
_PROMPT, PADDING = 0, 3
"""Parts of a pair: 0 the prompt, 1 the chosen response, 2 the rejected one, 3 nothing."""


@dataclass(frozen=True)
class PackedPairs:
    """A batch of pairs; all tensors but `rows` are (pairs, width)."""

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    parts: torch.Tensor
    """Which part of its pair a token belongs to."""
    rows: torch.Tensor
    """Where, in the flattened batch, the hidden state lies that predicts each label: in the order of the labels."""
    _masks: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def mask(self, window: int | None) -> torch.Tensor:
        """What each token sees, bool (pairs, 1, width, width); `window` is a sliding window in tokens."""
        if window not in self._masks:
            own = self.parts[:, :, None] == self.parts[:, None, :]
            width = self.parts.shape[1]
            earlier = torch.ones(width, width, dtype=torch.bool, device=self.parts.device).tril()
            seen = (own | (self.parts[:, None, :] == _PROMPT)) & earlier
            if window is not None:
                seen &= self.position_ids[:, :, None] - self.position_ids[:, None, :] < window
            self._masks[window] = seen[:, None]
        return self._masks[window]


def response_labels(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """What a collated batch trains: its ids, −100 on prompts and padding."""
    return batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)


def pack(input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> PackedPairs:
    """A batch in TRL's layout, packed: first the chosen sequences, then the rejected ones in the same order.

    `labels` are −100 on the prompt and on padding. Of two equal responses there is one. Raises StepFailed when the two sides
    of a pair differ in their prompts.
    """
    num_pairs = len(input_ids) // 2
    ends = attention_mask.sum(1).tolist()
    prompts = (labels != -100).long().argmax(1).tolist()
    texts = input_ids.tolist()
    packed: list[list[int]] = []
    positions: list[list[int]] = []
    parts: list[list[int]] = []
    equal = [False] * num_pairs
    for chosen, rejected in zip(range(num_pairs), range(num_pairs, 2 * num_pairs), strict=True):
        start = prompts[chosen]
        if prompts[rejected] != start or texts[chosen][:start] != texts[rejected][:start]:
            raise StepFailed("a training batch is not sound: chosen and rejected have different prompts")
        own = texts[rejected][start : ends[rejected]]
        equal[chosen] = own == texts[chosen][start : ends[chosen]]
        own = [] if equal[chosen] else own
        packed.append(texts[chosen][: ends[chosen]] + own)
        positions.append([*range(ends[chosen]), *range(start, start + len(own))])
        sizes = (start, ends[chosen] - start, len(own))
        parts.append([part for part, size in enumerate(sizes) for _ in range(size)])
    width = max(map(len, packed))
    # The label at position t is predicted by the hidden state of the token before it.
    pairs, tokens = (labels[:, 1:] != -100).nonzero(as_tuple=True)
    rows = []
    for sequence, token in zip(pairs.tolist(), tokens.tolist(), strict=True):
        pair, start = sequence % num_pairs, prompts[sequence]
        shift = ends[pair] - start if sequence >= num_pairs and token >= start and not equal[pair] else 0
        rows.append(pair * width + token + shift)

    def padded(lists: list[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([[*row, *[fill] * (width - len(row))] for row in lists], device=input_ids.device)

    return PackedPairs(
        input_ids=padded(packed, 0),
        position_ids=padded(positions, 0),
        parts=padded(parts, PADDING),
        rows=torch.tensor(rows, dtype=torch.long, device=input_ids.device),
    )


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    packed_pairs: PackedPairs,
    sliding_window: int | None = None,
    softcap: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention; query (pairs, heads, width, dim), key and value (pairs, kv heads, width, dim).

    Returns (pairs, width, heads, dim), as transformers' attention functions do.
    """
    mask = packed_pairs.mask(sliding_window)
    if softcap is None:
        output = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scaling, dropout_p=dropout, enable_gqa=query.shape[1] != key.shape[1]
        )
    else:
        group = query.shape[1] // key.shape[1]
        keys, values = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        scores = torch.tanh(query @ keys.transpose(2, 3) * (scaling / softcap)) * softcap
        weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1, dtype=torch.float32).to(query.dtype)
        output = torch.dropout(weights, dropout, dropout > 0) @ values
    return output.transpose(1, 2), None


AttentionInterface.register(NAME, attend)
