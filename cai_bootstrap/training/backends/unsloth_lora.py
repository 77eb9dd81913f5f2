"""`train.backend=unsloth`: its patched model with its adapter. It needs a GPU, refuses to be imported without one, and has not
been measured here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cai_bootstrap.training.backends import Prepared

_ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""It takes names."""


def prepare(folder: Path, config: dict[str, Any], dtype: str, seed: int) -> Prepared:
    """The model with its adapter on the current GPU. It has an attention of its own, so the trainer's output layer is used."""
    import torch
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        model_name=str(folder),
        max_seq_length=config["max_length"],
        dtype=getattr(torch, dtype),
        load_in_4bit=config["quantization"] == "nf4",
    )
    wanted = config["lora"]["target_modules"]
    model = FastLanguageModel.get_peft_model(
        model,
        r=config["lora"]["rank"],
        lora_alpha=config["lora"]["alpha"],
        lora_dropout=config["lora"]["dropout"],
        target_modules=_ALL_LINEAR if wanted == "all-linear" else wanted,
        bias="none",
        use_gradient_checkpointing="unsloth" if config["gradient_checkpointing"] else False,
        random_state=seed % 2**32,
    )
    return Prepared(model, None, own_head=False)
