"""The memory and time model: what a model of a known shape takes at its peak, and how long a machine works on it.

Nothing is measured or loaded here. Every formula says where it comes from, and `docs/plan.md` holds what it was compared with.
Memory is in bytes, time in seconds, rates are those of `MachineConfig`: 1e12 operations/s, 1e9 bytes/s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cai_bootstrap.config import LoraConfig, MachineConfig, ModelShape

GIB = 2**30
NF4_BITS = 4.127
"""Bits per weight of NF4 with double quantization: 4, and per block of 64 weights 8 for its scale, and 32 for the scale of 256
of these: 4 + 8/64 + 32/(64·256) (Dettmers et al. 2023, arXiv:2305.14314, section 3)."""
BYTES = {"float32": 4, "bfloat16": 2, "fp8": 1}
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_TRAINED_BYTES, _MOMENTS_BYTES = 8, 8
"""Of each trained weight: itself with its gradient, and AdamW's two moments, all in fp32 (Rajbhandari et al. 2020,
arXiv:1910.02054, section 3.1, without the 16-bit copies, which an adapter in fp32 does not have)."""
_LIBRARIES = {"cpu": 0.9 * GIB, "cuda": 0.6 * GIB}
"""Python with torch and transformers (measured: 0.8 to 0.9 GiB before an engine, 1.01 before a training); on a GPU the CUDA
context with its libraries' workspaces."""
_KEPT_BLOCKS = {"cpu": 0.35, "cuda": 0.1}
"""What the allocator keeps of blocks that were freed, as a share of what all layers' activations would take: on a CPU glibc's,
measured in seven trainings of Gemma 3 270M (`benchmarks/results/memory.json`), where it is the same with checkpointing and
without; on a GPU an assumption."""
_FIRST_PASSES_BYTES = 0.14 * GIB
"""What a generating process keeps after its first passes on a CPU, measured likewise."""
_VLLM_WORK_BYTES = 1.5 * GIB
"""What vLLM keeps for activations and CUDA graphs beside weights and cache (its profiling run reports 1 to 2 GiB)."""
_PREFILL_TOKENS = 384
"""Tokens of one forward pass over prompts (`engines.decoding`)."""


def shape_of(config: Mapping[str, Any]) -> ModelShape | None:
    """The shape that a model's config.json tells; None for one that these formulas do not know (mixtures of experts)."""
    own = config.get("text_config") or config
    needed = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
    if any(not isinstance(own.get(key), int) for key in needed) or own.get("num_experts") or own.get("num_local_experts"):
        return None
    kind, heads = str(own.get("model_type", "")), own["num_attention_heads"]
    is_gemma3 = kind.startswith("gemma3")
    return ModelShape(
        layers=own["num_hidden_layers"],
        hidden=own["hidden_size"],
        intermediate=own["intermediate_size"],
        heads=heads,
        kv_heads=own.get("num_key_value_heads") or heads,
        head_dim=own.get("head_dim") or own["hidden_size"] // heads,
        vocab=own["vocab_size"],
        tied=bool(own.get("tie_word_embeddings", is_gemma3)),
        biased=bool(own.get("attention_bias", False)) or kind == "qwen2",
        norms=4 if is_gemma3 or kind.startswith("gemma2") else 2,
        head_norms=is_gemma3 or kind.startswith("qwen3"),
    )


def num_body(shape: ModelShape) -> int:
    """Weights of the linear layers in the body: attention's four projections and the three of a gated feed-forward."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return shape.layers * (2 * shape.hidden * q + 2 * shape.hidden * kv + 3 * shape.hidden * shape.intermediate)


def num_table(shape: ModelShape) -> int:
    """Weights of one table of the vocabulary: the embedding, and again the output layer where it is not tied to it."""
    return shape.vocab * shape.hidden


def num_parameters(shape: ModelShape) -> int:
    """All weights of the model, those of norms and biases included."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    small = shape.layers * (shape.norms * shape.hidden + (2 * shape.head_dim if shape.head_norms else 0)) + shape.hidden
    small += shape.layers * (q + 2 * kv) if shape.biased else 0
    return num_body(shape) + num_table(shape) * (1 if shape.tied else 2) + small


def weight_bytes(shape: ModelShape, dtype: str, quantization: str = "none", table_bytes: int = 4) -> float:
    """The weights as they lie in memory. With `nf4` linear layers have `NF4_BITS`, and what is not quantized `table_bytes`:
    PEFT's `prepare_model_for_kbit_training`, which our trainer calls, makes fp32 of it.
    """
    if quantization == "nf4":
        return num_body(shape) * NF4_BITS / 8 + (num_parameters(shape) - num_body(shape)) * table_bytes
    if quantization == "fp8":  # linear layers only
        return num_body(shape) * BYTES["fp8"] + (num_parameters(shape) - num_body(shape)) * BYTES[dtype]
    return num_parameters(shape) * BYTES[dtype]


def kv_bytes(shape: ModelShape, dtype: str) -> int:
    """Keys and values of one token in all layers. A sliding window saves nothing here: rows are shorter than it."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * BYTES[dtype]


def num_lora(shape: ModelShape, lora: LoraConfig) -> int:
    """Trained weights: rank · (inputs + outputs) of each adapted layer (Hu et al. 2021, arXiv:2106.09685)."""
    h, m = shape.hidden, shape.intermediate
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    sizes = {"q_proj": h + q, "k_proj": h + kv, "v_proj": h + kv, "o_proj": q + h}
    sizes |= {"gate_proj": h + m, "up_proj": h + m, "down_proj": m + h}
    named = [name for name in _PROJECTIONS if lora.target_modules == "all-linear" or name in lora.target_modules]
    layers = shape.layers - round(lora.frozen_share * shape.layers)
    return layers * lora.rank * sum(sizes[name] for name in named)


def layer_activations(shape: ModelShape, width: int, rank: int) -> int:
    """Numbers that one layer keeps of one token for the backward pass of LoRA on frozen weights; `width` is its sequence's.

    Counted with saved-tensor hooks on our trainer (Gemma 3 and Qwen 2, `tests/test_memory_model.py` counts anew): inputs and
    scaled inputs of the norms, queries, keys and values before and after rotation (and before their own norms), the output of
    attention, the gate, its activation, the other half and their product, a row of the mask, and what comes out of each
    LoRA A. Attention keeps no scores (Dao et al. 2022, arXiv:2205.14135).
    """
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    of_heads = 3 if shape.head_norms else 2
    own = (2 + shape.norms) * shape.hidden + of_heads * (q + kv) + 4 * shape.intermediate
    return own + width + len(_PROJECTIONS) * rank


@dataclass(frozen=True)
class Peak:
    """What lies in memory at a phase's peak, in bytes by part."""

    parts: Mapping[str, float]

    @property
    def gib(self) -> float:
        """All parts together, in GiB."""
        return sum(self.parts.values()) / GIB


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What a training's peak depends on beside the model's shape."""

    dtype: str
    device: str
    quantization: str
    lora: LoraConfig
    micro_batch_size: int
    width: int
    """Tokens of the longest pair: prompt, chosen and rejected response in one row."""
    scored: int
    """Of them those that are responses: only there logits are made."""
    gradient_checkpointing: bool
    kept_tokens: float = 0.0
    """Tokens of all pairs whose hidden states below the adapter are kept, with `lora.frozen_share` (`training.prefix`)."""
    table_bytes: int = 4
    """See `weight_bytes`."""
    head_bytes: int = 4
    """Of each weight of the output layer as it is packed on a CPU (`train.head_dtype`)."""
    logit_bytes: float = 0.0
    """Per scored token and entry of the vocabulary, of a trainer that keeps logits; ours keeps none."""


def training_peak(shape: ModelShape, own: TrainSettings) -> Peak:
    """A training step of our trainer, in the backward pass, where all activations are there and gradients come.

    On a CPU in fp32 frozen layers and the output layer lie there three times: as they were read, and packed for each
    direction (`engines.packed`). Activations: `layer_activations` of every layer that trains, or with gradient checkpointing
    (Chen et al. 2016, arXiv:1604.06174) each layer's input, and all of one layer. bf16 halves those of the layers; the residual
    stream stays fp32 when `prepare_model_for_kbit_training` made the embedding fp32. With NF4 one layer at a time is unpacked,
    in both directions.
    """
    packs = own.device == "cpu" and own.dtype == "float32" and own.quantization == "none"
    weights = weight_bytes(shape, own.dtype, own.quantization, own.table_bytes)
    if packs:
        weights += 2 * 4 * num_body(shape) + 2 * own.head_bytes * num_table(shape)
    tokens, size = own.micro_batch_size * own.width, BYTES[own.dtype]
    stream = 4 if own.quantization == "nf4" and own.table_bytes == 4 else size
    layers = shape.layers - round(own.lora.frozen_share * shape.layers)
    one = tokens * (
        layer_activations(shape, own.width, own.lora.rank) * size + (2 + shape.norms) * shape.hidden * (stream - size)
    )
    activations = layers * tokens * shape.hidden * stream + one if own.gradient_checkpointing else layers * one
    most = 2**22 if own.device == "cpu" else 2**27  # `training.head`
    tile = max(16 * shape.vocab, min(most, own.micro_batch_size * own.scored * shape.vocab)) * 4.0
    logits = 3 * min(tile, own.micro_batch_size * own.scored * shape.vocab * 4.0)
    logits += own.micro_batch_size * own.scored * shape.vocab * own.logit_bytes
    unpacked = 2 * shape.hidden * shape.intermediate * size * 2 if own.quantization == "nf4" else 0.0
    trained = num_lora(shape, own.lora)
    parts = {
        "weights": weights,
        "LoRA": trained * _TRAINED_BYTES,
        "optimizer": trained * _MOMENTS_BYTES,
        "activations": activations + unpacked,
        "logits": logits,
        "frozen layers' states": own.kept_tokens * shape.hidden * stream,
    }
    parts |= {"kept blocks": _KEPT_BLOCKS[own.device] * layers * one, "libraries": _LIBRARIES[own.device]}
    return Peak(parts)


def generation_peak(
    shape: ModelShape, *, dtype: str, device: str, batch_size: int, context: int, vocab_rows: int | None = None
) -> Peak:
    """Our own decoding loop: weights (on a CPU in fp32 the output layer twice, and once more in bf16 where the processor
    multiplies that natively, which is reckoned with: see `engines.head`), a slot of `context` tokens for each row of a batch,
    and a forward pass over a part of the prompts.
    """
    weights = weight_bytes(shape, dtype)
    if device == "cpu" and dtype == "float32":
        weights += (4 + 2) * num_table(shape)
    size = BYTES[dtype]
    tokens = max(_PREFILL_TOKENS, context)
    q = shape.heads * shape.head_dim
    activations = tokens * (4 * shape.hidden + 3 * q + 3 * shape.intermediate) * size + tokens * shape.heads * context * 8
    tile = 16384 if device == "cpu" else shape.vocab
    parts = {
        "weights": weights,
        "KV cache": float(batch_size * context * kv_bytes(shape, dtype)),
        "activations": float(activations),
        "logits": float(3 * (vocab_rows or batch_size) * min(tile, shape.vocab) * 4),
    }
    parts |= {"kept blocks": _FIRST_PASSES_BYTES, "libraries": _LIBRARIES[device]}
    return Peak(parts)


def vllm_peak(
    shape: ModelShape,
    *,
    dtype: str,
    device: str,
    quantization: str,
    context: int,
    memory_gib: float,
    share: float,
    kv_gib: float,
) -> Peak:
    """vLLM: on a GPU it takes its share of the card whatever the model needs, all that is left for keys and values; less than
    one `context` of them does not start. On a CPU `kv_gib`. What is shown is what it needs at least, or takes.
    """
    weights, needed = weight_bytes(shape, dtype, quantization), context * kv_bytes(shape, dtype)
    left = share * memory_gib * GIB - weights - _VLLM_WORK_BYTES if device == "cuda" else kv_gib * GIB
    return Peak({"weights": weights, "KV cache": max(needed, left), "activations": _VLLM_WORK_BYTES})


def vllm_rows(shape: ModelShape, peak: Peak, dtype: str, mean_context: float) -> float:
    """Requests of a mean length in tokens whose keys and values fit vLLM's cache at once."""
    return peak.parts["KV cache"] / (kv_bytes(shape, dtype) * mean_context)


def merging_peak(shape: ModelShape, *, device: str, num_prompts: int, width: int, steps: int = 16) -> Peak:
    """The merge in fp32 with its certificate: weights, the adapter model's logits of all positions, kept in the processor's
    memory and compared with a second set, and a forward pass over the prompts.
    """
    weights = 4.0 * num_parameters(shape)
    compared = num_prompts * shape.vocab * (steps * 4 + 4 * 8)
    activations = num_prompts * width * 4 * (4 * shape.hidden + 3 * shape.intermediate)
    parts = {"weights": weights, "activations": float(activations), "logits": float(compared if device == "cpu" else 0)}
    parts["libraries"] = _LIBRARIES[device]
    return Peak(parts)


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Calls of an engine that are alike: `count` times `rows` requests, which share `prefix` tokens and have `own` each."""

    count: float
    rows: float
    own: float
    prefix: float = 0.0
    out: float = 0.0
    """Tokens written, mean of a row; 0 where nothing is written but `scored`."""
    longest: float = 0.0
    """Tokens of the row that writes most: the steps of a call."""
    scored: float = 1.0
    """Positions of a row's prompt whose logits are made."""
    texts: float = 1.0
    """Share of the rows whose prompt is another one than those of others: several samples of a prompt read it once."""

    @property
    def read(self) -> float:
        """Tokens of all prompts, as if nothing were shared."""
        return self.count * self.rows * (self.prefix + self.own)

    @property
    def written(self) -> float:
        """Tokens of all answers."""
        return self.count * self.rows * self.out


def generation_seconds(
    shape: ModelShape, calls: Calls, machine: MachineConfig, *, weights: float, dtype: str, batch: float
) -> float:
    """Prefill, then decoding, each the slower of matrix products and memory traffic (Williams et al. 2009, the roofline).

    Prefill: 2 operations a weight of the body and token (Kaplan et al. 2020, arXiv:2001.08361, table 1), what is shared once a
    call, attention's 4 a query's number and key, and the output layer where logits are wanted. A decoding step reads weights,
    keys and values once, does 2 operations a weight and row, and costs `step_ms` beside. At most `batch` rows are decoded
    together.
    """
    body, head = num_body(shape), num_table(shape)
    rate = machine.tflops * machine.generation_efficiency * 1e12
    bandwidth = machine.bandwidth_gb_s * machine.bandwidth_efficiency * 1e9
    read = calls.prefix + calls.rows * calls.texts * calls.own
    passes = max(1.0, read / 2048)
    rows = calls.rows * calls.texts
    seen = calls.prefix**2 / 2 + rows * calls.own * (calls.prefix + calls.own / 2)
    operations = 2 * body * read + 4 * shape.layers * shape.heads * shape.head_dim * seen + 2 * head * calls.rows * calls.scored
    prefill = max(operations / rate, passes * weights / bandwidth) + passes * machine.step_ms / 1e3
    decode = 0.0
    if calls.out > 0:
        waves = max(1.0, calls.rows / batch)
        steps = max(calls.longest, 1.0) if waves == 1 else max(calls.longest, waves * calls.out)
        rows = calls.rows * calls.out / steps
        context = calls.prefix / max(1.0, calls.rows) + calls.own + calls.out / 2
        traffic = weights + rows * context * kv_bytes(shape, dtype)
        decode = steps * (max(2 * (body + head) * rows / rate, traffic / bandwidth) + machine.step_ms / 1e3)
    return calls.count * (prefill + decode)


def training_seconds(
    shape: ModelShape,
    machine: MachineConfig,
    *,
    tokens: float,
    scored: float,
    lora: LoraConfig,
    gradient_checkpointing: bool,
    quantization: str,
    passes: int = 1,
) -> float:
    """Training over so many packed tokens, of which `scored` make logits: 2 operations a weight forward and 2 backward to the
    inputs, since frozen weights have no gradient (a full training has 2 more), and 2 forward again with checkpointing. LoRA's
    own: 6 a trained weight. `passes` 0 is a forward pass alone: a reference's. NF4 is unpacked at every use: on a CPU it takes
    1.25 times as long (`docs/log.md`), on a GPU some tenth more (Dettmers et al. 2023).
    """
    live = 1 - lora.frozen_share
    forward = 2 * num_body(shape) * live * tokens + 2 * num_table(shape) * scored
    factor = 1.0 if passes == 0 else 3.0 if gradient_checkpointing else 2.0
    operations = forward * factor + (6 * num_lora(shape, lora) * tokens if passes else 0.0)
    slower = 1.0 if quantization != "nf4" else 1.25 if machine.device == "cpu" else 1.1
    return operations * slower / (machine.tflops * machine.training_efficiency * 1e12)


def loading_seconds(num_bytes: float, machine: MachineConfig) -> float:
    """A process that starts, imports and reads weights."""
    return machine.start_s + num_bytes / (machine.load_gb_s * 1e9)


def merging_seconds(
    shape: ModelShape, machine: MachineConfig, *, on_card: bool, num_prompts: int, width: int, steps: int = 16
) -> float:
    """Two models are read, one is written and hashed, and both continue the prompts, twice the one with the adapter."""
    size = 4.0 * num_parameters(shape)
    rate = machine.tflops * machine.generation_efficiency * 1e12 if on_card else machine.cpu_tflops * 1e12
    tokens = 2 * num_prompts * (width + steps)
    work = 2 * num_parameters(shape) * tokens / rate
    return machine.start_s + 4 * size / (machine.load_gb_s * 1e9) + work


def cost(seconds: float, machine: MachineConfig) -> float:
    """Dollars at the machine's rate."""
    return seconds / 3600 * machine.dollars_per_hour
