"""`train.backend=peft`: a transformers model with this package's attention and output layer, and a LoRA adapter of PEFT's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig

from cai_bootstrap.training import packing, prefix, quantized
from cai_bootstrap.training.backends import Load, Prepared


def prepare(folder: Path, config: dict[str, Any], device: str, dtype: str, own_head: bool, load: Load | None) -> Prepared:
    """The model, and the adapter's configuration: the trainer puts it on."""
    model = quantized.load_model(
        folder,
        quantization=config["quantization"],
        device=device,
        dtype=dtype,
        attention_name=packing.NAME if own_head else "sdpa",
        gradient_checkpointing=config["gradient_checkpointing"],
        load=load,
    )
    num_frozen = prefix.num_frozen(model, config["lora"]["frozen_share"])
    adapter = LoraConfig(
        r=config["lora"]["rank"],
        lora_alpha=config["lora"]["alpha"],
        lora_dropout=config["lora"]["dropout"],
        target_modules=config["lora"]["target_modules"],
        exclude_modules=prefix.without_lowest(num_frozen) if num_frozen else None,
        task_type="CAUSAL_LM",
    )
    return Prepared(model, adapter, own_head)
