"""What the tests of training share: pairs, a quick configuration, and the arguments of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cai_bootstrap.config import LoraConfig, Quantization, TrainConfig, TrainMethod, to_dict


def rows(count: int = 11) -> list[dict[str, Any]]:
    """Pairs of different lengths, every second rejected answer cut off."""
    return [
        {
            "id": f"p{i}",
            "prompt": f"Instruction: Name number {i}.\nResponse:",
            "chosen": f" It is {i}.",
            "rejected": " Water boils on Monday" + f", then on day {i}" * (i % 4),
            "chosen_eos": True,
            "rejected_eos": i % 2 == 0,
            "group": "",
        }
        for i in range(count)
    ]


def config(**changes: Any) -> dict[str, Any]:
    """A quick training; `lora` may be given too."""
    values: dict[str, Any] = {
        "method": TrainMethod.dpo,
        "learning_rate": 5e-3,
        "num_epochs": 2,
        "batch_size": 4,
        "micro_batch_size": 2,
        "beta": 0.1,
        "loss_types": ["sigmoid", "sft"],
        "loss_weights": [1.0, 0.5],
        "max_length": 256,
        "warmup_ratio": 0.1,
        "scheduler": "cosine",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "quantization": Quantization.none,
        "gradient_checkpointing": False,
        "checkpoint_minutes": 2,
        "lora": LoraConfig(rank=4, alpha=8),
    }
    return to_dict(TrainConfig(**{**values, **changes}))


def arguments(model: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    """What `Training` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    fixed = {"seed": 7, "threads": 1, "device": "cpu", "dtype": "float32"}
    return {
        "model_folder": model,
        "rows": rows(),
        "config": config(**changes),
        "checkpoint_folder": folder,
        **fixed,
    }
