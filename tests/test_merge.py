"""Merging an adapter, and the certificate that must not pass when the merged model is not the one that was trained."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig

from cai_bootstrap import templates
from cai_bootstrap.config import EngineConfig, MergeConfig, Quantization
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import CorruptArtifact, StepFailed, UserError
from cai_bootstrap.steps.merge import agreement, merge_adapter, off_limits, off_quantized_limits
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run, Work, step
from cai_bootstrap.store.runner import bind
from cai_bootstrap.training.merging import _compare, merge
from cai_bootstrap.training.quantized import load_model as load_quantized

PROMPTS = [templates.cued(text) for text in ("Name the capital of France.", "Say hello.", "Complete: The sun rises in the")]
SETTINGS = MergeConfig().limits(Quantization.nf4)


@step(version=1)
def copy_model(work: Work, *, source: str) -> None:
    """The tiny model as an artifact."""
    for path in Path(source).iterdir():
        work.write_bytes(f"model/{path.name}", path.read_bytes())


@step(version=1)
def make_adapter(work: Work, *, source: str, scale: float, modules: str | list[str]) -> None:
    """An adapter whose zero matrices (B; for embeddings A) are drawn at random, `scale` wide."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=modules))
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                torch.nn.init.normal_(parameter.data, std=scale)
    adapted.save_pretrained(str(work.folder / "adapter"), save_embedding_layers=False)


class Bench:
    """A run with the tiny model in it."""

    def __init__(self, run: Run, tiny_model: Path) -> None:
        self.run = run
        self.source = str(tiny_model)
        self.model = run.step("baseline", "base", copy_model, settings={}, values={"source": self.source}, seed=1)

    def adapter(self, scale: float = 0.05, modules: str | list[str] = "all-linear", source: str = "") -> Artifact:
        values = {"source": source or self.source, "scale": scale, "modules": modules}
        return self.run.step("explicit", "adapter", make_adapter, settings={}, values=values, seed=1)

    def merge(
        self,
        adapter: Artifact,
        in_process: bool = True,
        quantization: str | None = None,
        share: float | None = None,
        **settings: float | str,
    ) -> Artifact:
        config = EngineConfig(in_process=in_process, device="cpu", dtype="float32", batch_size=4, threads=1)
        with Session(config) as session:
            return self.run.step(
                "explicit",
                "model",
                bind(merge_adapter, session=session),
                settings={**SETTINGS, **settings},
                inputs={"model": self.model, "adapter": adapter},
                values={"prompts": PROMPTS}
                | ({"quantization": quantization} if quantization else {})
                | ({"share": share} if share else {}),
                seed=1,
            )


@pytest.fixture
def bench(tiny_model: Path, tmp_path: Path) -> Iterator[Bench]:
    with Run(tmp_path / "root", "default") as run:
        yield Bench(run, tiny_model)


def _call(tiny_model: Path, adapter: Path, target: Path, prompts: list[str], on_done: Any = None) -> dict[str, Any]:
    return merge(
        model_folder=tiny_model,
        adapter_folder=adapter,
        target_folder=target,
        prompts=prompts,
        num_tokens=16,
        device="cpu",
        dtype="float32",
        threads=1,
        on_done=on_done,
    )


def test_merged_model_is_the_one_that_was_trained(bench: Bench) -> None:
    adapter = bench.adapter()
    merged = bench.merge(adapter)
    certificate = merged.json("certificate.json")
    assert 0 <= certificate["max_logit_difference"] < 1e-3
    assert certificate["greedy_agreement"] == 1
    assert 0 <= certificate["mean_kl"] < 1e-8
    assert certificate["base_difference"] > 0.1
    assert certificate["num_prompts"] == len(PROMPTS)
    assert certificate["num_positions"] == 16 * len(PROMPTS)
    assert certificate["limits"]["max_logit_difference"] == SETTINGS["max_logit_difference"]
    # Independently of the certificate: a prompt and its own forward pass, without padding or a cache.
    tokenizer = AutoTokenizer.from_pretrained(str(merged.path / "model"))
    base = AutoModelForCausalLM.from_pretrained(str(bench.model.path / "model"))
    plain = AutoModelForCausalLM.from_pretrained(str(merged.path / "model"))
    largest = 0.0
    with torch.inference_mode():
        base_logits = [base(**tokenizer(p, return_tensors="pt", return_token_type_ids=False)).logits for p in PROMPTS]
        adapted = PeftModel.from_pretrained(base, str(adapter.path / "adapter"))
        for prompt, before in zip(PROMPTS, base_logits, strict=True):
            inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
            logits = plain(**inputs).logits
            assert torch.allclose(logits, adapted(**inputs).logits, atol=1e-3)
            largest = max(largest, float((logits - before)[:, -1].abs().max()))
    assert certificate["base_difference"] == pytest.approx(largest, rel=1e-3)


def test_a_share_of_the_adapter_lies_between_parent_and_trained(bench: Bench) -> None:
    adapter = bench.adapter()
    whole = bench.merge(adapter)
    partly = bench.merge(adapter, share=0.75)
    parent, trained, between = (load_file(each.path / "model/model.safetensors") for each in (bench.model, whole, partly))
    for name in parent:
        torch.testing.assert_close(between[name], torch.lerp(parent[name], trained[name], 0.75))
    certificate = partly.json("certificate.json")
    assert certificate["share"] == 0.75
    assert certificate["greedy_agreement"] == 1
    assert 0 < certificate["base_difference"] < whole.json("certificate.json")["base_difference"]


def test_files_may_be_rounded_and_the_certificate_tells_what_that_costs(bench: Bench) -> None:
    adapter = bench.adapter()
    whole = bench.merge(adapter).json("certificate.json")
    merged = bench.merge(adapter, dtype="bfloat16", max_logit_difference=1.0, max_kl=0.1, min_greedy_agreement=0.5)
    certificate = merged.json("certificate.json")
    assert certificate["saved_dtype"] == "bfloat16"
    assert "saved_dtype" not in whole
    assert certificate["mean_kl"] > 10 * whole["mean_kl"]
    assert certificate["max_logit_difference"] > 10 * whole["max_logit_difference"]
    tensors = load_file(merged.path / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert merged.json("model/config.json")["dtype"] == "bfloat16"
    with pytest.raises(StepFailed, match=r"limit merge\.max_kl=1e-09"):
        bench.merge(adapter, dtype="bfloat16", max_logit_difference=1.0, max_kl=1e-9, min_greedy_agreement=0.5)


def test_whole_files_leave_no_trace_in_the_address() -> None:
    assert "dtype" not in MergeConfig().limits(Quantization.none)
    assert MergeConfig(dtype="bfloat16").limits(Quantization.none)["dtype"] == "bfloat16"


def test_merged_model_is_plain_and_keeps_the_tokenizer(bench: Bench) -> None:
    merged = bench.merge(bench.adapter())
    files = {name.removeprefix("model/") for name in merged.manifest["files"] if name.startswith("model/")}
    tokenizer_files = {"tokenizer.json", "tokenizer_config.json"}
    assert files == {"config.json", "generation_config.json", "model.safetensors"} | tokenizer_files
    for name in tokenizer_files:
        assert merged.read(f"model/{name}") == bench.model.read(f"model/{name}")
    config = merged.json("model/config.json")
    assert "quantization_config" not in config
    assert config["architectures"] == ["Gemma3ForCausalLM"]


@pytest.mark.slow
def test_child_and_process_measure_the_same(bench: Bench) -> None:
    adapter = bench.adapter()
    here = bench.merge(adapter).json("certificate.json")
    child = bench.merge(adapter, in_process=False, num_prompts=25).json("certificate.json")
    assert child == here


def test_progress_counts_every_pass(bench: Bench, tmp_path: Path) -> None:
    seen: list[int] = []
    adapter = bench.adapter()
    _call(bench.model.path / "model", adapter.path / "adapter", tmp_path / "out", PROMPTS, seen.append)
    assert seen == list(range(1, 34))


def test_no_more_prompts_than_asked_for(bench: Bench) -> None:
    assert bench.merge(bench.adapter(), num_prompts=2).json("certificate.json")["num_prompts"] == 2


def test_a_limit_that_is_passed_fails_and_names_value_and_limit(bench: Bench) -> None:
    with pytest.raises(StepFailed, match=r"largest logit difference .*e-.*limit merge\.max_logit_difference=1e-12"):
        bench.merge(bench.adapter(), max_logit_difference=1e-12)


def test_an_adapter_on_tied_embeddings_is_caught(bench: Bench) -> None:
    # Merged, it also changes the output layer, which shares the embedding's weights: another model than was trained.
    with pytest.raises(StepFailed, match="largest logit difference"):
        bench.merge(bench.adapter(modules=["embed_tokens"]))


def test_an_adapter_that_does_nothing_is_refused(bench: Bench) -> None:
    with pytest.raises(StepFailed, match="the adapter does nothing"):
        bench.merge(bench.adapter(scale=0.0))


@pytest.mark.parametrize("change", [{"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}, {"hidden_size": 32}])
def test_an_adapter_of_another_model_is_refused(bench: Bench, tmp_path: Path, change: dict[str, Any]) -> None:
    config = json.loads((bench.model.path / "model" / "config.json").read_text())
    other = tmp_path / "other"
    Gemma3ForCausalLM(Gemma3TextConfig(**{**config, **change})).save_pretrained(str(other))
    with pytest.raises(StepFailed, match="does not fit the model"):
        bench.merge(bench.adapter(source=str(other)))


def test_a_pickled_adapter_is_never_loaded(tiny_model: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "target_modules": ["q_proj"]}))
    torch.save(Trap(), adapter / "adapter_model.bin")
    with pytest.raises(UserError, match="only read from safetensors"):
        _call(tiny_model, adapter, tmp_path / "out", PROMPTS)
    assert not (tmp_path / "ran").exists()


def test_an_altered_adapter_is_never_used(bench: Bench) -> None:
    adapter = bench.adapter()
    path = adapter.path / "adapter" / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptArtifact, match=r"adapter_model\.safetensors"):
        bench.merge(adapter)


def test_prompts_are_needed(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="held-out prompts"):
        _call(tiny_model, tmp_path, tmp_path / "out", [])


def test_what_a_kill_left_is_wiped(bench: Bench) -> None:
    adapter = bench.adapter()
    with contextlib.suppress(StepFailed):
        bench.merge(adapter, max_logit_difference=0.0)
    (partial,) = (bench.run.root / "checkpoints" / "explicit").glob("model-*.partial")
    (partial / "model" / "model-00002-of-00002.safetensors").write_bytes(b"torn")
    (partial / "model" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(StepFailed, match="largest logit difference"):
        bench.merge(adapter, max_logit_difference=0.0)
    assert not (partial / "model" / "model-00002-of-00002.safetensors").exists()
    assert (partial / "model" / "model.safetensors").stat().st_size > 1000


# --- adapters trained on 4 bits


def greedy(model: Any, ids: list[int], ends: Collection[int] = ()) -> list[int]:
    """The sixteen tokens that a model continues with, as far as one that ends a text."""
    written: list[int] = []
    with torch.inference_mode():
        while len(written) < 16 and not set(written[-1:]) & set(ends):
            written.append(int(model(torch.tensor([[*ids, *written]])).logits[0, -1].argmax()))
    return written


def check_four_bits(bench: Bench, adapter: Artifact, merged: Artifact, told: dict[str, Any]) -> None:
    """What was told of the merged model, computed anew: each prompt alone on both models, without padding or a cache."""
    tokenizer = AutoTokenizer.from_pretrained(str(merged.path / "model"))
    whole = AutoModelForCausalLM.from_pretrained(str(merged.path / "model"), dtype=torch.float32)
    four_bit = PeftModel.from_pretrained(
        load_quantized(bench.model.path / "model", quantization="nf4", device="cpu", dtype="float32", attention_name="sdpa"),
        str(adapter.path / "adapter"),
    ).eval()
    prompts = [[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]] for text in PROMPTS]
    with torch.inference_mode():
        first = torch.tensor(prompts[:1])
        difference = float((whole(first).logits - four_bit(first).logits)[:, -1].abs().max())
    assert difference > 0.01
    assert told["max_logit_difference"] >= difference * 0.999
    num_written = num_same = 0
    for ids in prompts:
        written, expected = greedy(whole, ids, [tokenizer.eos_token_id]), greedy(four_bit, ids)
        num_written += len(written)
        num_same += next((at for at, token in enumerate(written) if token != expected[at]), len(written))
    assert told["engine_agreement"] == pytest.approx(num_same / num_written)


def test_the_certificate_of_four_bits_tells_how_far_the_merged_model_is_from_what_was_trained(bench: Bench) -> None:
    adapter = bench.adapter()
    plain = bench.merge(adapter).json("certificate.json")
    merged = bench.merge(adapter, quantization="nf4", nf4_max_kl=1.0, nf4_min_greedy_agreement=0.0)
    certificate = merged.json("certificate.json")
    told = certificate.pop("quantized")
    assert certificate == plain
    check_four_bits(bench, adapter, merged, told)
    assert 1e-6 < told["mean_kl"] < 1
    assert 0 < told["greedy_agreement"] <= 1
    assert len(PROMPTS) <= told["num_positions"] <= 16 * len(PROMPTS)
    assert told["limits"] == {"max_kl": 1.0, "min_greedy_agreement": 0.0, "min_engine_agreement": 0.0}
    assert "continuations" not in told


def test_four_bits_and_rounded_files_go_together(bench: Bench) -> None:
    adapter = bench.adapter()
    rounded: dict[str, Any] = {"dtype": "bfloat16", "max_logit_difference": 1.0, "max_kl": 0.1}
    rounded |= {"min_greedy_agreement": 0.5, "nf4_max_kl": 10.0, "nf4_min_greedy_agreement": 0.0}
    plain = bench.merge(adapter, **rounded).json("certificate.json")
    merged = bench.merge(adapter, quantization="nf4", **rounded)
    certificate = merged.json("certificate.json")
    told = certificate.pop("quantized")
    assert certificate == plain
    assert (certificate["saved_dtype"], told["dtype"]) == ("bfloat16", "float32")
    assert {tensor.dtype for tensor in load_file(merged.path / "model" / "model.safetensors").values()} == {torch.bfloat16}
    check_four_bits(bench, adapter, merged, told)


def test_four_bits_that_are_too_far_off_fail_and_name_value_and_limit(bench: Bench) -> None:
    adapter = bench.adapter()
    with pytest.raises(StepFailed, match=r"mean KL from the 4-bit model .* nats, limit merge\.nf4_max_kl=1e-12"):
        bench.merge(adapter, quantization="nf4", nf4_max_kl=1e-12, nf4_min_greedy_agreement=0.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"mean_kl": 1.0}, "merge.nf4_max_kl="),
        ({"mean_kl": math.nan}, "merge.nf4_max_kl="),
        ({"greedy_agreement": 0.1}, "merge.nf4_min_greedy_agreement="),
        ({"engine_agreement": 0.4}, "merge.nf4_min_engine_agreement=0.5"),
        ({"engine_agreement": None}, None),
    ],
)
def test_each_limit_of_four_bits_is_kept(change: dict[str, float | None], reason: str | None) -> None:
    told = {"mean_kl": 1e-3, "greedy_agreement": 1.0, "engine_agreement": 0.9, **change}
    failures = off_quantized_limits(told, MergeConfig(nf4_min_engine_agreement=0.5))
    assert len(failures) == (0 if reason is None else 1)
    assert reason is None or reason in failures[0]


def test_behind_its_end_a_continuation_counts_no_more() -> None:
    first = torch.tensor([[0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])  # the first text ends here, with token 1
    behind, other = torch.tensor([[9.0, 0.0, 0.0], [0.0, 0.0, 9.0]]), torch.tensor([[0.0, 0.0, 9.0], [0.0, 0.0, 9.0]])
    whole = _compare([first, behind], iter([first, other]), first)
    cut = _compare([first, behind], iter([first, other]), first, {1})
    assert (whole["num_positions"], whole["greedy_agreement"]) == (4, 0.75)
    assert (cut["num_positions"], cut["greedy_agreement"], cut["mean_kl"]) == (3, 1.0, 0.0)
    assert cut["max_logit_difference"] == 0 < whole["max_logit_difference"]


def test_texts_agree_up_to_their_first_difference() -> None:
    assert agreement([[1, 2, 3], [4, 5]], [[1, 2, 3], [4, 5, 6]]) == 1
    assert agreement([[1, 2, 3, 4], [4, 5]], [[1, 9, 3, 4], [9, 5]]) == pytest.approx(1 / 6)


def test_limits_of_four_bits_are_no_part_of_an_unquantized_merge() -> None:
    assert not [key for key in MergeConfig().limits(Quantization.none) if key.startswith("nf4")]
    assert [key for key in SETTINGS if key.startswith("nf4")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"max_logit_difference": 0.03}, "merge.max_logit_difference=0.02"),
        ({"max_logit_difference": math.nan}, "merge.max_logit_difference=0.02"),
        ({"greedy_agreement": 0.98}, "merge.min_greedy_agreement=0.99"),
        ({"mean_kl": 1e-3}, "merge.max_kl=0.0001"),
        ({"mean_kl": math.nan}, "merge.max_kl=0.0001"),
        ({"base_difference": 0.0}, "does nothing"),
        ({"base_difference": 0.9e-5}, "no more than rounding"),
        ({"base_difference": math.nan}, "does nothing"),
    ],
)
def test_each_limit_is_kept(change: dict[str, float], reason: str | None) -> None:
    certificate = {"max_logit_difference": 1e-5, "greedy_agreement": 1.0, "mean_kl": 1e-9, "base_difference": 2.0, **change}
    failures = off_limits(certificate, MergeConfig())
    assert len(failures) == (0 if reason is None else 1)
    assert reason is None or reason in failures[0]
