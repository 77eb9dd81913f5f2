"""One contract for every engine: what is asked of a model comes out the same, whichever library runs it.

`engine=vllm` and `engine=ray` take part where their libraries are installed (`make setup-vllm`). `engine=scripted` runs no
model: its words are its own, so it is not asked for what only those of another engine can be compared with (`RUN_A_MODEL`), and
a word is a token.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import importlib.util
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from cai_bootstrap import engines
from cai_bootstrap.__main__ import compose, to_config
from cai_bootstrap.config import EngineConfig, RayConfig, VllmConfig
from cai_bootstrap.engines.base_models import prepare
from cai_bootstrap.engines.engine import Engine, Generation, GenerationRequest, place_of_stop
from cai_bootstrap.engines.failures import Guarded
from cai_bootstrap.engines.scripted import ScriptedEngine
from cai_bootstrap.engines.tokens import load_tokenizer
from cai_bootstrap.errors import RecordError

TINY, REAL = "tiny-random", "gemma-3-270m"
# Those that run a model come first: a parameter has one place for all tests, and each engine is started once.
RUN = [(name, TINY) for name in ("transformers", *(name for name in ("vllm", "ray") if importlib.util.find_spec(name)))]
RUN += [(name, REAL) for name, _ in RUN if name == "vllm"]
CASES = [pytest.param(case, marks=pytest.mark.slow, id="-".join(case)) for case in [*RUN, ("scripted", TINY)]]
RUN_A_MODEL = pytest.mark.parametrize("case", CASES[:-1], indirect=True)
PROMPTS = ["0. the sun rises", "1. a cat says", "2. äöü 東京 🎉", "3. Instruction: Say hello.\nResponse:", "4. x"]
LENGTH = 24
"""Tokens of the greedy texts."""
CONTEXT = 512
IS_LONG = functools.partial(re.match, r"(?s).{12}")
"""It travels to other processes, which do not know this file."""
TOLERANCE = 2e-3
"""Nats between log-probabilities in fp32: kernels add in another order."""


def start(name: str, folder: Path) -> Engine:
    vllm = VllmConfig(context=CONTEXT, kv_cache_gib=1, memory_share=0.5, quantization="none") if name == "vllm" else None
    on_workers = RayConfig(engine="transformers", workers=2, address=None, cpus_per_worker=1, gpus_per_worker=0)
    ray = on_workers if name == "ray" else None
    if name == "scripted":
        played = ScriptedEngine(folder)
        played.stages = ("explicit",)  # a base model ends no text
        return Guarded(played)
    own: dict[str, Any] = {"vllm": vllm, "ray": ray, "in_process": name != "vllm"}
    return engines.start(EngineConfig(name=name, device="cpu", dtype="float32", batch_size=8, threads=1, **own), folder)


def ask(engine: Engine, prompt: str, **changes: Any) -> Generation:
    (made,) = engine.generate([GenerationRequest(**{"prompt": prompt, "max_tokens": LENGTH, **changes})])
    return made


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    """An engine, and the model that it has."""
    name, model = request.param
    return name, model


@pytest.fixture(scope="module")
def tiny(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with louder layers, so that it does not repeat itself."""
    target = tmp_path_factory.mktemp("contract") / "model"
    shutil.copytree(tiny_model, target)
    model = AutoModelForCausalLM.from_pretrained(str(target))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".post_" in name:
                weight.add_(10.0)
    model.save_pretrained(str(target))
    return ending_and_short(target)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real 270M model."""
    target = tmp_path_factory.mktemp("real-model")
    prepare(to_config(compose(["stage=explicit", f"model={REAL}"])).model, target, lambda line: None)
    return ending_and_short(target)


def ending_and_short(target: Path) -> Path:
    """`target`, where one of the tokens that its model writes after the last prompt, and nowhere else, ends a text too."""
    plain = start("transformers", target)
    written = [ask(plain, prompt).token_ids for prompt in PROMPTS]
    plain.close()
    elsewhere = {token for ids in written[:-1] for token in ids} | set(written[-1][:4])
    ends = next(token for token in written[-1][4:12] if token not in elsewhere)
    path = target / "generation_config.json"
    told = json.loads(path.read_text()) if path.exists() else {}
    eos = load_tokenizer(target).eos_token_id
    path.write_text(json.dumps({**told, "eos_token_id": [eos, ends]}))
    # The context is the model's own for one engine and a setting of the other.
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "max_position_embeddings": CONTEXT}))
    return target


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, case: tuple[str, str]) -> Path:
    """The model's files."""
    found: Path = request.getfixturevalue({TINY: "tiny", REAL: "real"}[case[1]])
    return found


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[Engine]:
    engine = start("transformers", folder)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def engine(case: tuple[str, str], folder: Path) -> Iterator[Engine]:
    engine = start(case[0], folder)
    yield engine
    engine.close()


def is_scripted(engine: Engine) -> bool:
    return bool(engine.description.get("scripted"))


def ending(engine: Engine) -> str:
    """A prompt whose greedy text ends before the limit."""
    return "Instruction: Say hello.\nResponse:" if is_scripted(engine) else PROMPTS[-1]


def written_by(engine: Engine, folder: Path, made: Generation, num_tokens: int) -> str:
    """The text of the first tokens."""
    if is_scripted(engine):
        return "".join(re.findall(r"\s*\S+", made.text)[:num_tokens])
    return str(load_tokenizer(folder).decode(list(made.token_ids[:num_tokens])))


def with_special_tokens(folder: Path) -> str:
    """A prompt that spells them."""
    tokenizer = load_tokenizer(folder)
    return f"a{tokenizer.eos_token} b{tokenizer.bos_token} c"


def test_what_runs_is_told(engine: Engine) -> None:
    told = engine.description
    assert told["engine"] in ("transformers", "vllm", "scripted")
    # By vLLM itself, whose judging counts on it.
    assert told.get("prefix_caching") is (True if told["engine"] == "vllm" else None)


def test_the_same_ids_go_in(engine: Engine, plain: Engine, folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    for text in [*PROMPTS, with_special_tokens(folder), ""]:
        ids = engine.encode(text)
        assert ids == plain.encode(text)
        assert ids.count(tokenizer.bos_token_id) == 1
        assert tokenizer.eos_token_id not in ids


def test_special_tokens_in_a_prompt_are_text(engine: Engine, folder: Path) -> None:
    prompt, tokenizer = with_special_tokens(folder), load_tokenizer(folder)
    as_tokens: Any = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert {tokenizer.eos_token_id, tokenizer.bos_token_id} < set(as_tokens)
    made = ask(engine, prompt, max_tokens=6)
    assert made.num_prompt_tokens == len(engine.encode(prompt)) > 1 + len(as_tokens)
    assert made.token_ids


@RUN_A_MODEL
def test_behind_special_tokens_comes_what_the_model_says_behind_their_text(engine: Engine, folder: Path) -> None:
    prompt = with_special_tokens(folder)
    ids, model = engine.encode(prompt), AutoModelForCausalLM.from_pretrained(str(folder))
    made, logprob = ask(engine, prompt, max_tokens=6), 0.0
    for token in made.token_ids:
        with torch.inference_mode():
            logprobs = model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert float(logprobs.max() - logprobs[token]) < TOLERANCE
        logprob += float(logprobs[token])
        ids.append(token)
    assert made.logprob == pytest.approx(logprob, abs=TOLERANCE * len(made.token_ids))


@RUN_A_MODEL
def test_greedy_texts_are_the_same(
    engine: Engine, plain: Engine, case: tuple[str, str], counted: Callable[[str], None]
) -> None:
    requests = [GenerationRequest(prompt=prompt, max_tokens=LENGTH) for prompt in PROMPTS]
    ours, theirs = engine.generate(requests), plain.generate(requests)
    pairs = [pair for a, b in zip(ours, theirs, strict=True) for pair in zip(a.token_ids, b.token_ids, strict=False)]
    same = sum(a == b for a, b in pairs)
    counted(f"{case[0]}, {case[1]}: {same} of {len(pairs)} greedy tokens are those of transformers")
    assert same == len(pairs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.text, a.finish, a.token_ids, a.num_prompt_tokens) == (b.text, b.finish, b.token_ids, b.num_prompt_tokens)
        assert a.logprob == pytest.approx(b.logprob, abs=TOLERANCE * LENGTH)


def test_eos_ends_and_is_no_text(engine: Engine) -> None:
    prompt = ending(engine)
    made = ask(engine, prompt)
    assert made.finish == "eos"
    assert 3 < len(made.token_ids) < LENGTH
    cut = ask(engine, prompt, max_tokens=len(made.token_ids) - 1)
    assert (cut.finish, cut.text, cut.token_ids) == ("length", made.text, made.token_ids[:-1])
    assert ask(engine, prompt, max_tokens=len(made.token_ids)).finish == "eos"


def test_the_limit_is_told(engine: Engine) -> None:
    for limit in (1, 7):
        made = ask(engine, PROMPTS[0], max_tokens=limit)
        assert (made.finish, len(made.token_ids)) == ("length", limit)


def test_stops_cut_the_decoded_text(engine: Engine, folder: Path) -> None:
    whole = ask(engine, PROMPTS[0])
    middle = len(written_by(engine, folder, whole, 9))
    for stop in (
        whole.text[middle - 4 : middle + 5],  # several tokens
        whole.text[middle - 1 : middle + 1],  # from inside one into another
    ):
        at = place_of_stop(whole.text, [stop])
        assert at is not None
        for stops in ((stop,), ("no such text", stop)):
            made = ask(engine, PROMPTS[0], stop=stops)
            assert (made.finish, made.text) == ("stop", whole.text[:at])
            assert made.token_ids == whole.token_ids[: len(made.token_ids)]
            assert made.text in written_by(engine, folder, whole, len(made.token_ids))
    never = ask(engine, PROMPTS[0], stop=("no such text",))
    assert (never.finish, never.text) == (whole.finish, whole.text)


def test_a_text_whose_rest_is_not_wanted_is_not_cut_short(engine: Engine) -> None:
    whole = ask(engine, PROMPTS[0])
    made = ask(engine, PROMPTS[0], stop_when=IS_LONG)
    assert made.finish == "stop"
    assert whole.text.startswith(made.text)
    assert IS_LONG(made.text)


def test_a_seed_gives_one_text_whatever_runs_beside_it(engine: Engine) -> None:
    def drawn(seed: int) -> GenerationRequest:
        return GenerationRequest(prompt=PROMPTS[1], max_tokens=LENGTH, temperature=1.0, seed=seed)

    alone = engine.generate([drawn(7)])[0].text
    beside = engine.generate([drawn(seed) for seed in (1, 2, 7, 3, 7)])
    assert (beside[2].text, beside[4].text) == (alone, alone)
    assert len({made.text for made in beside}) == 4


def test_many_long_prompts_are_drawn_from_as_each_alone(engine: Engine) -> None:
    # More tokens than one step takes: a prompt in parts would rewind its request's generator.
    prompts = [f"{number}. " + "the sun rises and " * 30 for number in range(20)]
    assert sum(len(engine.encode(prompt)) for prompt in prompts) > 2048
    requests = [GenerationRequest(prompt=p, max_tokens=6, temperature=1.0, seed=n) for n, p in enumerate(prompts)]
    together = [made.token_ids for made in engine.generate(requests)]
    assert together == [engine.generate([request])[0].token_ids for request in requests]


@RUN_A_MODEL
@pytest.mark.parametrize(("top_k", "top_p"), [(1, 1.0), (3, 1.0), (64, 0.3), (5, 0.5), (64, 1e-6)])
def test_what_is_drawn_is_of_the_likeliest(engine: Engine, folder: Path, top_k: int, top_p: float) -> None:
    temperature = 1.5
    model = AutoModelForCausalLM.from_pretrained(str(folder))
    with torch.no_grad():
        logits = model(torch.tensor([engine.encode(PROMPTS[0])])).logits[0, -1]
    likeliest = (logits / temperature).topk(top_k)
    probabilities = likeliest.values.softmax(0)
    # Top-p comes after temperature and top-k, and counts what is left of them.
    kept = probabilities.cumsum(0) - probabilities < top_p
    may_be, shares = likeliest.indices[kept].tolist(), (probabilities[kept] / probabilities[kept].sum()).tolist()
    drawn = GenerationRequest(prompt=PROMPTS[0], max_tokens=1, temperature=temperature, top_k=top_k, top_p=top_p)
    made = engine.generate([dataclasses.replace(drawn, seed=seed) for seed in range(200)])
    counts = collections.Counter(each.token_ids[0] for each in made)
    assert set(counts) <= set(may_be)
    for token, share in zip(may_be, shares, strict=True):  # within four standard errors
        assert abs(counts[token] / 200 - share) <= 4 * (share * (1 - share) / 200) ** 0.5 + 1e-9


@RUN_A_MODEL
def test_a_sampled_text_has_its_logprob_at_temperature_one(engine: Engine, plain: Engine) -> None:
    request = GenerationRequest(prompt=PROMPTS[0], max_tokens=8, temperature=0.7, top_k=20, top_p=0.9, seed=3)
    (made,) = engine.generate([request])
    ((told, count),) = plain.completion_logprobs([(PROMPTS[0], made.text)])
    if count == len(made.token_ids):  # it is tokenised again as it was written
        assert made.logprob == pytest.approx(told, abs=TOLERANCE * 8)


@RUN_A_MODEL
def test_choices_are_the_next_token(engine: Engine, plain: Engine) -> None:
    ours, theirs = (each.choice_logprobs(PROMPTS, [" A", " B"]) for each in (engine, plain))
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, abs=TOLERANCE)


def test_choices_may_come_in_any_order(engine: Engine) -> None:
    found, turned = (engine.choice_logprobs(PROMPTS, choices) for choices in ([" A", " B"], [" B", " A"]))
    for a, b in zip(found, turned, strict=True):
        assert a == pytest.approx(tuple(reversed(b)), abs=TOLERANCE)


@RUN_A_MODEL
def test_completions_are_scored_alike(engine: Engine, plain: Engine) -> None:
    pairs = [(prompt, text) for prompt in PROMPTS for text in (" and sets", " 東京 🎉", "")]
    for (a, tokens), (b, expected) in zip(engine.completion_logprobs(pairs), plain.completion_logprobs(pairs), strict=True):
        assert tokens == expected
        assert a == pytest.approx(b, abs=TOLERANCE * max(1, tokens))


def test_what_does_not_fit_is_a_record_error_and_harms_nothing(engine: Engine) -> None:
    before = ask(engine, PROMPTS[0])
    with pytest.raises(RecordError, match=f"context is {CONTEXT}"):
        engine.generate(
            [GenerationRequest(prompt=PROMPTS[0], max_tokens=4), GenerationRequest(prompt="a " * 600, max_tokens=4)]
        )
    with pytest.raises(RecordError, match=f"context is {CONTEXT}"):
        engine.completion_logprobs([(PROMPTS[0], "a " * 600)])
    with pytest.raises(RecordError, match=f"context is {CONTEXT}"):
        engine.choice_logprobs([PROMPTS[0], "a " * 600], [" A", " B"])
    assert ask(engine, PROMPTS[0]) == before
    assert ask(engine, "", max_tokens=3).num_prompt_tokens == 1  # BOS alone


def test_none_one_and_a_thousand_keep_their_order(engine: Engine) -> None:
    seen: list[int] = []
    assert engine.generate([], seen.append) == []
    texts = [f"{number % 7}. the number {number % 7}" for number in range(1000)]
    made = engine.generate([GenerationRequest(prompt=text, max_tokens=2) for text in texts], seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1000
    single = {text: ask(engine, text, max_tokens=2).token_ids for text in set(texts)}
    assert [each.token_ids for each in made] == [single[text] for text in texts]
