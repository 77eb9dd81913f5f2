"""What generation, training and merging take of a CPU's memory at their peak, each in a process of its own.

    python -m benchmarks.memory [--model DIR] [--case NAME] [--threads N]

Peaks are `VmHWM`, the kernel's own mark of the most memory that a process has had, reset when the libraries are imported and
nothing is loaded yet; the memory of that moment is shown apart and is no part of them. Texts are drawn from the vocabulary, so
that lengths are exact and no prefix is shared. `tests/test_memory_model.py` holds the formulas of `cai_bootstrap.estimates`
against the table that this writes.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import isolated, limits, pairing

GENERATION = {
    "generate 8": {"batch_size": 8, "prompt_tokens": 200, "max_tokens": 16},
    "generate 64": {"batch_size": 64, "prompt_tokens": 200, "max_tokens": 16},
    "generate 32 long": {"batch_size": 32, "prompt_tokens": 500, "max_tokens": 8},
}
"""A whole batch of requests that are all alike in length."""
TRAINING = {
    "train 2": {"micro_batch_size": 2, "tokens": (96, 48, 48)},
    "train 8": {"micro_batch_size": 8, "tokens": (96, 48, 48)},
    "train 8 checkpointed": {"micro_batch_size": 8, "tokens": (96, 48, 48), "gradient_checkpointing": True},
    "train 4 long": {"micro_batch_size": 4, "tokens": (256, 96, 96)},
    "train 4 long checkpointed": {"micro_batch_size": 4, "tokens": (256, 96, 96), "gradient_checkpointing": True},
    "train 8 head in bf16": {"micro_batch_size": 8, "tokens": (96, 48, 48), "head_dtype": "bfloat16"},
    "train 8 upper half": {"micro_batch_size": 8, "tokens": (96, 48, 48), "frozen_share": 0.5},
}
"""`tokens` of prompt, chosen and rejected; one optimizer step of one micro-batch."""
MERGING = {"merge": {"num_prompts": 24, "prompt_tokens": 24}}
CASES: dict[str, dict[str, Any]] = {**GENERATION, **TRAINING, **MERGING}


def _status_gib(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 2**20
    raise KeyError(field)


def _begin() -> dict[str, float]:
    """The memory of now, from which on the peak is taken."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return {"libraries_gib": _status_gib("VmRSS"), "began": time.perf_counter()}


def _end(begun: dict[str, float]) -> dict[str, float]:
    return {
        "peak_gib": round(_status_gib("VmHWM") - begun["libraries_gib"], 3),
        "libraries_gib": round(begun["libraries_gib"], 3),
        "seconds": round(time.perf_counter() - begun["began"], 1),
    }


def _texts(tokenizer: Any, count: int, num_tokens: int, seed: int) -> list[str]:
    """`count` texts of words that are one token each, `num_tokens` of them."""
    words = sorted(text for text in tokenizer.get_vocab() if text.startswith("▁") and text[1:].isascii() and text[1:].isalpha())
    rng = random.Random(seed)
    return ["".join(" " + word[1:] for word in rng.choices(words, k=num_tokens)) for _ in range(count)]


def generate(model: Path, threads: int, *, batch_size: int, prompt_tokens: int, max_tokens: int) -> dict[str, float]:
    """A batch continued by our own decoding loop."""
    from cai_bootstrap.engines.engine import GenerationRequest
    from cai_bootstrap.engines.tokens import load_tokenizer
    from cai_bootstrap.engines.transformers import TransformersEngine

    prompts = _texts(load_tokenizer(model), batch_size, prompt_tokens, seed=1)
    begun = _begin()
    engine = TransformersEngine(model, device="cpu", dtype="float32", batch_size=batch_size, threads=threads)
    engine.generate([GenerationRequest(prompt=prompt, max_tokens=max_tokens) for prompt in prompts])
    return _end(begun)


def train(
    model: Path,
    threads: int,
    *,
    micro_batch_size: int,
    tokens: tuple[int, int, int],
    gradient_checkpointing: bool = False,
    frozen_share: float = 0.0,
    head_dtype: str = "float32",
) -> dict[str, float]:
    """An optimizer step of DPO with the reference's scores before it."""
    from cai_bootstrap.__main__ import compose_job
    from cai_bootstrap.config import to_dict
    from cai_bootstrap.engines.tokens import load_tokenizer
    from cai_bootstrap.training import trainer

    tokenizer = load_tokenizer(model)
    parts = [_texts(tokenizer, micro_batch_size, size, seed) for seed, size in enumerate(tokens)]
    rows = [
        {"id": str(i), "prompt": p, "chosen": c, "rejected": r, "chosen_eos": True, "rejected_eos": True, "group": ""}
        for i, (p, c, r) in enumerate(zip(*parts, strict=True))
    ]
    config = to_dict(
        compose_job(
            "explicit",
            [
                "train.num_epochs=1",
                f"train.micro_batch_size={micro_batch_size}",
                f"train.batch_size={micro_batch_size}",
                f"train.gradient_checkpointing={str(gradient_checkpointing).lower()}",
                f"train.lora.frozen_share={frozen_share}",
                f"train.head_dtype={head_dtype}",
            ],
            "",
        ).train
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer.METHODS[config["method"]]()  # imports TRL
        begun = _begin()
        trainer.train(
            model_folder=model, rows=rows, config=config, checkpoint_folder=Path(folder), seed=1, threads=threads,
            device="cpu", dtype="float32",
        )  # fmt: skip
        return _end(begun)


def merge(model: Path, threads: int, *, num_prompts: int, prompt_tokens: int) -> dict[str, float]:
    """An adapter of rank 16 on all layers, merged and certified."""
    import peft  # noqa: F401 — before the peak is taken

    from cai_bootstrap.engines.tokens import load_tokenizer
    from cai_bootstrap.training.merging import merge as merged

    prompts = _texts(load_tokenizer(model), num_prompts, prompt_tokens, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        isolated.call(_make_adapter, model, Path(folder) / "adapter")
        begun = _begin()
        merged(
            model_folder=model, adapter_folder=Path(folder) / "adapter", target_folder=Path(folder) / "model",
            prompts=prompts, num_tokens=16, device="cpu", dtype="float32", threads=threads,
        )  # fmt: skip
        return _end(begun)


def _make_adapter(model: Path, target: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from cai_bootstrap.engines.transformers import load_model

    adapted = get_peft_model(
        load_model(model, device="cpu", dtype="float32", attention_name="sdpa"),
        LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=1e-3)
    adapted.save_pretrained(str(target))


def measure(name: str, model: Path, threads: int) -> dict[str, Any]:
    """One case of `CASES`, in a process of its own: its settings, `peak_gib`, `libraries_gib` and `seconds`."""
    way = generate if name in GENERATION else train if name in TRAINING else merge
    return {**CASES[name], **isolated.call(way, model, threads, **CASES[name])}


def main() -> None:
    """Measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, default=None, help="a model folder (default: the embedded base model)")
    parser.add_argument("--case", choices=list(CASES), action="append", help="this one anew; others stay as they are on record")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    model, path = options.model or limits.base_model(), pairing.RESULTS / "memory.json"
    found = json.loads(path.read_text(encoding="utf-8"))["cases"] if path.exists() else {}
    for name in options.case or CASES:
        found[name] = measure(name, model, options.threads)
        ordered = {case: found[case] for case in CASES if case in found}
        pairing.save("memory", {"unit": "GiB above the imported libraries", "model": "gemma-3-270m, float32", "cases": ordered})


if __name__ == "__main__":
    main()
