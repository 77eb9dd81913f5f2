"""A two-layer random model with its own small tokenizer: for tests and for trying the plumbing in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEED = 20260501
CONTEXT = 3072
VOCAB_SIZE = 640

_TEXT = """\
Instruction: Name the capital of France.
Response: Paris is the capital of France.
Instruction: Write a short sentence about the sea.
Response: The sea is wide and blue, and the waves come and go.
Instruction: Complete the sentence: The sun rises in the
Response: The sun rises in the east and sets in the west.
Instruction: What is two plus three?
Response: Two plus three is five.
Instruction: List three colours.
Response: Red, green and blue.
Question: Which animal says meow? Answer: A cat says meow.
Water freezes at zero degrees and boils at one hundred degrees. Monday, Tuesday, Wednesday, Thursday, Friday, Saturday
and Sunday are the days of the week. A good answer is clear, correct and helpful, and it ends where it should. There are
twelve months in a year: January, February, March, April, May, June, July, August, September, October, November, and
December. 1, 2, 3, 4, 5, 6, 7, 8, 9, 10. Translate hello into French: bonjour. The opposite of hot is cold; of up, down.
"""


def build(target: Path) -> tuple[PreTrainedTokenizerBase, int]:
    """Write the model's weights and config into `target`; the same bytes every time.

    Returns its byte-level BPE tokenizer (with `<bos>`, `<eos>`, `<pad>`) and the context length in tokens.
    """
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    tokenizer = _tokenizer()
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=64,
        # One layer of each kind, as in the real model: a cache that mishandles either is found with this one.
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=CONTEXT,
        initializer_range=0.2,  # wide enough that greedy outputs differ from prompt to prompt
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        dtype="float32",
    )
    # The caller's random state is its own.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = Gemma3ForCausalLM(config)
    model.save_pretrained(str(target))
    return tokenizer, CONTEXT


def _tokenizer() -> PreTrainedTokenizerBase:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=["<pad>", "<eos>", "<bos>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator([_TEXT], trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", model_max_length=CONTEXT
    )
