"""A pair as one sequence: the prompt once, then the chosen and the rejected response, which never see each other.

TRL runs a pair as two sequences, each with the prompt in front and padded to the longer one. Here the prompt's work is
done once and nothing is padded: a batch is one sequence of blocks, which never see each other either. Two neighbours whose
prompts begin alike, as those of a group do, lie in one block, with what they share computed once. Position ids go on from the
prompt for either response, so every token sees exactly what it sees in its own sequence. transformers calls `attend` through
its attention interface.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface

from cai_bootstrap.errors import StepFailed

NAME = "cai_packed_pairs"
"""Not registered as a mask function, so transformers builds no mask: `PackedPairs` makes its own."""
_SHARED = 0
"""Parts of a block: 0 what its pairs' prompts begin with, 1 and 4 the rest of either prompt, 2 and 5 the chosen responses, 3
and 6 the rejected ones. A pair that has a block to itself has parts 0, 2 and 3."""
_SEES = torch.eye(7, dtype=torch.bool)
_SEES[:, _SHARED] = True
_SEES[[2, 3], 1] = True
_SEES[[5, 6], 4] = True
_MIN_SHARED = 4
"""Tokens; for fewer a longer block is not worth its attention."""


@dataclass(frozen=True)
class Pair:
    """Where a pair lies: its prompt, chosen and rejected response in this order, as places in the sequence."""

    places: torch.Tensor
    sizes: tuple[int, int, int]


@dataclass(frozen=True)
class PackedPairs:
    """A batch of pairs as one sequence."""

    input_ids: torch.Tensor
    """(1, tokens), as are the position ids."""
    position_ids: torch.Tensor
    parts: torch.Tensor
    """Which part of its block each token belongs to."""
    blocks: list[slice]
    pairs: list[Pair]
    """In the order of the batch."""
    predicting: torch.Tensor
    """Where the hidden state lies that predicts each label: in the order of the labels."""
    _masks: dict[int | None, list[torch.Tensor]] = field(default_factory=dict)

    def masks(self, window: int | None) -> list[torch.Tensor]:
        """Of each block what its tokens see, bool (size, size); `window` is a sliding window in tokens."""
        if window not in self._masks:
            self._masks[window] = [self._mask(block, window) for block in self.blocks]
        return self._masks[window]

    def _mask(self, block: slice, window: int | None) -> torch.Tensor:
        parts, positions = self.parts[block], self.position_ids[0, block]
        seen = _SEES.to(parts.device)[parts[:, None], parts[None]].tril()
        if window is not None:
            seen &= positions[:, None] - positions[None] < window
        return seen


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
    starts = (labels != -100).long().argmax(1).tolist()
    texts = input_ids.tolist()
    parted: list[tuple[list[int], list[int], list[int]]] = []
    for chosen, rejected in zip(range(num_pairs), range(num_pairs, 2 * num_pairs), strict=True):
        start = starts[chosen]
        prompt, first = texts[chosen][:start], texts[chosen][start : ends[chosen]]
        if starts[rejected] != start or texts[rejected][:start] != prompt:
            raise StepFailed("a training batch is not sound: chosen and rejected have different prompts")
        second = texts[rejected][start : ends[rejected]]
        parted.append((prompt, first, [] if first == second else second))
    blocks = _blocks(parted)
    offsets = [0, *itertools.accumulate(len(block.ids) for block in blocks)]

    def sequence(lists: Iterable[list[int]]) -> torch.Tensor:
        return torch.tensor(list(itertools.chain.from_iterable(lists)), dtype=torch.long, device=input_ids.device)

    places = [
        ([offset + column for column in columns], sizes)
        for offset, block in zip(offsets, blocks, strict=False)
        for columns, sizes in block.pairs
    ]
    # The label at position t is predicted by the hidden state of the token before it.
    sequences, tokens = (labels[:, 1:] != -100).nonzero(as_tuple=True)
    predicting = []
    for index, token in zip(sequences.tolist(), tokens.tolist(), strict=True):
        own, (prompt_size, chosen_size, rejected_size) = places[index % num_pairs]
        behind_chosen = index >= num_pairs and token >= prompt_size and rejected_size > 0
        predicting.append(own[token + chosen_size * behind_chosen])
    return PackedPairs(
        input_ids=sequence(block.ids for block in blocks)[None],
        position_ids=sequence(block.positions for block in blocks)[None],
        parts=sequence(block.parts for block in blocks),
        blocks=[slice(*ends) for ends in itertools.pairwise(offsets)],
        pairs=[Pair(sequence([own]), sizes) for own, sizes in places],
        predicting=sequence([predicting]),
    )


@dataclass
class _Block:
    ids: list[int]
    positions: list[int]
    parts: list[int]
    pairs: list[tuple[list[int], tuple[int, int, int]]]
    """Of each pair the columns of its tokens, and its sizes."""

    def add(self, pair: tuple[list[int], list[int], list[int]], num_shared: int) -> None:
        """A pair behind what there is, without the tokens that it shares with it."""
        prompt, chosen, rejected = pair
        first_part = 3 * len(self.pairs) + 1
        here = len(self.ids) - num_shared
        own = [*prompt[num_shared:], *chosen, *rejected]
        self.ids += own
        after = range(len(prompt), len(prompt) + max(len(chosen), len(rejected)))
        self.positions += [*range(num_shared, len(prompt)), *after[: len(chosen)], *after[: len(rejected)]]
        for part, size in enumerate((len(prompt) - num_shared, len(chosen), len(rejected)), first_part):
            self.parts += [part] * size
        columns = [*range(num_shared), *range(here + num_shared, here + num_shared + len(own))]
        self.pairs.append((columns, (len(prompt), len(chosen), len(rejected))))


def _blocks(pairs: list[tuple[list[int], list[int], list[int]]]) -> list[_Block]:
    """The pairs in their order, two neighbours in one block where their prompts share `_MIN_SHARED` first tokens or more."""
    blocks: list[_Block] = []
    index = 0
    while index < len(pairs):
        together = pairs[index : index + 2]
        prompts = [prompt for prompt, _, _ in together]
        num_shared = _num_shared(*prompts) if len(prompts) == 2 else 0
        if num_shared < _MIN_SHARED:
            together, num_shared = together[:1], len(prompts[0])
        shared = prompts[0][:num_shared]
        block = _Block(list(shared), list(range(num_shared)), [_SHARED] * num_shared, [])
        for pair in together:
            block.add(pair, num_shared)
        blocks.append(block)
        index += len(together)
    return blocks


def _num_shared(one: list[int], other: list[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


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
    """Scaled dot-product attention in each block; query (1, heads, tokens, dim), key and value (1, kv heads, tokens, dim).

    Returns (1, tokens, heads, dim), as transformers' attention functions do.
    """
    group = query.shape[1] // key.shape[1]
    outputs = []
    for block, mask in zip(packed_pairs.blocks, packed_pairs.masks(sliding_window), strict=True):
        queries, keys, values = query[:, :, block], key[:, :, block], value[:, :, block]
        if softcap is None:
            output = torch.nn.functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, scale=scaling, dropout_p=dropout, enable_gqa=group != 1
            )
        else:
            keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
            scores = torch.tanh(queries @ keys.transpose(2, 3) * (scaling / softcap)) * softcap
            weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1, dtype=torch.float32).to(query.dtype)
            output = torch.dropout(weights, dropout, dropout > 0) @ values
        outputs.append(output)
    return torch.cat(outputs, dim=2).transpose(1, 2), None


AttentionInterface.register(NAME, attend)
