"""Models of known sizes with random weights, pairs of known lengths, and the operations that training on them takes.

Every layer of a model holds the same random numbers. Sizes, and with them time and memory, are those of the real model, and a
model of 64 layers can be loaded from the weights of one: 65 GB need not be on the disk.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_bootstrap.resources import read_yaml, resource

if TYPE_CHECKING:
    import torch

SEED = 20261123
_WORDS = (
    "the sea is wide and blue a good answer clear correct helpful water freezes at zero degrees boils one hundred Monday "
    "Paris capital of France cat says meow sun rises in east sets west two plus three list colours red green where it ends"
).split()


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Qwen2 model's sizes, as the `config.json` of its hub page has them, and what is done with it here."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    experiments: tuple[str, ...] = ()
    """Files of conf/experiment whose `train` sections are trained with, the later ones over the earlier."""
    train: dict[str, Any]
    """What is trained otherwise than they say."""
    num_steps: int
    prompt_tokens: int
    """At most so many a prompt, and prompt and response together train.max_length at most."""
    rows: int
    """Prompts that are continued together."""
    new_tokens: int
    saved_layers: int
    """Of the model on the disk, where there is room for them: merging and decoding take it from there."""
    is_merged: bool

    @property
    def layer_weights(self) -> int:
        """Weights of one layer's matrices."""
        kv = self.hidden // self.heads * self.kv_heads
        return self.hidden * (2 * self.hidden + 2 * kv + 3 * self.intermediate)

    @property
    def head_weights(self) -> int:
        """Weights of the output layer, and as many again of the embedding."""
        return self.vocabulary * self.hidden


_LARGE = {"gradient_checkpointing": True}
SHAPES = {
    "32b": Shape(
        hidden=5120, intermediate=27648, layers=64, heads=40, kv_heads=8, vocabulary=152064,
        experiments=("qwen32b_a100", "qwen32b_h200"), train=_LARGE, num_steps=6, prompt_tokens=128,
        rows=64, new_tokens=64, saved_layers=12, is_merged=False,
    ),
    "7b": Shape(
        hidden=3584, intermediate=18944, layers=28, heads=28, kv_heads=4, vocabulary=152064,
        experiments=("qwen7b_24gb",), train=_LARGE, num_steps=6, prompt_tokens=128,
        rows=64, new_tokens=128, saved_layers=28, is_merged=True,
    ),
    "tiny": Shape(
        hidden=64, intermediate=128, layers=2, heads=4, kv_heads=2, vocabulary=768,
        train={**_LARGE, "quantization": "nf4", "batch_size": 4, "micro_batch_size": 2, "max_length": 64,
               "learning_rate": 5e-3, "lora": {"rank": 4, "alpha": 8}},
        num_steps=12, prompt_tokens=24, rows=4, new_tokens=16, saved_layers=2, is_merged=True,
    ),
}  # fmt: skip


def train_config(shape: Shape) -> dict[str, Any]:
    """A TrainConfig as dict: conf/train/dpo.yaml, with what the shape's experiments and the shape itself say over it."""
    conf = resource("conf")
    config: dict[str, Any] = read_yaml(conf / "train" / "dpo.yaml")
    for name in shape.experiments:
        config |= read_yaml(conf / "experiment" / f"{name}.yaml").get("train", {})
    lora = config["lora"] | shape.train.get("lora", {})
    return {**config, **shape.train, "lora": lora, "num_epochs": 1}


def write_settings(shape: Shape, num_layers: int, folder: Path) -> None:
    """The folder of a model without its weights: config.json and the tokenizer of `model=tiny-random`, whose tokens are the
    first of the vocabulary. config.json is written last.
    """
    from transformers import AutoTokenizer, Qwen2Config

    from cai_bootstrap.config import ModelConfig, ModelSource
    from cai_bootstrap.engines import base_models, model_files

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        tiny = ModelConfig(name="tiny-random", source=ModelSource.tiny_random, licence="none", sentinels=False)
        base_models.prepare(tiny, Path(scratch), lambda line: None)
        for path in [*model_files.tokenizer_files(Path(scratch)), Path(scratch) / "generation_config.json"]:
            shutil.copyfile(path, folder / path.name)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=num_layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["Qwen2ForCausalLM"],
        dtype="bfloat16",
    )
    config.save_pretrained(str(folder))


def _layer(shape: Shape, device: str) -> dict[str, torch.Tensor]:
    """One layer's weights in bf16, by their names within it; the same for the same device."""
    import torch

    generator = torch.Generator(device=device).manual_seed(SEED)
    kv = shape.hidden // shape.heads * shape.kv_heads
    sizes = {
        "self_attn.q_proj": (shape.hidden, shape.hidden),
        "self_attn.k_proj": (kv, shape.hidden),
        "self_attn.v_proj": (kv, shape.hidden),
        "self_attn.o_proj": (shape.hidden, shape.hidden),
        "mlp.gate_proj": (shape.intermediate, shape.hidden),
        "mlp.up_proj": (shape.intermediate, shape.hidden),
        "mlp.down_proj": (shape.hidden, shape.intermediate),
    }
    made = {f"{name}.weight": _random(size, generator) for name, size in sizes.items()}
    for name in ("q_proj", "k_proj", "v_proj"):
        made[f"self_attn.{name}.bias"] = torch.zeros(sizes[f"self_attn.{name}"][0], dtype=torch.bfloat16, device=device)
    for name in ("input_layernorm", "post_attention_layernorm"):
        made[f"{name}.weight"] = torch.ones(shape.hidden, dtype=torch.bfloat16, device=device)
    return made


def _ends(shape: Shape, device: str) -> dict[str, torch.Tensor]:
    """What is below the first layer and above the last one."""
    import torch

    generator = torch.Generator(device=device).manual_seed(SEED + 1)
    size = (shape.vocabulary, shape.hidden)
    return {
        "model.embed_tokens.weight": _random(size, generator),
        "model.norm.weight": torch.ones(shape.hidden, dtype=torch.bfloat16, device=device),
        "lm_head.weight": _random(size, generator),
    }


def _random(size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Normal, 0.02 wide: Qwen2's `initializer_range`."""
    import torch

    return torch.randn(size, generator=generator, dtype=torch.bfloat16, device=generator.device).mul_(0.02)


def weights(shape: Shape, device: str) -> dict[str, torch.Tensor]:
    """All weights by name; the layers' are the same tensors again and again."""
    layer = _layer(shape, device)
    made = _ends(shape, device)
    return made | {f"model.layers.{i}.{name}": tensor for i in range(shape.layers) for name, tensor in layer.items()}


def load(given: dict[str, torch.Tensor], folder: str, **options: Any) -> Any:
    """`from_pretrained` of the model in `folder` with the weights that are `given`, and not read from there."""
    from transformers import AutoConfig, Qwen2ForCausalLM

    options.pop("use_safetensors"), options.pop("trust_remote_code")  # of files, and there are none
    return Qwen2ForCausalLM.from_pretrained(None, config=AutoConfig.from_pretrained(folder), state_dict=given, **options)


def write_model(shape: Shape, num_layers: int, folder: Path, device: str) -> int:
    """The whole folder with `num_layers` layers, a file each; returns the bytes of its weights."""
    from safetensors.torch import save_file

    write_settings(shape, num_layers, folder)
    layer = {name: tensor.cpu() for name, tensor in _layer(shape, device).items()}
    parts = {"ends": {name: tensor.cpu() for name, tensor in _ends(shape, device).items()}}
    parts |= {f"layer-{i:02d}": {f"model.layers.{i}.{name}": t for name, t in layer.items()} for i in range(num_layers)}
    index: dict[str, str] = {}
    for stem, tensors in parts.items():
        save_file(tensors, folder / f"{stem}.safetensors", metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, f"{stem}.safetensors")
    size = sum(tensor.numel() * tensor.element_size() for tensors in parts.values() for tensor in tensors.values())
    told = json.dumps({"metadata": {"total_size": size}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(told, encoding="utf-8")
    return size


def layers_with_room(shape: Shape, free_bytes: int) -> int:
    """How many of `saved_layers` fit the disk, with the merged model in fp32 beside them, and a tenth left free."""
    per_weight = 2 + 4 * shape.is_merged
    room = 0.9 * free_bytes - 2 * shape.head_weights * per_weight
    return max(0, min(shape.saved_layers, int(room // (shape.layer_weights * per_weight))))


def texts(folder: Path, lengths: Sequence[int], seed: int = SEED) -> list[str]:
    """Random words for each length, as many as fit so many tokens. Words are encoded each by itself, so their tokens add up."""
    from transformers import AutoTokenizer

    tokenizer, rng, made = AutoTokenizer.from_pretrained(str(folder)), random.Random(seed), []
    sizes = {f" {word}": len(tokenizer(f" {word}", add_special_tokens=False).input_ids) for word in _WORDS}
    for length in lengths:
        text, left = "", length
        while sizes[word := rng.choice(list(sizes))] <= left:
            text, left = text + word, left - sizes[word]
        made.append(text)
    return made


def pairs(shape: Shape, folder: Path) -> list[dict[str, Any]]:
    """For each step of training a batch of pairs, each as long as train.max_length allows."""
    config = train_config(shape)
    count, prompt = shape.num_steps * config["batch_size"], shape.prompt_tokens - 1  # BOS
    response = config["max_length"] - shape.prompt_tokens - 1  # EOS
    made = iter(texts(folder, [prompt, response, response] * count))
    return [
        {"id": f"pair-{i}", "prompt": next(made), "chosen": next(made), "rejected": next(made),
         "chosen_eos": True, "rejected_eos": True, "group": ""}
        for i in range(count)
    ]  # fmt: skip


def needed_operations(shape: Shape, num_tokens: int, num_labels: int, recomputed: bool) -> float:
    """Floating-point operations of a DPO step on LoRA adapters in a frozen model of B weights in its layers and H in its output
    layer, for `num_tokens` in all (each pair's prompt once) and `num_labels` of responses.

    A product is 2 operations a weight and token, its gradient by the input as many; frozen weights have none. The output layer
    sees responses only: 4·B·tokens + 4·H·labels, and 2·B·tokens more where activations are `recomputed` (Chowdhery et al. 2022,
    arXiv:2204.02311, appendix B, whose «model FLOPs» leave the latter out). Attention's own products and the adapters' are
    left out, under 3 % each for the large shapes, so that shares come out too low rather than too high.
    """
    return (4 + 2 * recomputed) * shape.layers * shape.layer_weights * num_tokens + 4 * shape.head_weights * num_labels
