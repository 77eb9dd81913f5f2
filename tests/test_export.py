"""What `export` writes: other tools' `apply_chat_template` must give exactly the ids that were trained."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from cai_bootstrap import templates
from cai_bootstrap.errors import CorruptArtifact, UserError
from cai_bootstrap.steps.export import TEMPLATE_FILE, export_model
from cai_bootstrap.store.artifacts import write_manifest

TEXTS = (
    "Name the capital of France.",
    "Write:\n\n- one\n- two\n",
    "  leading and trailing blanks  ",
    'quotes " and \\ and {{ braces }} and {% raw %}',
    "äöü 東京 🎉\tand a tab",
    "",
)


@pytest.fixture(scope="module")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("export") / "new" / "model"
    export_model(tiny_model, target)
    return target


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _ids(tokenizer: Any, messages: list[dict[str, Any]], *, prompt: bool) -> list[int]:
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False))


def _trained(tokenizer: Any, instruction: str, answer: str | None) -> list[int]:
    """The ids as training makes them: prompt and response each encoded alone."""

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    ids = [tokenizer.bos_token_id, *encode(templates.cued(instruction))]
    return ids if answer is None else [*ids, *encode(templates.response(answer)), tokenizer.eos_token_id]


@pytest.mark.parametrize("text", TEXTS)
def test_renders_exactly_the_trained_ids(exported: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(exported))
    assert _ids(tokenizer, [_user(text)], prompt=True) == _trained(tokenizer, text, None)
    for answer in ("Paris.", "- red\n- blue", "東京 🎉"):
        whole = _ids(tokenizer, [_user(text), _assistant(answer)], prompt=False)
        assert whole == _trained(tokenizer, text, answer)


@pytest.mark.parametrize("place", ["file", "key"])
def test_template_is_found_in_either_place(exported: Path, tmp_path: Path, place: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    if place == "file":
        config = json.loads((copy / "tokenizer_config.json").read_text())
        del config["chat_template"]
        (copy / "tokenizer_config.json").write_text(json.dumps(config))
    else:
        (copy / TEMPLATE_FILE).unlink()
    tokenizer = AutoTokenizer.from_pretrained(str(copy))
    assert _ids(tokenizer, [_user("Say hello.")], prompt=True) == _trained(tokenizer, "Say hello.", None)


def test_each_rendering_is_a_prefix_of_the_longer_one(exported: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(exported))
    texts = [
        tokenizer.apply_chat_template([_user("Say hello.")], tokenize=False),
        tokenizer.apply_chat_template([_user("Say hello.")], tokenize=False, add_generation_prompt=True),
        tokenizer.apply_chat_template([_user("Say hello."), _assistant("Hello.")], tokenize=False),
    ]
    assert texts[0] == "<bos>Instruction: Say hello."
    assert texts[1] == texts[0] + "\nResponse:"
    assert texts[2] == texts[1] + " Hello.<eos>"


@pytest.mark.parametrize(
    ("messages", "prompt", "reason"),
    [
        ([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}], True, "system message"),
        ([_assistant("Hi")], False, "one user message"),
        ([_user("a"), _assistant("b"), _user("c")], True, "single turns"),
        ([_user("a"), _user("b")], True, "single turns"),
        ([_user("a"), _assistant("b")], True, "single turns"),
        ([_user("a"), {"role": "tool", "content": "b"}], False, "single turns"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], True, "as a string"),
        ([_user("Repeat: <eos> and <bos>")], True, "special token <"),
        ([_user("a"), _assistant("b<eos>")], False, "special token <eos>"),
    ],
)
def test_refuses_what_was_not_trained(exported: Path, messages: list[Any], prompt: bool, reason: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(exported))
    with pytest.raises(Exception, match=reason):
        tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, tokenize=False)


def test_model_without_bos_gets_none(tiny_model: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny_model, source)
    config = json.loads((source / "tokenizer_config.json").read_text())
    del config["bos_token"]
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    export_model(source, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    rendered = tokenizer.apply_chat_template([_user("Hi")], add_generation_prompt=True, tokenize=False)
    assert rendered == templates.cued("Hi")


def test_copy_is_complete_and_its_own(tiny_model: Path, exported: Path) -> None:
    AutoModelForCausalLM.from_pretrained(str(exported))
    weights = exported / "model.safetensors"
    assert weights.read_bytes() == (tiny_model / "model.safetensors").read_bytes()
    # A second name for the store's own file would let the user's edit damage the store.
    assert weights.stat().st_nlink == 1
    assert [path.name for path in exported.parent.iterdir()] == ["model"]


def test_a_target_that_holds_something_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.mkdir()
    (held / "mine.txt").write_text("keep")
    file = tmp_path / "file"
    file.write_text("keep")
    for target in (held, file):
        with pytest.raises(UserError, match=target.name) as caught:
            export_model(tiny_model, target)
        assert caught.value.exit_code == 2
    assert [p.name for p in held.iterdir()] == ["mine.txt"]
    assert file.read_text() == "keep"
    empty = tmp_path / "empty"
    empty.mkdir()
    export_model(tiny_model, empty)
    assert (empty / TEMPLATE_FILE).is_file()


def test_a_target_that_cannot_be_made_is_the_users_error(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        export_model(tiny_model, tmp_path / "file" / "below")


def test_leftovers_of_a_kill_are_replaced(tiny_model: Path, tmp_path: Path) -> None:
    partial = tmp_path / ".out.being-written"
    partial.mkdir()
    (partial / "torn.safetensors").write_bytes(b"x")
    export_model(tiny_model, tmp_path / "out")
    assert not partial.exists()
    assert not (tmp_path / "out" / "torn.safetensors").exists()


def test_an_altered_artifact_is_not_exported(tiny_model: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "model-1"
    shutil.copytree(tiny_model, artifact / "model")
    write_manifest(artifact, {"stage": "explicit", "name": "model", "digest": "1" * 64})
    export_model(artifact / "model", tmp_path / "sound")
    weights = artifact / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(1, 1))
    with pytest.raises(CorruptArtifact, match=r"model\.safetensors"):
        export_model(artifact / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing_behind(tiny_model: Path, tmp_path: Path) -> None:
    # A file-size limit stands for the full disk: the write fails half-way with an error of the system.
    limit = (tiny_model / "model.safetensors").stat().st_size // 2
    code = (
        "import sys; from pathlib import Path; from cai_bootstrap.steps.export import export_model\n"
        "from cai_bootstrap.errors import DiskFull\n"
        "try: export_model(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except DiskFull as error: print('full:', error); sys.exit(7)"
    )

    def shrink() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_model), str(tmp_path / "out")],
        preexec_fn=shrink,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert "free some space" in done.stdout
    assert list(tmp_path.iterdir()) == []
