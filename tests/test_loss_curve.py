"""A whole training gives TRL's losses, step by step, on the same batches from the same start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from peft import LoraConfig
from small_training import arguments, rows
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from cai_bootstrap.training import trainer as ours
from cai_bootstrap.training.resume import trainable

PAIRS = [{**row, "rejected_eos": True} for row in rows(12)]  # TRL ends both sides with EOS
BATCHES: list[list[int]] = []


class PlainTrainer(DPOTrainer):
    """TRL's trainer, its own loss, tokenisation and forward pass; only the order of the pairs is given."""

    def get_train_dataloader(self) -> Any:
        loader = DataLoader(self.train_dataset, batch_sampler=BATCHES, collate_fn=self.data_collator)  # type: ignore[arg-type]
        return self.accelerator.prepare(loader)


def test_every_steps_loss_is_trls(tiny_model: Path, tmp_path: Path) -> None:
    given = {**arguments(tiny_model, tmp_path / "ours"), "rows": PAIRS}
    training = ours.Training(**given)
    start = {name: value.detach().clone() for name, value in trainable(training.trainer.model).items()}
    BATCHES[:] = training.trainer.micro_batches
    training.score_reference()
    losses = [row["loss"] for row in training.run()[1]]

    config, tokenizer = given["config"], AutoTokenizer.from_pretrained(str(tiny_model))
    # This tokenizer puts BOS in front by itself.
    told = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in PAIRS]
    plain = PlainTrainer(
        model=AutoModelForCausalLM.from_pretrained(str(tiny_model), dtype=torch.float32, attn_implementation="sdpa"),
        args=DPOConfig(
            output_dir=str(tmp_path / "trl"),
            beta=config["beta"],
            loss_type=list(config["loss_types"]),
            loss_weights=list(config["loss_weights"]),
            max_length=config["max_length"],
            **ours._common(config, len(PAIRS), given["seed"], given["device"], given["dtype"]),
        ),
        train_dataset=datasets.Dataset.from_list(told),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=config["lora"]["rank"],
            lora_alpha=config["lora"]["alpha"],
            target_modules=config["lora"]["target_modules"],
            task_type="CAUSAL_LM",
        ),
    )
    with torch.no_grad():
        for name, value in trainable(plain.model).items():
            value.copy_(start[name])
    plain.train()
    expected = [entry["loss"] for entry in plain.state.log_history if "loss" in entry]
    assert len(losses) == len(expected) == 6
    assert max(losses) - min(losses) > 0.05  # the curve moves
    assert losses == pytest.approx(expected, abs=1e-4)
