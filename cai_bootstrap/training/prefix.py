"""What frozen lower layers make of each pair, computed once: all epochs start where the adapter does.

Layers below the first one with an adapter give a pair the same hidden states in every pass, with and without the adapter.
What a pair's tokens are there is kept, and training and reference read it instead of computing it again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

from cai_bootstrap.errors import StepFailed, UserError
from cai_bootstrap.training.packing import PackedPairs


def num_frozen(model: PreTrainedModel, share: float) -> int:
    """How many layers, from below, `share` of a model's layers are."""
    num_layers: int = model.config.get_text_config().num_hidden_layers
    return round(share * num_layers)


def without_lowest(num_layers: int) -> str:
    """A pattern for the names of everything in the `num_layers` lowest layers: PEFT's `exclude_modules`."""
    return rf"(.*\.)?layers\.({'|'.join(map(str, range(num_layers)))})\..*"


class _Kept(torch.nn.Module):
    """Stands in for all layers above: keeps what reaches it."""

    hidden: torch.Tensor

    def forward(self, hidden_states: torch.Tensor, **_: Any) -> torch.Tensor:
        self.hidden = hidden_states
        return hidden_states


class _Passed(torch.nn.Module):
    """Stands in for a frozen layer whose result is known: gives on what it gets."""

    def forward(self, hidden_states: torch.Tensor, **_: Any) -> torch.Tensor:
        return hidden_states


class FrozenPrefix:
    """The layers of `model` below its first trained weight, and what they made of the pairs that were computed."""

    def __init__(self, model: PreTrainedModel) -> None:
        """`model` is the one inside the PEFT wrapper. Raises UserError when its layers cannot be told."""
        layers = getattr(model.base_model, "layers", None)
        if not isinstance(layers, torch.nn.ModuleList):
            raise UserError(
                f"the layers of model type {model.config.model_type!r} are not known: write train.lora.frozen_share=0"
            )
        self._decoder: Any = model.base_model
        self._layers = layers
        self.num_layers = next((i for i, layer in enumerate(layers) if _is_trained(layer)), len(layers))
        self._hidden: dict[bytes, torch.Tensor] = {}

    @property
    def is_computed(self) -> bool:
        """Whether anything was computed or loaded: then everything that is looked up must have been."""
        return bool(self._hidden)

    @torch.no_grad()
    def compute(self, packed: PackedPairs) -> list[torch.Tensor]:
        """Each pair's hidden states (tokens, hidden) in front of the first trained layer; keeps them."""
        kept = _Kept()
        with self._replaced([*self._layers[: self.num_layers], kept]):
            self._decoder(input_ids=packed.input_ids, position_ids=packed.position_ids, use_cache=False, packed_pairs=packed)
        found = [kept.hidden[0, pair.places] for pair in packed.pairs]
        self.keep(packed, found)
        return found

    def keep(self, packed: PackedPairs, hidden: list[torch.Tensor]) -> None:
        """Take `hidden`, in the order of the pairs, as what `compute` would return."""
        self._hidden.update(zip(_keys(packed), hidden, strict=True))

    def look_up(self, packed: PackedPairs) -> torch.Tensor:
        """The hidden states of a batch, (1, tokens, hidden). Raises StepFailed for a pair never computed."""
        keys = _keys(packed)
        if not all(key in self._hidden for key in keys):
            raise StepFailed("a pair is trained whose hidden states of the frozen layers were not computed")
        kept = self._hidden[keys[0]]
        found = kept.new_empty(packed.input_ids.shape[1], kept.shape[1], device=packed.input_ids.device)
        for key, pair in zip(keys, packed.pairs, strict=True):
            found[pair.places] = self._hidden[key].to(found.device)
        return found[None]

    @contextlib.contextmanager
    def skipped(self) -> Iterator[None]:
        """Within, the model begins with its first trained layer, and takes looked up states as its embeddings."""
        passed: list[torch.nn.Module] = [_Passed() for _ in range(self.num_layers)]
        # The places stay: a layer's kind of attention is told by its index.
        with self._replaced([*passed, *self._layers[self.num_layers :]]):
            yield

    @contextlib.contextmanager
    def _replaced(self, layers: list[torch.nn.Module]) -> Iterator[None]:
        self._decoder.layers = torch.nn.ModuleList(layers)
        try:
            yield
        finally:
            self._decoder.layers = self._layers


def _is_trained(layer: torch.nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in layer.parameters())


def _keys(packed: PackedPairs) -> list[bytes]:
    """What tells each pair of a batch from others, whatever it lies beside."""
    return [packed.input_ids[0, pair.places].cpu().numpy().tobytes() + repr(pair.sizes).encode() for pair in packed.pairs]
