"""In which order pairs are trained: fixed by the seed alone, so that a resumed run sees the batches that follow."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

_BATCHES_PER_WINDOW = 8
"""Lengths are alike within a batch, and random over a window of so many batches: a quarter less padding, same mix."""


def num_steps(num_pairs: int, num_epochs: float, batch_size: int) -> int:
    """Optimizer steps of a run, the last one perhaps on fewer pairs."""
    return math.ceil(_num_samples(num_pairs, num_epochs) / batch_size)


def micro_batches(
    lengths: Sequence[int], groups: Sequence[str], *, num_epochs: float, batch_size: int, micro_batch_size: int, seed: int
) -> list[list[int]]:
    """Indices of the pairs of each forward pass, all epochs in one list.

    Each epoch is a new permutation. `batch_size // micro_batch_size` entries make an optimizer step; only the last
    step may have fewer pairs. `lengths` are in tokens. Pairs of one group, which is not empty, stay side by side, so that they
    meet in one step unless its end falls between them.
    """
    rng = random.Random(seed)
    total = _num_samples(len(lengths), num_epochs)
    members = _members(groups)
    longest = {i: max(lengths[j] for j in together) for together in members for i in together}
    sequence: list[int] = []
    while len(sequence) < total:
        epoch = list(members)
        rng.shuffle(epoch)
        sequence += [i for together in epoch for i in together]
    window = batch_size * _BATCHES_PER_WINDOW
    batches: list[list[int]] = []
    for start in range(0, total, window):
        part = sequence[start : min(start + window, total)]
        num_left_over = len(part) % batch_size
        rest = part[len(part) - num_left_over :]
        part = sorted(part[: len(part) - num_left_over], key=longest.__getitem__)  # stable: ties keep their shuffle
        cut = [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
        rng.shuffle(cut)
        batches += [*cut, sorted(rest, key=longest.__getitem__)] if rest else cut
    return [batch[i : i + micro_batch_size] for batch in batches for i in range(0, len(batch), micro_batch_size)]


def shares(
    micro_batches: Sequence[list[int]], *, per_step: int, rank: int, num_processes: int
) -> list[tuple[list[int], float]]:
    """Of each optimizer step's `per_step` micro-batches those of process `rank`, each with the weight of its loss.

    The processes take them in turn. In a last step that does not go round, who has none left computes one pair for nothing,
    since all meet in every pass, and the others weigh more: the mean over processes and passes, which is what is trained, is
    always the mean over the step's micro-batches.
    """
    found: list[tuple[list[int], float]] = []
    for start in range(0, len(micro_batches), per_step):
        step = micro_batches[start : start + per_step]
        num_passes = math.ceil(len(step) / num_processes)
        for index in range(rank, num_passes * num_processes, num_processes):
            real = index < len(step)
            found.append((step[index], num_processes * num_passes / len(step)) if real else (step[0][:1], 0.0))
    return found


def _members(groups: Sequence[str]) -> list[list[int]]:
    """The indices that belong together, in the order in which they come first."""
    found: dict[str | int, list[int]] = {}
    for index, group in enumerate(groups):
        found.setdefault(group or index, []).append(index)
    return list(found.values())


def _num_samples(num_pairs: int, num_epochs: float) -> int:
    return max(1, round(num_pairs * num_epochs))
