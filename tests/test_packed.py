"""Packed weights against plain layers."""

from __future__ import annotations

import pytest
import torch

from cai_bootstrap.engines import packed


def _layer(inputs: int, outputs: int, bias: bool) -> torch.nn.Linear:
    torch.manual_seed(inputs + outputs)
    return torch.nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 5), (64,), (3, 70)])
def test_forward_and_backward_are_those_of_the_plain_layer(shape: tuple[int, ...], bias: bool) -> None:
    plain = _layer(48, 80, bias)
    layer = packed.PackedLinear(plain, differentiable=True)
    rows = torch.randn(*shape, 48)
    results = []
    for one in (plain, layer):
        given = rows.clone().requires_grad_()
        output = one(given)
        (output**2).sum().backward()
        assert given.grad is not None
        results.append((output.detach(), given.grad))
    assert results[1][0].shape == (*shape, 80)
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(layer(rows), results[0][0], rtol=1e-5, atol=1e-5)


def test_rows_that_do_not_lie_together_give_the_same() -> None:
    plain = _layer(48, 80, False)
    layer = packed.PackedLinear(plain, differentiable=False)
    rows = torch.randn(7, 96)[:, ::2]
    assert not rows.is_contiguous()
    with torch.inference_mode():
        torch.testing.assert_close(layer(rows), plain(rows), rtol=1e-5, atol=1e-5)


def test_only_frozen_plain_layers_are_packed() -> None:
    model = torch.nn.Sequential(_layer(8, 8, False), torch.nn.Linear(8, 8), torch.nn.ReLU(), _layer(8, 4, True))
    kept = model[3]
    assert packed.pack_layers(model, kept, differentiable=False) == 1
    assert isinstance(model[0], packed.PackedLinear)
    assert type(model[1]) is torch.nn.Linear  # it is trained
    assert model[3] is kept


def test_what_cannot_be_packed_stays() -> None:
    assert packed.is_supported(torch.zeros(4, 4))
    assert not packed.is_supported(torch.zeros(4, 4, dtype=torch.bfloat16))
    assert not packed.is_supported(torch.zeros(4, 4, device="meta"))
    model = torch.nn.Sequential(_layer(8, 8, False).to(torch.bfloat16))
    assert packed.pack_layers(model, None, differentiable=False) == 0
