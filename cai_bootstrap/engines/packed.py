"""Frozen weights laid out once for the processor's matrix kernels.

A plain product rearranges its weights in every call, which with few rows costs as much as the product itself. oneDNN keeps a
layout that was made once: on CPUs, 1.5 to 2 times as fast for 8 to 64 rows, and still ahead for a thousand. Its operators
are those that torch.compile uses for frozen models. They are private, so tests hold them against plain products.
"""

from __future__ import annotations

from typing import Any

import torch

_OPS = torch.ops.mkldnn


def is_supported(weight: torch.Tensor) -> bool:
    """Whether `weight` can be packed: fp32, on a CPU for which torch was built with oneDNN."""
    there = weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there and hasattr(_OPS, "_reorder_linear_weight") and hasattr(_OPS, "_linear_pointwise")


def pack(weight: torch.Tensor) -> torch.Tensor:
    """A weight (outputs, inputs) in the kernels' own layout: an opaque tensor for `multiply`, with rows of the same dtype."""
    packed: torch.Tensor = _OPS._reorder_linear_weight(weight.detach().contiguous(), None)
    return packed


def multiply(rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """rows (…, inputs) @ weightᵀ + bias, without a gradient."""
    product: torch.Tensor = _OPS._linear_pointwise(rows.contiguous(), packed, bias, "none", [], "")
    return product


class PackedLinear(torch.nn.Module):
    """A frozen `torch.nn.Linear`. Its plain weights are let go, so it takes no more memory than before."""

    def __init__(self, layer: torch.nn.Linear, *, differentiable: bool) -> None:
        """`differentiable` keeps a second, transposed copy, for gradients of the input."""
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        bias: torch.Tensor | None = getattr(layer, "bias", None)  # its type says that there always is one
        self.bias = None if bias is None else bias.detach()
        self.packed = pack(layer.weight)
        self.transposed = pack(layer.weight.T) if differentiable else None

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """As the plain layer: (…, in_features) to (…, out_features)."""
        if not (torch.is_grad_enabled() and rows.requires_grad):
            return multiply(rows, self.packed, self.bias)
        assert self.transposed is not None, "packed without its transposed copy"
        product: torch.Tensor = _Product.apply(rows, self.packed, self.transposed, self.bias)  # type: ignore[no-untyped-call]
        return product


class _Product(torch.autograd.Function):
    """A product that is differentiable in its rows only: the weights are frozen."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, packed: torch.Tensor, transposed: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.transposed = transposed  # an opaque tensor, which save_for_backward does not take
        return multiply(rows, packed, bias)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return multiply(grads[0], ctx.transposed), None, None, None


def pack_layers(model: torch.nn.Module, keep: torch.nn.Module | None, *, differentiable: bool) -> int:
    """Pack every frozen linear layer but `keep` in place; returns how many. Layers of other kinds (quantized) stay."""
    count = 0
    for part in list(model.modules()):
        for name, layer in list(part.named_children()):
            frozen = type(layer) is torch.nn.Linear and not layer.weight.requires_grad and is_supported(layer.weight)
            if frozen and layer is not keep:
                setattr(part, name, PackedLinear(layer, differentiable=differentiable))  # type: ignore[arg-type]
                count += 1
    return count
