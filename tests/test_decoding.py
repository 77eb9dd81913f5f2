"""The decoding loop and the scores of `engine=transformers`, against transformers' own forward pass and `generate`."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from cai_bootstrap.engines import head, measure, packed
from cai_bootstrap.engines.decoding import _draw, shared_prefix_length
from cai_bootstrap.engines.engine import GenerationRequest
from cai_bootstrap.engines.transformers import TransformersEngine
from cai_bootstrap.errors import UserError

NATS = 2e-3
"""A written token's log-probability from the plain model's: the normaliser may come of a pass in bf16."""
WORDS = "the sun rises in the east and sets in the west a cat says meow water freezes at zero degrees blue green red".split()
PREFIX = "Instruction: Name the capital of France.\nResponse: Paris is the capital of France.\n\n" * 3


def _ragged(num: int, longest: int = 40) -> list[str]:
    """Prompts of different lengths and texts, none beginning like another."""
    random = np.random.default_rng(5)
    lengths = random.integers(1, longest, num)
    return [f"{index}. " + " ".join(random.choice(WORDS, length)) for index, length in enumerate(lengths)]


def _request(prompt: str, **changes: Any) -> GenerationRequest:
    return GenerationRequest(**{"prompt": prompt, "max_tokens": 24, **changes})


class Plain:
    """The same model as transformers runs it: one sequence at a time, its own attention and cache."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder))
        self.model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, attn_implementation="eager")

    def encode(self, prompt: str) -> list[int]:
        return [self.tokenizer.bos_token_id, *self.tokenizer(prompt, add_special_tokens=False)["input_ids"]]

    def generate(self, prompt: str, max_tokens: int) -> list[int]:
        ids = torch.tensor([self.encode(prompt)])
        out = self.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False)
        return [int(i) for i in out[0, ids.shape[1] :]]

    def logprobs(self, ids: list[int]) -> torch.Tensor:
        """Row i: log-probabilities of the token after `ids[: i + 1]`."""
        with torch.inference_mode():
            return torch.log_softmax(self.model(torch.tensor([ids])).logits[0].float(), dim=-1)

    def sum_logprobs(self, prompt: list[int], continuation: list[int]) -> float:
        table = self.logprobs(prompt + continuation)
        return sum(float(table[len(prompt) - 1 + i, token]) for i, token in enumerate(continuation))


def _engine(folder: Path, batch_size: int = 8) -> TransformersEngine:
    return TransformersEngine(folder, device="cpu", dtype="float32", batch_size=batch_size, threads=1)


@pytest.fixture(scope="module")
def plain_model(tiny_model: Path) -> PreTrainedModel:
    model: PreTrainedModel = Plain(tiny_model).model
    return model


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> TransformersEngine:
    return _engine(tiny_model)


@pytest.fixture(scope="module")
def plain(tiny_model: Path) -> Plain:
    return Plain(tiny_model)


@pytest.fixture
def with_batch(engine: TransformersEngine) -> Iterator[Callable[[int], TransformersEngine]]:
    """Sets the number of slots for one test."""
    before = engine.batch_size

    def change(batch_size: int) -> TransformersEngine:
        engine.batch_size = batch_size
        return engine

    yield change
    engine.batch_size = before


def _assert_as_generate(engine: TransformersEngine, plain: Plain, prompts: list[str], max_tokens: int = 24) -> None:
    done = engine.generate([_request(prompt, max_tokens=max_tokens) for prompt in prompts])
    assert len(done) == len(prompts)
    for prompt, result in zip(prompts, done, strict=True):
        assert list(result.token_ids) == plain.generate(prompt, max_tokens), prompt
        ids = plain.encode(prompt)
        assert result.num_prompt_tokens == len(ids)
        assert result.logprob == pytest.approx(
            plain.sum_logprobs(ids, list(result.token_ids)), abs=NATS * len(result.token_ids)
        )


@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["own", "shared prefix"])
@pytest.mark.parametrize("batch_size", [1, 3, 20, 64])
def test_greedy_is_transformers_generate(
    with_batch: Callable[[int], TransformersEngine], plain: Plain, prefix: str, batch_size: int
) -> None:
    engine = with_batch(batch_size)
    prompts = [prefix + prompt for prompt in _ragged(20)]
    assert (shared_prefix_length([engine.encode(p) for p in prompts]) > 0) == bool(prefix)
    _assert_as_generate(engine, plain, prompts)


def test_rows_that_end_at_different_times_make_room(with_batch: Callable[[int], TransformersEngine], plain: Plain) -> None:
    engine = with_batch(4)
    prompts = [PREFIX + prompt for prompt in _ragged(20)]
    limits = [1 + (7 * index) % 31 for index in range(20)]
    done = engine.generate([_request(p, max_tokens=limit) for p, limit in zip(prompts, limits, strict=True)])
    for prompt, limit, result in zip(prompts, limits, done, strict=True):
        expected = plain.generate(prompt, limit)
        assert list(result.token_ids) == expected
        assert result.logprob == pytest.approx(
            plain.sum_logprobs(plain.encode(prompt), expected), abs=NATS * len(result.token_ids)
        )


SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "initializer_range": 0.3}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16}
CONFIGS: dict[str, tuple[Callable[..., PreTrainedConfig], dict[str, Any]]] = {
    "gemma3, window 8": (
        Gemma3TextConfig,
        {**GEMMA, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "gemma3, window 24 in all layers": (
        Gemma3TextConfig,
        {**GEMMA, "sliding_window": 24, "layer_types": ["sliding_attention"] * 2},
    ),
    "gemma2, soft caps": (
        Gemma2Config,
        {**GEMMA, "sliding_window": 16, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    ),
    "llama": (LlamaConfig, {}),
    "qwen2": (Qwen2Config, {}),
    "qwen3, untied head": (Qwen3Config, {"head_dim": 16, "tie_word_embeddings": False}),
}


def _random_model(tiny_model: Path, target: Path, name: str) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(str(tiny_model))
    kind, changes = CONFIGS[name]
    ids = {f"{token}_token_id": getattr(tokenizer, f"{token}_token_id") for token in ("bos", "eos", "pad")}
    config = kind(**SMALL, **HEADS, **changes, **ids, vocab_size=len(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    model.save_pretrained(str(target))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / file, target / file)
    return target


@pytest.mark.parametrize("name", CONFIGS)
def test_other_architectures_and_windows(tiny_model: Path, tmp_path: Path, name: str) -> None:
    """Prompts and prefix are both longer than the sliding windows."""
    folder = _random_model(tiny_model, tmp_path, name)
    engine, plain = _engine(folder, batch_size=4), Plain(folder)
    texts = _ragged(8, longest=30)
    assert max(len(engine.encode(text)) for text in texts) > 24
    for prefix in ("", PREFIX):
        _assert_as_generate(engine, plain, [prefix + text for text in texts], max_tokens=12)
        _assert_scores(engine, plain, [prefix + text for text in texts])


def _assert_scores(engine: TransformersEngine, plain: Plain, prompts: list[str]) -> None:
    choices = [" A", " B", "3"]
    firsts = [plain.tokenizer(c, add_special_tokens=False)["input_ids"][0] for c in choices]
    for prompt, found in zip(prompts, engine.choice_logprobs(prompts, choices), strict=True):
        expected = plain.logprobs(plain.encode(prompt))[-1, firsts].tolist()
        assert found == pytest.approx(expected, abs=1e-4)
    completions = [" " + " ".join(WORDS[i : i + 1 + i % 5]) for i in range(len(prompts))]
    pairs = list(zip(prompts, completions, strict=True))
    for (prompt, completion), (total, num) in zip(pairs, engine.completion_logprobs(pairs), strict=True):
        ids = plain.tokenizer(completion, add_special_tokens=False)["input_ids"]
        assert num == len(ids)
        assert total == pytest.approx(plain.sum_logprobs(plain.encode(prompt), ids), abs=1e-4)


@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["own", "shared prefix"])
@pytest.mark.parametrize("num", [1, 2, 60])
def test_scores_are_those_of_a_plain_forward(engine: TransformersEngine, plain: Plain, prefix: str, num: int) -> None:
    _assert_scores(engine, plain, [prefix + text for text in _ragged(num)])


def test_scores_where_the_completions_share_more_than_the_prompt(engine: TransformersEngine, plain: Plain) -> None:
    # The shared beginning reaches into the completions here, whose tokens must be scored all the same.
    prompt, completion = "0. the sun", " rises in the east and sets in the west"
    pairs = [(prompt, completion), (prompt, completion), (prompt, completion + " a")]
    results = engine.completion_logprobs(pairs)
    ids = plain.tokenizer(completion, add_special_tokens=False)["input_ids"]
    expected = plain.sum_logprobs(plain.encode(prompt), ids)
    assert results[0] == results[1]
    assert results[0][0] == pytest.approx(expected, abs=1e-4)
    assert results[0][1] == len(ids)
    assert results[2][1] == len(plain.tokenizer(completion + " a", add_special_tokens=False)["input_ids"])
    assert engine.completion_logprobs([(prompt, ""), (prompt, completion)])[0] == (0.0, 0)


def _sampled(prompt: str, seed: int) -> GenerationRequest:
    return _request(prompt, temperature=1.0, top_p=0.95, seed=seed, max_tokens=16)


def test_a_seed_gives_one_text_whatever_runs_beside_it(with_batch: Callable[[int], TransformersEngine]) -> None:
    engine = with_batch(1)
    requests = [_sampled(prompt, seed) for seed, prompt in enumerate(_ragged(30))]
    alone = [engine.generate([request])[0].token_ids for request in requests]
    for batch_size in (1, 4, 30):
        engine = with_batch(batch_size)
        assert [r.token_ids for r in engine.generate(requests)] == alone
    assert [r.token_ids for r in engine.generate(requests[::-1])] == alone[::-1]
    mixed = [item for request in requests for item in (request, _request(request.prompt))]
    assert [r.token_ids for r in engine.generate(mixed)][::2] == alone


def test_seeds_differ_and_sampling_is_not_greedy(engine: TransformersEngine) -> None:
    texts = {r.token_ids for r in engine.generate([_sampled("0. the sun", seed) for seed in range(20)])}
    assert len(texts) == 20
    (first,) = engine.generate([_request("0. the sun", temperature=1.0, top_k=1, seed=3)])
    (greedy,) = engine.generate([_request("0. the sun")])
    assert first.token_ids == greedy.token_ids


def test_sampled_logprob_is_at_temperature_one(engine: TransformersEngine, plain: Plain) -> None:
    for request in (_sampled("0. the sun", 1), _request("0. the sun", temperature=2.5, top_k=5, seed=2)):
        (result,) = engine.generate([request])
        expected = plain.sum_logprobs(plain.encode(request.prompt), list(result.token_ids))
        assert result.logprob == pytest.approx(expected, abs=NATS * len(result.token_ids))


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(1.0, 6, 1.0), (0.5, 6, 1.0), (1.0, 3, 1.0), (2.0, 6, 0.7)])
def test_draws_have_the_right_distribution(temperature: float, top_k: int, top_p: float) -> None:
    values = np.array([2.0, 1.5, 1.0, 0.0, -1.0, -3.0])
    weights = np.exp(values / temperature) * (np.arange(6) < top_k)
    weights /= weights.sum()
    # Nucleus: the fewest tokens, from the top, that hold at least top_p.
    kept = int(np.argmax(np.cumsum(weights) >= top_p - 1e-12)) + 1
    weights[kept:] = 0
    weights /= weights.sum()
    request = _request("", temperature=temperature, top_k=top_k, top_p=top_p)
    num = 20_000
    drawn = [_draw(values, request, (i + 0.5) / num) for i in range(num)]
    assert np.bincount(drawn, minlength=6) / num == pytest.approx(weights, abs=2 / num)
    for edge in (0.0, np.nextafter(1.0, 0.0)):
        assert 0 <= _draw(values, request, edge) < kept


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("tile", [16, 48, 10**6])
@pytest.mark.parametrize("num_kept", [1, 5, 64])
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_any_tiling_of_the_vocabulary_gives_the_same(
    plain_model: PreTrainedModel,
    monkeypatch: pytest.MonkeyPatch,
    tile: int,
    num_kept: int,
    softcap: float | None,
    is_packed: bool,
) -> None:
    monkeypatch.setattr(head, "_TILE_TOKENS", tile)
    monkeypatch.setattr(measure, "has_fast_bf16", lambda: False)
    monkeypatch.setattr(plain_model.config, "final_logit_softcapping", softcap, raising=False)
    if not is_packed:
        monkeypatch.setattr(packed, "is_supported", lambda weight: False)
    weight: torch.Tensor = plain_model.get_output_embeddings().weight  # type: ignore[no-untyped-call]
    hidden = torch.randn(6, weight.shape[1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = hidden @ weight.T
        logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
        layer = head.OutputLayer(plain_model)
        assert layer.is_packed == is_packed
        scan = layer.scan(hidden, num_kept)
        values, ids = logits.topk(num_kept, dim=1)
        torch.testing.assert_close(scan.normaliser, logits.logsumexp(1))
        torch.testing.assert_close(scan.logits, values)
        assert torch.equal(scan.ids, ids)
        wanted = torch.tensor([[0, 3]]).expand(6, -1)
        found = layer.token_logprobs(hidden, wanted)
    torch.testing.assert_close(found, logits.log_softmax(1).gather(1, wanted))


if measure.has_fast_bf16():

    @pytest.mark.parametrize("tile", [16, 48, 10**6])
    @pytest.mark.parametrize("num_kept", [1, 5, 64])
    @pytest.mark.parametrize("softcap", [None, 3.0])
    def test_a_first_pass_in_bf16_changes_no_token(
        plain_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, tile: int, num_kept: int, softcap: float | None
    ) -> None:
        monkeypatch.setattr(head, "_TILE_TOKENS", tile)
        monkeypatch.setattr(head, "_SPARE", 16)
        monkeypatch.setattr(plain_model.config, "final_logit_softcapping", softcap, raising=False)
        weight: torch.Tensor = plain_model.get_output_embeddings().weight  # type: ignore[no-untyped-call]
        hidden = torch.randn(40, weight.shape[1], generator=torch.Generator().manual_seed(1))
        layer = head.OutputLayer(plain_model)
        with torch.no_grad():
            expected, found = layer._scan_once(hidden, num_kept), layer.scan(hidden, num_kept)
        assert torch.equal(found.ids[:, : num_kept - num_kept // 8], expected.ids[:, : num_kept - num_kept // 8])
        torch.testing.assert_close(found.logits, expected.logits)
        torch.testing.assert_close(found.normaliser, expected.normaliser, rtol=0, atol=5e-3)
        assert not torch.equal(found.normaliser, expected.normaliser)


def _is_long(text: str, num_characters: int) -> bool:
    return len(text) >= num_characters


def test_a_text_whose_rest_is_not_wanted_ends_early(with_batch: Callable[[int], TransformersEngine]) -> None:
    prompts = _ragged(9)
    whole = with_batch(4).generate([_request(prompt, max_tokens=40) for prompt in prompts])
    enough = functools.partial(_is_long, num_characters=20)
    found = with_batch(4).generate([_request(prompt, max_tokens=40, stop_when=enough) for prompt in prompts])
    for one, all_of_it in zip(found, whole, strict=True):
        assert one.token_ids == all_of_it.token_ids[: len(one.token_ids)]
        if len(one.token_ids) < len(all_of_it.token_ids):
            assert (one.finish, len(one.token_ids) % 8) == ("stop", 0)
            assert len(one.text) >= 20
    assert sum(len(one.token_ids) for one in found) < sum(len(one.token_ids) for one in whole)


def test_order_and_number_are_kept(with_batch: Callable[[int], TransformersEngine]) -> None:
    engine = with_batch(16)
    prompts = _ragged(200, longest=12)
    seen: list[int] = []
    done = engine.generate([_request(p, max_tokens=1 + i % 4) for i, p in enumerate(prompts)], seen.append)
    assert [len(r.token_ids) for r in done] == [1 + i % 4 for i in range(200)]
    assert [r.num_prompt_tokens for r in done] == [len(engine.encode(p)) for p in prompts]
    assert seen == sorted(set(seen))
    assert seen[-1] == 200
    assert engine.generate([]) == []
    assert engine.choice_logprobs([], [" A", " B"]) == []
    assert engine.completion_logprobs([]) == []


def test_one_prompt_many_times(with_batch: Callable[[int], TransformersEngine], plain: Plain) -> None:
    # All but the last token is shared.
    engine = with_batch(5)
    prompt = PREFIX + "the sun"
    expected = plain.generate(prompt, 24)
    assert [list(r.token_ids) for r in engine.generate([_request(prompt)] * 12)] == [expected] * 12


@pytest.mark.parametrize("prompt", ["", " ", "äöü 東京 🎉", "\n\n\t", "a\u0000b", "e\u0301", "x" * 500])
def test_any_text_is_a_prompt(engine: TransformersEngine, plain: Plain, prompt: str) -> None:
    _assert_as_generate(engine, plain, [prompt], max_tokens=8)
    ids = engine.encode(prompt)
    assert engine.tokens.tokenizer.decode(ids[1:]) == prompt


def test_special_tokens_in_a_text_are_plain_characters(engine: TransformersEngine) -> None:
    text = "<bos> and <eos> and <pad>"
    special = set(engine.tokens.tokenizer.all_special_ids)
    ids = engine.encode(text)
    assert ids[0] == engine.tokens.tokenizer.bos_token_id
    assert not special & set(ids[1:])
    assert not special & set(engine.tokens.encode_continuation(text))
    assert engine.tokens.tokenizer.decode(ids[1:]) == text
    (result,) = engine.generate([_request(text)])
    assert result.num_prompt_tokens == len(ids)


@pytest.mark.slow
def test_a_text_that_does_not_fit_is_the_users_error(engine: TransformersEngine) -> None:
    long = "sun " * engine.tokens.context
    with pytest.raises(UserError, match=r"context is 3072.*begins 'sun sun") as caught:
        engine.generate([_request("short"), _request(long)])
    assert caught.value.exit_code == 2
    num = len(engine.encode("0. the sun"))
    assert len(engine.generate([_request("0. the sun", max_tokens=engine.tokens.context - num)])) == 1
    with pytest.raises(UserError, match="needs 3073 tokens"):
        engine.generate([_request("0. the sun", max_tokens=engine.tokens.context - num + 1)])
    with pytest.raises(UserError, match="context is 3072"):
        engine.choice_logprobs([long], [" A", " B"])
    with pytest.raises(UserError, match="context is 3072"):
        engine.completion_logprobs([("0. the sun", long)])


def test_requests_that_mean_nothing_are_refused(engine: TransformersEngine) -> None:
    with pytest.raises(UserError, match="max_tokens=0"):
        engine.generate([_request("a", max_tokens=0)])
    with pytest.raises(UserError, match="same token"):
        engine.choice_logprobs(["a"], [" A", " A"])
    with pytest.raises(UserError, match="empty text"):
        engine.choice_logprobs(["a"], [" A", ""])


def test_a_model_without_bos(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["bos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    engine = _engine(folder)
    assert engine.encode("the sun") == engine.tokens.encode_continuation("the sun")
    assert len(engine.generate([_request("the sun")])) == 1
    with pytest.raises(UserError, match="without BOS"):
        engine.generate([_request("")])


def test_logits_that_are_scaled_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "logits_scaling": 8.0}))
    with pytest.raises(UserError, match="logits_scaling"):
        _engine(folder)
