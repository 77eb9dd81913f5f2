"""A tokenizer is read once as long as its files stay the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cai_bootstrap.engines.tokens import load_tokenizer
from cai_bootstrap.errors import UserError


def test_the_same_files_are_read_once_and_others_anew(tiny_model: Path, tmp_path: Path) -> None:
    first = load_tokenizer(tiny_model)
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    assert load_tokenizer(copy) is first
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    assert load_tokenizer(copy).chat_template == "{{ messages }}"
    config = json.loads((copy / "tokenizer_config.json").read_bytes())
    (copy / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": config["bos_token"]}))
    assert load_tokenizer(copy).eos_token == config["bos_token"]
    again = load_tokenizer(tiny_model)
    assert (again.eos_token, again.chat_template) == (first.eos_token, first.chat_template)


def test_a_folder_without_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        load_tokenizer(tmp_path)
