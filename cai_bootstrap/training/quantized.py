"""A model whose frozen weights are NF4 (Dettmers et al. 2023, arXiv:2305.14314), as an adapter is trained on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, BitsAndBytesConfig


def load_model(
    folder: Path,
    *,
    quantization: str,
    device: str,
    dtype: str,
    attention_name: str,
    gradient_checkpointing: bool = False,
    load: Callable[..., Any] | None = None,
) -> Any:
    """The model in `folder`; safetensors only, no remote code. With nf4 it is on `device`, ready for an adapter.

    `load` takes the place of transformers' `from_pretrained`.
    """
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a child must not draw on the terminal
    compute = getattr(torch, dtype)
    options: dict[str, Any] = {}
    if quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
        )
        options["device_map"] = {"": device}
    model: Any = (load or AutoModelForCausalLM.from_pretrained)(
        str(folder),
        dtype=compute,
        attn_implementation=attention_name,
        use_safetensors=True,
        trust_remote_code=False,
        **options,
    )
    if options:
        for part in model.modules():
            if hasattr(part, "support_avx512bf16_for_cpu"):
                # In evaluation mode bitsandbytes repacks its weights for a kernel that has no gradient, and goes on
                # using it when training begins: gradients would end there, and only a warning would say so.
                part.support_avx512bf16_for_cpu = False
        prepare: Any = prepare_model_for_kbit_training  # untyped
        model = prepare(model, use_gradient_checkpointing=gradient_checkpointing)
    return model
