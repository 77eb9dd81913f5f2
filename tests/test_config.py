"""Every configuration in conf/ composes into the schemas, and the command line's surface is the one on record.

After a wanted change of a key or a default, rewrite the record with `UPDATE_GOLDEN=1 pytest tests/test_config.py`.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from cai_bootstrap.__main__ import compose, group_options, leaves, to_config
from cai_bootstrap.config import Config, ModelSource, Quantization, TrainMethod, to_dict
from cai_bootstrap.errors import MissingArtifact, UserError
from cai_bootstrap.resources import resource
from cai_bootstrap.stages import CURRICULUM

GOLDEN = Path(__file__).parent / "golden" / "cli_surface.txt"
GROUPS = group_options(resource("conf"))


def composed(*overrides: str) -> Config:
    stage = [] if any(text.startswith("stage=") for text in overrides) else ["stage=explicit"]
    return to_config(compose([*stage, *overrides]))


def surface() -> str:
    """Every key with its default, interpolations as written: the top level, then each group's options."""

    def lines(overrides: list[str], groups: tuple[str, ...], inside: bool) -> list[str]:
        return [
            f"  {key}={getattr(value, 'value', value)}"
            for key, value in leaves(compose(overrides)).items()
            if (key.partition(".")[0] in groups) is inside
        ]

    text = ["config", *lines(["stage=explicit"], tuple(GROUPS), inside=False)]
    for group, options in sorted(GROUPS.items()):
        for option in options:
            stage = [] if group == "stage" else ["stage=explicit"]
            text += ["", f"{group}={option}", *lines([*stage, f"{group}={option}"], (group,), inside=True)]
    return "\n".join(text) + "\n"


def test_the_surface_is_the_one_on_record() -> None:
    now = surface()
    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(now, encoding="utf-8")
    assert now == GOLDEN.read_text(encoding="utf-8"), (
        "keys or defaults changed; if this is wanted: UPDATE_GOLDEN=1 pytest tests/test_config.py"
    )


@pytest.mark.slow
def test_every_combination_of_options_composes() -> None:
    assert {group: len(options) for group, options in GROUPS.items()}.keys() == {
        "stage",
        "model",
        "engine",
        "machine",
        "train",
        "safety",
        "experiment",
    }
    # Safety and machines in turn: they touch nothing of theirs, and cost many times as long. Experiments choose for themselves.
    others = [group for group in GROUPS if group not in ("safety", "machine", "experiment")]
    turns, machines = itertools.cycle(GROUPS["safety"]), itertools.cycle(GROUPS["machine"])
    for choice in itertools.product(*(GROUPS[group] for group in others)):
        chosen = {**dict(zip(others, choice, strict=True)), "safety": next(turns), "machine": next(machines)}
        config = composed(*(f"{group}={option}" for group, option in chosen.items()))
        assert (config.stage.name, config.model.name, config.engine.name) == (
            chosen["stage"],
            chosen["model"],
            chosen["engine"].removesuffix("_vllm"),
        )
        assert config.train.method is TrainMethod(chosen["train"])
        assert config.safety.name == chosen["safety"]
        assert config.machine.name == chosen["machine"]


@pytest.mark.parametrize("name", GROUPS["experiment"])
def test_every_experiment_composes_for_every_stage(name: str) -> None:
    for stage in GROUPS["stage"]:
        config = composed(f"stage={stage}", f"experiment={name}")
        assert config.stage.name == stage
        assert config.preset == ("demo" if name == "laptop" else "full")
        assert config.engine.name == ("transformers" if name == "laptop" else "vllm")
        assert config.train.quantization is (Quantization.auto if name == "laptop" else Quantization.nf4)
    assert composed(f"experiment={name}", "train.micro_batch_size=1").train.micro_batch_size == 1, "the command line wins"


def test_the_larger_cards_differ_from_the_a100_where_they_should() -> None:
    a100, h100, h200 = (to_dict(composed(f"experiment=qwen32b_{card}")) for card in ("a100", "h100", "h200"))
    assert a100["model"]["hub_id"] == "Qwen/Qwen2.5-32B"
    assert (h100["engine"]["vllm"]["quantization"], h200["engine"]["vllm"]["quantization"]) == ("fp8", "none")
    assert (a100["train"]["micro_batch_size"], h100["train"]["micro_batch_size"], h200["train"]["micro_batch_size"]) == (
        4,
        4,
        8,
    )
    assert h100["model"] == h200["model"] == a100["model"]


def test_every_available_stage_has_its_file() -> None:
    assert set(CURRICULUM) == set(GROUPS["stage"])


@pytest.mark.parametrize(
    ("preset", "numbers"), [("small", (100, 60, 0.5)), ("demo", (540, 250, 0.7)), ("full", (1000, 500, 0.95))]
)
@pytest.mark.parametrize("stage", ["baseline", "explicit"])
def test_presets_reach_the_keys_that_use_them(stage: str, preset: str, numbers: tuple[int, int, float]) -> None:
    config = composed(f"stage={stage}", f"preset={preset}").stage
    assert (config.instructions.num_instructions, config.pairs.min_pairs, config.gate.min_strict) == numbers


def test_half_of_stage_2_is_implicit() -> None:
    config = composed("stage=implicit", "preset=full").stage.instructions
    asked = {kind: share * config.num_instructions for kind, share in config.kind_shares.items()}
    assert sum(config.kind_shares.values()) == pytest.approx(1)
    assert asked["question"] >= 500
    assert asked["statement"] >= 200
    implicit = asked["question"] + asked["statement"] + asked["opener"]
    assert implicit == pytest.approx(config.num_instructions / 2, rel=0.1)


@pytest.mark.parametrize(
    ("stage", "full", "demo", "small", "num_pairs"),
    [
        ("explicit", 0.95, 0.70, 0.50, 250),
        ("implicit", 0.90, 0.60, 0.50, 200),
        ("generation", 0.85, 0.70, 0.50, 200),
        ("evaluation", 0.80, 0.40, 0.30, 160),
        ("revision", 0.80, 0.20, 0.15, 160),
        ("constitutional", 0.80, 0.45, 0.40, 160),
    ],
)
def test_every_stage_has_its_thresholds(stage: str, full: float, demo: float, small: float, num_pairs: int) -> None:
    for preset, least in (("full", full), ("demo", demo), ("small", small)):
        config = composed(f"stage={stage}", f"preset={preset}").stage
        assert config.gate.min_strict == least, preset
        told = (config.gate.max_loss, config.gate.loss_margin, config.gate.noninferiority_margin, config.gate.max_p_value)
        assert told == (0.03, 0.06, 0.05, 1e-6)
        assert config.gate.override is None
        if preset == "demo":
            assert config.pairs.min_pairs == num_pairs
        if stage == "constitutional":
            assert config.gate.max_over_refusal == 0.05


def test_the_command_line_wins_over_the_preset() -> None:
    config = composed("preset=small", "stage.instructions.num_instructions=7", "stage.gate.min_strict=0.1")
    assert config.stage.instructions.num_instructions == 7
    assert config.stage.gate.min_strict == 0.1
    assert config.stage.pairs.min_pairs == 60


def test_baseline_differs_from_explicit_in_name_and_parent_only() -> None:
    baseline, explicit = to_dict(composed("stage=baseline").stage), to_dict(composed("stage=explicit").stage)
    assert {key for key in explicit if explicit[key] != baseline[key]} == {"name", "parent"}
    assert explicit["parent"] == "baseline"


def test_orpo_differs_from_dpo_where_it_should() -> None:
    dpo, orpo = to_dict(composed("train=dpo").train), to_dict(composed("train=orpo").train)
    assert {key for key in dpo if dpo[key] != orpo[key]} == {"method", "learning_rate", "loss_types", "loss_weights"}
    assert orpo["loss_types"] == ["orpo"]


def test_plain_objects_with_their_types_come_out() -> None:
    config = composed("train.quantization=nf4", "seed=3")
    assert type(config) is Config
    assert config.train.quantization is Quantization.nf4
    assert config.model.source is ModelSource.gguf_package
    assert type(config.train.loss_types) is list
    assert config.seed == 3


def test_licences_are_named() -> None:
    for option in GROUPS["model"]:
        assert composed(f"model={option}").model.licence
    assert composed("model=gemma-3-270m").model.licence_url == "https://ai.google.dev/gemma/terms"
    assert not composed("model=smollm2-135m").model.base


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.micro_batch_size=3", "a divisor of train.batch_size=8"),
        ("train.loss_weights=[1.0]", "one weight for each"),
        ("stage.pairs.rejected_mix.zero_shot=0.9", "shares that add up to 1"),
        ("stage.instructions.kind_shares.answer=0.9", "shares that add up to 1"),
        ("eval.split=train", "dev or test"),
        ("safety.max_unsafe=0", "a probability above 0, at most 1"),
        ("engine.dtype=float8", "auto, float32 or bfloat16"),
        ("stage.pairs.rejected_mix.bogus=0.0", "no key stage.pairs.rejected_mix.bogus"),
        ("stage.presets.demo.min_pairs=many", "a whole number"),
        ("train.lora=4", "train.lora is a block"),
    ],
)
def test_values_that_do_not_fit_are_refused(override: str, told: str) -> None:
    with pytest.raises(UserError, match=told.replace("[", r"\[")) as caught:
        composed(override)
    assert "\n" not in str(caught.value)
    assert override.partition("=")[0].rpartition(".")[2] in str(caught.value)


def test_the_weights_that_serve_are_whole_or_fp8() -> None:
    with pytest.raises(UserError, match=r"engine\.vllm\.quantization='fp9' is not valid: write none or fp8"):
        composed("engine=vllm", "engine.vllm.quantization=fp9")
    named = {value: composed("engine=vllm", f"engine.vllm.quantization={value}").engine for value in ("none", "fp8")}
    assert {value: config.identity()["engine"] for value, config in named.items()} == {"none": "vllm", "fp8": "vllm/fp8"}


def test_resources_are_found_and_never_left() -> None:
    assert (resource("conf") / "config.yaml").is_file()
    assert resource("conf/stage/explicit.yaml").is_file()
    with pytest.raises(MissingArtifact, match=r"data/no-such\.jsonl is missing"):
        resource("data/no-such.jsonl")
    for name in ("../conf", "/etc/passwd", "conf/../../x", ""):
        with pytest.raises(UserError, match="is not valid"):
            resource(name)
