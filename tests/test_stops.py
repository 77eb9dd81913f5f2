"""Where a text ends: stop strings, EOS, the length limit. With models that say exactly what a test wants them to say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from cai_bootstrap.engines.engine import Generation, GenerationRequest
from cai_bootstrap.engines.transformers import TransformersEngine

Says = Callable[..., TransformersEngine]


@pytest.fixture
def says(tiny_model: Path, tmp_path: Path) -> Says:
    """An engine with a real model that continues every prompt ending in «:» with the text, then EOS or round again."""

    def build(text: str, *, end: bool = True, extra_eos: str = "") -> TransformersEngine:
        tokenizer = AutoTokenizer.from_pretrained(str(tiny_model))

        def ids(part: str) -> list[int]:
            return list(tokenizer(part, add_special_tokens=False)["input_ids"])

        chain = [ids(":")[-1], *ids(text)]
        chain += [tokenizer.eos_token_id] if end else [chain[1]]
        following = dict(pairwise(chain))
        assert all(following[a] == b for a, b in pairwise(chain)), f"{text!r} repeats a token"
        size = len(tokenizer)
        config = LlamaConfig(
            vocab_size=size,
            hidden_size=size,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=256,
            tie_word_embeddings=False,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=[tokenizer.eos_token_id, *(ids(extra_eos) if extra_eos else [])],
        )
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            # Identity embeddings, layers that add nothing, and a head that maps each token to the one after it.
            model.get_input_embeddings().weight.copy_(torch.eye(size))
            model.model.layers[0].self_attn.o_proj.weight.zero_()
            model.model.layers[0].mlp.down_proj.weight.zero_()
            model.lm_head.weight.zero_()
            for token, after in following.items():
                model.lm_head.weight[after, token] = 1.0
        model.save_pretrained(str(tmp_path / "chain"))
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_model / file, tmp_path / "chain" / file)
        return TransformersEngine(tmp_path / "chain", device="cpu", dtype="float32", batch_size=8, threads=1)

    return build


def _say(engine: TransformersEngine, **changes: Any) -> Generation:
    (result,) = engine.generate([GenerationRequest(**{"prompt": "Response:", "max_tokens": 60, **changes})])
    return result


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ((" capital of",), " Paris is the"),  # several tokens
        (("apit",), " Paris is the c"),  # inside a token
        (("s the capi",), " Paris i"),  # from inside one token into inside another
        (("no such text", "tal", "apit"), " Paris is the c"),  # the earliest wins, whatever the order
        (("France.\n",), " Paris is the capital of France."),  # never completed: no stop
    ],
)
def test_stop_strings_cut_the_decoded_text(says: Says, stop: tuple[str, ...], text: str) -> None:
    engine = says(" Paris is the capital of France.")
    result = _say(engine, stop=stop)
    assert result.text == text
    assert result.finish == ("eos" if text.endswith(".") else "stop")
    assert str(engine.tokens.tokenizer.decode(list(result.token_ids))).startswith(text)


def test_a_stop_is_not_found_in_leading_white_space(says: Says) -> None:
    engine = says("\n Paris is the capital of France.")
    result = _say(engine, stop=("\n", " "))
    assert (result.finish, result.text) == ("stop", "\n Paris")
    engine = says(" Paris is\n")
    assert (_say(engine, stop=("\n",)).finish, _say(engine, stop=("\n",)).text) == ("stop", " Paris is")
    # Nothing but white space runs to its end.
    engine = says("\n", end=False)
    result = _say(engine, stop=("\n",), max_tokens=5)
    assert (result.finish, result.text, len(result.token_ids)) == ("length", "\n" * 5, 5)


def test_eos_ends_and_is_no_text(says: Says) -> None:
    engine = says(" Paris.")
    eos = engine.tokens.tokenizer.eos_token_id
    result = _say(engine)
    assert (result.finish, result.text, result.token_ids[-1]) == ("eos", " Paris.", eos)
    num = len(result.token_ids)
    assert _say(engine, max_tokens=num).finish == "eos"
    cut = _say(engine, max_tokens=num - 1)
    assert (cut.finish, cut.text, len(cut.token_ids)) == ("length", " Paris.", num - 1)
    one = _say(engine, max_tokens=1)
    assert (one.finish, len(one.token_ids)) == ("length", 1)


def test_every_eos_of_the_generation_config_ends(says: Says) -> None:
    result = _say(says(" Paris is the capital", extra_eos=" the"))
    assert (result.finish, result.text) == ("eos", " Paris is")


def test_characters_of_several_tokens_come_out_whole(says: Says) -> None:
    engine = says(" ä東🎉")
    result = _say(engine)
    assert (result.finish, result.text) == ("eos", " ä東🎉")
    assert len(result.token_ids) > len(result.text) + 1
    # Half of a character matches no stop, a whole one does.
    assert _say(engine, stop=("🎉",)).text == " ä東"
    assert _say(engine, stop=("東",)).text == " ä"
