"""TRL's own DPOTrainer as a careful user would set it up on a CPU: fp32, no checkpointing, reference scored once."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer


class _Clock(TrainerCallback):
    """Notes when training begins and ends, without loading and saving, and keeps the losses."""

    def __init__(self) -> None:
        self.begin = self.end = 0.0
        self.losses: list[float] = []

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.begin = time.perf_counter()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.end = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])


def train(
    model: Path, rows: list[dict[str, Any]], config: dict[str, Any], threads: int, adapter: Path | None = None
) -> dict[str, Any]:
    """Seconds of the reference pass and of training, and the losses. `config` is a TrainConfig as dict; the adapter is saved
    in the folder `adapter`, where one is given."""
    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    # BOS as text, since TRL adds none to plain strings; EOS is added by TRL to both sides.
    columns = [{"prompt": "<bos>" + row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"]} for row in rows]
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = DPOConfig(
            output_dir=folder,
            per_device_train_batch_size=config["micro_batch_size"],
            gradient_accumulation_steps=config["batch_size"] // config["micro_batch_size"],
            num_train_epochs=config["num_epochs"],
            learning_rate=config["learning_rate"],
            lr_scheduler_type=config["scheduler"],
            beta=config["beta"],
            loss_type=list(config["loss_types"]),
            loss_weights=list(config["loss_weights"]),
            max_length=config["max_length"],
            precompute_ref_log_probs=True,
            precompute_ref_batch_size=config["micro_batch_size"],
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
        )
        begin = time.perf_counter()
        trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32, attn_implementation="sdpa"),
            args=arguments,
            train_dataset=datasets.Dataset.from_list(columns),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=config["lora"]["rank"],
                lora_alpha=config["lora"]["alpha"],
                target_modules=config["lora"]["target_modules"],
                task_type="CAUSAL_LM",
            ),
            callbacks=[clock],
        )
        built = time.perf_counter()
        trainer.train()
    if adapter is not None:
        trainer.save_model(str(adapter))
    return {
        "build_s": built - begin,
        "before_s": clock.begin - built,
        "train_s": clock.end - clock.begin,
        "losses": clock.losses,
    }


def merge(model: Path, adapter: Path, target: Path, threads: int) -> None:
    """The adapter merged by PEFT, saved with its tokenizer."""
    torch.set_num_threads(threads)
    base = AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32)
    merged: Any = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    merged.save_pretrained(str(target))
    AutoTokenizer.from_pretrained(str(model)).save_pretrained(str(target))
