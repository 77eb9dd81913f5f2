"""A frozen model's layers under an adapter, in fewer passes over the memory than autograd takes: the same formulas.

On a CPU a third of a training step goes into what stands around the large products: sums and scalings as large as the states
themselves, each read and written once more. Here a norm and an adapted product each have their gradient written out, and the
last layer is computed only where its states are read. Tests hold all of it against the plain layers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora import Linear
from transformers import PreTrainedModel

from cai_bootstrap.engines.packed import PackedLinear, multiply

_ADAPTER = "default"
_NORM_TOLERANCE = 1e-5
"""Of a replaced norm's values from its own: rounding."""


class _RmsNorm(torch.autograd.Function):
    """x · w / √(mean x² + ε) (Zhang and Sennrich 2019, arXiv:1910.07467), differentiable in x only."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        scale = (torch.linalg.vecdot(rows, rows) / rows.shape[-1] + eps).rsqrt_()[..., None]
        ctx.save_for_backward(rows, weight, scale)
        normed: torch.Tensor = rows * scale
        return normed.mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight, scale = ctx.saved_tensors
        # With g = dL/dy · w: dL/dx = g/σ − x (g·x)/(n σ³).
        pulled = grads[0] * weight
        along = torch.linalg.vecdot(pulled, rows)[..., None] * scale**3 / -rows.shape[-1]
        return pulled.mul_(scale).addcmul_(rows, along), None, None


class FusedRmsNorm(torch.nn.Module):
    """A frozen root-mean-square norm, whether its model multiplies by its weight or by one more than that."""

    def __init__(self, weight: torch.Tensor, eps: float) -> None:
        """`weight` is what a row is multiplied by."""
        super().__init__()
        self.weight, self.eps = weight, eps

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """As the plain norm: (…, size) to (…, size)."""
        normed: torch.Tensor = _RmsNorm.apply(rows, self.weight, self.eps)  # type: ignore[no-untyped-call]
        return normed


def _fused_norm(norm: torch.nn.Module) -> FusedRmsNorm | None:
    """The same norm, fused; None for what is no frozen fp32 norm on a CPU."""
    weight, eps = getattr(norm, "weight", None), getattr(norm, "eps", getattr(norm, "variance_epsilon", None))
    if not type(norm).__name__.endswith("RMSNorm") or not isinstance(weight, torch.Tensor) or not isinstance(eps, float):
        return None
    if weight.requires_grad or weight.device.type != "cpu" or weight.dtype != torch.float32 or weight.dim() != 1:
        return None
    with torch.no_grad():
        fused = FusedRmsNorm(norm(torch.ones_like(weight)) * math.sqrt(1 + eps), eps)
        probe = torch.linspace(-2, 3, len(weight))
        same = torch.allclose(fused(probe), norm(probe), rtol=_NORM_TOLERANCE, atol=_NORM_TOLERANCE)
    return fused if same else None


class _AdaptedProduct(torch.autograd.Function):
    """x Wᵀ + b + s (x Aᵀ) Bᵀ, differentiable in x, A and B (LoRA: Hu et al. 2021, arXiv:2106.09685)."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, down: torch.Tensor, up: torch.Tensor, scaling: float, layer: PackedLinear
    ) -> torch.Tensor:
        flat = rows.reshape(-1, rows.shape[-1])
        low = flat @ down.T
        ctx.save_for_backward(flat, low, down, up)
        ctx.scaling, ctx.layer = scaling, layer
        product = multiply(flat, layer.packed, layer.bias).addmm_(low, up.T, alpha=scaling)
        return product.view(*rows.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, low, down, up = ctx.saved_tensors
        grad = grads[0].reshape(-1, grads[0].shape[-1])
        of_low = (grad @ up).mul_(ctx.scaling)
        of_up = (grad.T @ low).mul_(ctx.scaling)
        of_rows = None
        if ctx.needs_input_grad[0]:
            of_rows = multiply(grad, ctx.layer.transposed).addmm_(of_low, down).view(*grads[0].shape[:-1], -1)
        return of_rows, of_low.T @ flat, of_up, None, None


def _adapted(layer: Linear, plain: Callable[..., torch.Tensor], rows: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """What `plain`, PEFT's own forward, gives; by it, where anything but one adapter on a packed layer is asked for."""
    down = layer.lora_A[_ADAPTER].weight
    fits = type(layer.base_layer) is PackedLinear and rows.dtype == down.dtype and type(down) is torch.nn.Parameter
    if not fits or layer.disable_adapters or layer.merged or layer.active_adapters != [_ADAPTER] or args or kwargs:
        return plain(rows, *args, **kwargs)
    up, scaling = layer.lora_B[_ADAPTER].weight, layer.scaling[_ADAPTER]
    product: torch.Tensor = _AdaptedProduct.apply(rows, down, up, scaling, layer.base_layer)  # type: ignore[no-untyped-call]
    return product


class ReadPlaces:
    """Where the last layer's states are read, as indices into the flattened batch; None for everywhere."""

    places: torch.Tensor | None = None


def _where_read(read: ReadPlaces, plain: Callable[..., torch.Tensor], states: torch.Tensor) -> torch.Tensor:
    """`plain`, which takes each position by itself, at the places that are read; zero elsewhere."""
    if read.places is None:
        return plain(states)
    found = plain(states.flatten(0, 1)[read.places])
    whole = found.new_zeros(states.shape[0] * states.shape[1], found.shape[-1])
    return whole.index_copy(0, read.places, found).view(*states.shape[:2], -1)


def fuse(model: PreTrainedModel) -> ReadPlaces:
    """Take the fused forms wherever they fit `model`, which is the one inside the PEFT wrapper, its layers packed."""
    for part in list(model.modules()):
        for name, layer in list(part.named_children()):
            if (norm := _fused_norm(layer)) is not None:
                setattr(part, name, norm)
        if isinstance(part, Linear) and _is_vanilla(part):
            _replace_forward(part, functools.partial(_adapted, part))
    read = ReadPlaces()
    layers = getattr(model.base_model, "layers", None)
    last: Any = layers[-1] if isinstance(layers, torch.nn.ModuleList) else None
    # Keys and values are seen from everywhere; all else of a layer concerns its own position.
    attention = getattr(last, "self_attn", None)
    for own in (getattr(attention, "q_proj", None), getattr(attention, "o_proj", None), getattr(last, "mlp", None)):
        if isinstance(own, torch.nn.Module):
            _replace_forward(own, functools.partial(_where_read, read))
    return read


def _replace_forward(part: torch.nn.Module, replacement: Callable[..., torch.Tensor]) -> None:
    """`replacement` is given the forward that it replaces. The module stays, and with it the names of its weights."""
    part.forward = functools.partial(replacement, part.forward)


def _is_vanilla(layer: Linear) -> bool:
    plain_dropout = _ADAPTER in layer.lora_dropout and isinstance(layer.lora_dropout[_ADAPTER], torch.nn.Identity)
    return plain_dropout and _ADAPTER not in layer.lora_variant and layer.lora_B[_ADAPTER].bias is None
