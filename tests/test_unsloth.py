"""`train.backend=unsloth` without a GPU: what unsloth is asked for. What comes of it needs one, and has not been measured."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import config

from cai_bootstrap.config import LoraConfig, Quantization
from cai_bootstrap.errors import UserError
from cai_bootstrap.training import backends
from cai_bootstrap.training.backends import Prepared


class FastLanguageModel:
    """Notes what it is asked for."""

    asked: dict[str, dict[str, Any]]

    @classmethod
    def from_pretrained(cls, **given: Any) -> tuple[str, str]:
        cls.asked = {"model": given}
        return "loaded", "its tokenizer"

    @classmethod
    def get_peft_model(cls, model: str, **given: Any) -> str:
        cls.asked["adapter"] = given
        return f"{model}, adapted"


@pytest.fixture
def unsloth(monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = types.ModuleType("unsloth")
    fake.FastLanguageModel = FastLanguageModel
    monkeypatch.setitem(sys.modules, "unsloth", fake)


def prepared(folder: Path, seed: int = 7, **changes: Any) -> Prepared:
    place: dict[str, Any] = {"device": "cuda", "dtype": "bfloat16", "own_head": True, "load": None}
    return backends.BACKENDS["unsloth"](folder, config(**changes), seed=seed, **place)


def test_the_model_and_its_adapter_are_those_of_the_configuration(unsloth: None, tmp_path: Path) -> None:
    lora = LoraConfig(rank=4, alpha=8, dropout=0.1)
    made = prepared(tmp_path, 2**32 + 7, quantization=Quantization.nf4, gradient_checkpointing=True, lora=lora)
    assert made == Prepared("loaded, adapted", None, own_head=False)
    assert FastLanguageModel.asked == {
        "model": {"model_name": str(tmp_path), "max_seq_length": 256, "dtype": torch.bfloat16, "load_in_4bit": True},
        "adapter": {
            "r": 4,
            "lora_alpha": 8,
            "lora_dropout": 0.1,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            "bias": "none",
            "use_gradient_checkpointing": "unsloth",
            "random_state": 7,
        },
    }


def test_whole_weights_and_named_layers_stay_what_they_are(unsloth: None, tmp_path: Path) -> None:
    prepared(tmp_path, lora=LoraConfig(rank=4, alpha=8, target_modules="q_proj"))
    assert FastLanguageModel.asked["model"]["load_in_4bit"] is False
    assert FastLanguageModel.asked["adapter"]["target_modules"] == "q_proj"
    assert FastLanguageModel.asked["adapter"]["use_gradient_checkpointing"] is False


def test_it_loads_its_models_by_itself(unsloth: None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.backend=unsloth loads its models by itself: write train\.backend=peft"):
        backends.BACKENDS["unsloth"](tmp_path, config(), device="cuda", dtype="bfloat16", seed=7, own_head=True, load=print)


def test_only_a_training_with_it_imports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unsloth.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "unsloth", types.ModuleType("unsloth"))  # so that what is there now comes back
    del sys.modules["unsloth"]
    backends.import_first("peft")
    assert "unsloth" not in sys.modules
    backends.import_first("unsloth")
    assert sys.modules["unsloth"].__file__ == str(tmp_path / "unsloth.py")
