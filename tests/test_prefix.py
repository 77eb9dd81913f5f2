"""Frozen lower layers, computed once: the same losses, gradients and adapters as with every layer computed each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_training import arguments, rows

from cai_bootstrap.config import LoraConfig, Quantization, TrainMethod
from cai_bootstrap.errors import StepFailed, UserError
from cai_bootstrap.training.trainer import Training, train

UPPER = LoraConfig(rank=4, alpha=8, frozen_share=0.5)  # of two layers
ORPO = {"method": TrainMethod.orpo, "loss_types": ["orpo"], "loss_weights": [1.0]}


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "prefix").glob("*/hidden.safetensors"))


def loss_and_gradients(training: Training, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    model = training.trainer.model
    model.train()
    model.zero_grad()
    loss = training.trainer.compute_loss(model, batch)
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("changes", [{}, ORPO, {"quantization": Quantization.nf4}], ids=["dpo", "orpo", "nf4"])
def test_what_is_computed_once_gives_the_losses_of_the_whole_model(
    tiny_model: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    training = Training(**arguments(tiny_model, tmp_path, lora=UPPER, **changes))
    training.score_reference()
    with torch.no_grad():
        for name, value in training.trainer.model.named_parameters():
            if "lora_B" in name:
                value.normal_(0, 0.02, generator=torch.Generator().manual_seed(len(name)))
    batch = next(iter(training.trainer.get_train_dataloader()))
    loss, gradients = loss_and_gradients(training, batch)
    training.compute_prefix()
    known_loss, known_gradients = loss_and_gradients(training, batch)
    assert float(gradients.abs().max()) > 1e-4
    torch.testing.assert_close(known_loss, loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(known_gradients, gradients, rtol=1e-4, atol=1e-5 * float(gradients.abs().max()))


def test_frozen_layers_are_not_run_again(tiny_model: Path, tmp_path: Path) -> None:
    training = Training(**arguments(tiny_model, tmp_path, lora=UPPER))
    layers = training.trainer.model.get_base_model().base_model.layers
    calls = [0, 0]
    for index, layer in enumerate(layers):
        layer.register_forward_hook(lambda *_, index=index: calls.__setitem__(index, calls[index] + 1))
    training.compute_prefix()
    num_batches = calls[0]
    assert num_batches == 6  # eleven pairs in twos
    training.score_reference()
    training.run()
    assert calls == [num_batches, num_batches + len(training.trainer.micro_batches)]


def test_of_less_than_an_epoch_only_what_is_trained_is_computed(tiny_model: Path, tmp_path: Path) -> None:
    training, done = Training(**arguments(tiny_model, tmp_path, lora=UPPER, num_epochs=0.5)), list[int]()
    training.compute_prefix(done.append)
    trained = {i for batch in training.trainer.micro_batches for i in batch}
    (part,) = parts(tmp_path)
    assert set(load_file(part)) == {str(i) for i in trained}
    assert len(trained) == 6 < done[-1] == 11
    training.score_reference(done.append)
    assert done[-1] == 11
    facts, _ = training.run()
    assert facts["num_epochs"] == 6 / 11


def test_only_upper_layers_carry_the_adapter(tiny_model: Path, tmp_path: Path) -> None:
    facts, _ = train(**arguments(tiny_model, tmp_path, lora=UPPER))
    assert facts["last_loss"] < facts["first_loss"]
    assert len(facts["lora_modules"]) == 7
    assert all("layers.1." in name for name in facts["lora_modules"])
    assert all("layers.1." in name for name in load_file(tmp_path / "finished" / "adapter_model.safetensors"))


def test_a_resumed_training_goes_on_with_the_stored_states(tiny_model: Path, tmp_path: Path) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    train(**arguments(tiny_model, whole, lora=UPPER))
    Training(**arguments(tiny_model, again, lora=UPPER)).compute_prefix()
    (part,) = parts(again)
    before = part.stat().st_mtime_ns
    train(**arguments(tiny_model, again, lora=UPPER))
    assert part.stat().st_mtime_ns == before
    name = "finished/adapter_model.safetensors"
    assert (whole / name).read_bytes() == (again / name).read_bytes()


def test_a_torn_part_is_computed_again(tiny_model: Path, tmp_path: Path) -> None:
    settings = arguments(tiny_model, tmp_path, lora=UPPER)
    Training(**settings).compute_prefix()
    (part,) = parts(tmp_path)
    content = part.read_bytes()
    part.write_bytes(content[:-9])
    Training(**settings).compute_prefix()
    assert part.read_bytes() == content


def test_an_unknown_pair_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    training = Training(**arguments(tiny_model, tmp_path / "a", lora=UPPER))
    training.compute_prefix()
    other = Training(**{**arguments(tiny_model, tmp_path / "b"), "rows": [{**rows(1)[0], "prompt": "Another:"}]})
    batch = other.trainer.data_collator([other.trainer.train_dataset[0]])
    with pytest.raises(StepFailed, match="not computed"):
        training.trainer.compute_ref_log_probs(training.trainer.model, batch)


def test_a_share_of_all_layers_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.lora\.frozen_share=1"):
        LoraConfig(frozen_share=1.0)
