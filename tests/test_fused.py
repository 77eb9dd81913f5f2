"""Fused layers give what the plain ones give, and step back where they do not fit. Losses are held against TRL's elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_training import arguments, rows
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from cai_bootstrap.config import LoraConfig
from cai_bootstrap.training.fused import FusedRmsNorm, _fused_norm
from cai_bootstrap.training.trainer import Training


@pytest.mark.parametrize("kind", [Gemma3RMSNorm, Qwen2RMSNorm])
def test_a_norm_and_its_gradient_are_those_of_the_model(kind: type[torch.nn.Module]) -> None:
    norm = kind(48, eps=1e-4).requires_grad_(False)
    torch.nn.init.normal_(norm.get_parameter("weight"), 0.5)
    fused = _fused_norm(norm)
    assert isinstance(fused, FusedRmsNorm)
    results = []
    for each in (norm, fused):
        states = torch.randn(3, 5, 48, generator=torch.Generator().manual_seed(1), requires_grad=True)
        found = each(states)
        (found * torch.arange(48)).sum().backward()
        results.append((found.detach(), states.grad))
    torch.testing.assert_close(results[1], results[0])


class ShiftedRMSNorm(Qwen2RMSNorm):
    """Called like one, and does something else."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return super().forward(hidden_states) + 1


def test_what_is_no_frozen_norm_stays() -> None:
    assert _fused_norm(Qwen2RMSNorm(8)) is None  # trained
    assert _fused_norm(torch.nn.LayerNorm(8).requires_grad_(False)) is None
    assert _fused_norm(ShiftedRMSNorm(8).requires_grad_(False)) is None
    assert _fused_norm(Qwen2RMSNorm(8).requires_grad_(False).to(torch.bfloat16)) is None


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_without_the_adapter_it_is_the_base_model(tiny_model: Path, tmp_path: Path, dropout: float) -> None:
    trainer = Training(**arguments(tiny_model, tmp_path, lora=LoraConfig(rank=4, alpha=8, dropout=dropout))).trainer
    model, batch = trainer.model, trainer.data_collator([trainer.train_dataset[0]])
    before = trainer.compute_ref_log_probs(model, batch)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    torch.testing.assert_close(trainer.compute_ref_log_probs(model, batch), before, rtol=0, atol=0)
    model.train()
    losses = [float(trainer.compute_loss(model, batch)) for _ in range(2)]
    assert (losses[0] == losses[1]) == (dropout == 0), "PEFT's own dropout is at work where there is one"


def test_every_position_is_computed_where_none_is_named(tiny_model: Path, tmp_path: Path) -> None:
    """The last layer leaves out what nobody reads, in passes through the head only."""
    training = Training(**{**arguments(tiny_model, tmp_path), "rows": rows(2)})
    model = training.trainer.model.get_base_model()
    ids = torch.tensor([[2, 5, 7, 9]])
    plain = arguments(tiny_model, tmp_path / "plain")
    other = Training(**{**plain, "rows": rows(2), "own_head": False}).trainer.model.get_base_model()
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        expected = other.base_model(input_ids=ids, use_cache=False).last_hidden_state
        torch.testing.assert_close(model.base_model(input_ids=ids, use_cache=False).last_hidden_state, expected)
