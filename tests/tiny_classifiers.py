"""Two tiny safety classifiers with random weights, built on the spot and loaded as a user's folder is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cai_bootstrap.config import EngineConfig, SafetyConfig

HEADERS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
IN_PROCESS = EngineConfig(in_process=True, device="cpu", dtype="float32", batch_size=4, threads=1)
# As the two sizes of Llama Guard 3 have them, without the hazards: one takes a message's content as text, one as parts.
TEXTS = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{% for message in messages %}{{ message['role'] + ': ' + "
    "message['content'].strip() + '\n\n' }}{% endfor %}<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
)
PARTS = TEXTS.replace(
    "{{ message['role'] + ': ' + message['content'].strip() + '\n\n' }}",
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ message['role'] + ': ' + part['text'] | trim + '\n\n' }}{% endfor %}",
)
LABELS = ("harmless", "toxic", "threat")


def tokenizer(tiny_model: Path, chat_template: str | None = None) -> Any:
    """The tiny model's tokenizer with the special tokens of Llama 3."""
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(str(tiny_model))
    found.add_special_tokens({"additional_special_tokens": HEADERS, "bos_token": HEADERS[0]})
    found.chat_template = chat_template
    return found


def sizes(num_tokens: int, found: Any) -> dict[str, Any]:
    return {
        "vocab_size": num_tokens,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.2,
        "bos_token_id": found.bos_token_id,
        "eos_token_id": found.eos_token_id,
        "pad_token_id": found.pad_token_id,
    }


def llama_guard(target: Path, tiny_model: Path, chat_template: str | None = TEXTS) -> SafetyConfig:
    """A Llama with random weights in `target`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    found = tokenizer(tiny_model, chat_template)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = LlamaConfig(**sizes(len(found), found), num_key_value_heads=1, tie_word_embeddings=False)
        model = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(str(target))
    found.save_pretrained(str(target))
    return SafetyConfig(name="llama_guard", path=str(target))


def sequence_classifier(target: Path, tiny_model: Path, **changes: Any) -> SafetyConfig:
    """A BERT with three labels and random weights in `target`; `changes` of its config."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    found = tokenizer(tiny_model)
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        config = BertConfig(**{**sizes(len(found), found), **labels, **changes})
        model = BertForSequenceClassification(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(str(target))
    found.save_pretrained(str(target))
    return SafetyConfig(name="sequence_classifier", path=str(target), unsafe_labels=["toxic", "threat"])
