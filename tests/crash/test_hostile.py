"""Files that want to run code or to lead out of the root, wherever this package reads any: none does."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import arguments

from cai_bootstrap import constitution
from cai_bootstrap.__main__ import main
from cai_bootstrap.config import ModelConfig, ModelSource
from cai_bootstrap.engines.base_models import prepare
from cai_bootstrap.errors import CaiError
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.store.artifacts import Store, read_manifest, render_manifest
from cai_bootstrap.store.journal import Journal
from cai_bootstrap.store.run import Run, Work, step
from cai_bootstrap.store.upkeep import remove, unused
from cai_bootstrap.training.trainer import Training, train


class Trap:
    """Whoever unpickles it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


def own_code(folder: Path, target: Path) -> None:
    """A model that brings code."""
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(target)!r})\n")
    for name in ("config.json", "tokenizer_config.json"):
        told = json.loads((folder / name).read_bytes())
        told["auto_map"] = {"AutoModelForCausalLM": "evil.Model", "AutoTokenizer": ["evil.Tok", None], "AutoConfig": "evil.C"}
        (folder / name).write_text(json.dumps(told))


def pickled_weights(folder: Path, target: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(Trap(target), folder / "pytorch_model.bin")


def pickles_beside(folder: Path, target: Path) -> None:
    for name in ("pytorch_model.bin", "optimizer.pt", "training_args.bin", "rng_state.pth"):
        torch.save(Trap(target), folder / name)


def weights_elsewhere(folder: Path, target: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))


def template_code(folder: Path, target: Path) -> None:
    """A chat template that reaches for the interpreter; models of a run have none."""
    told = json.loads((folder / "tokenizer_config.json").read_bytes())
    told["chat_template"] = "{{ cycler.__init__.__globals__.os.mkdir('" + str(target) + "') }}"
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


@pytest.mark.parametrize("spoil", [own_code, pickled_weights, pickles_beside, weights_elsewhere, template_code])
def test_no_model_runs_code(tiny_model: Path, tmp_path: Path, spoil: Callable[[Path, Path], None]) -> None:
    from cai_bootstrap.engines.transformers import TransformersEngine

    folder, ran = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(tiny_model, folder)
    spoil(folder, ran)
    config = ModelConfig(name="path", source=ModelSource.path, path=str(folder), licence="x", sentinels=False)
    try:
        (tmp_path / "prepared").mkdir()
        prepare(config, tmp_path / "prepared", lambda line: None)
        engine = TransformersEngine(tmp_path / "prepared", device="cpu", dtype="float32", batch_size=1, threads=1)
        engine.encode("hello")
    except CaiError:
        pass  # refused, or prepared without it: either is well
    assert not ran.exists()


def test_no_trainer_checkpoint_is_unpickled(tiny_model: Path, tmp_path: Path) -> None:
    given, ran = arguments(tiny_model, tmp_path / "work", checkpoint_steps=2), tmp_path / "ran"
    training = Training(**given)
    training.score_reference()
    with pytest.raises(CaiError):
        training.run(lambda done: training.stop() if done == 3 else None)
    for folder in [path for path in (tmp_path / "work").iterdir() if path.is_dir()]:
        pickles_beside(folder, ran)
        (folder / "scheduler.pt").write_bytes(pickle.dumps(Trap(ran)))
        (folder / "adapter_model.bin").write_bytes(pickle.dumps(Trap(ran)))
    facts, _ = train(**given)
    assert facts["resumed_from_step"] is not None
    assert not ran.exists()


TAGS = ["!!python/object/apply:os.mkdir ['{ran}']", "!!python/object/new:os.mkdir ['{ran}']", "!!python/name:os.mkdir"]


@pytest.mark.parametrize("tag", TAGS)
def test_no_yaml_tag_makes_an_object(tmp_path: Path, tag: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran, path = tmp_path / "ran", tmp_path / "file.yaml"
    text = tag.format(ran=ran)
    path.write_text(f"instructions: {text}\nprinciples: {text}\nshots: {text}\nrefusals: {text}\n")
    with pytest.raises(CaiError):
        load_seeds("explicit", str(path))
    with pytest.raises(CaiError):
        constitution.load(path)
    assert main(["stage=1", f"train.learning_rate={text}", f"paths.root={tmp_path}"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not ran.exists()


@step(version=1)
def leave(work: Work) -> None:
    work.write_json("content.json", 1)


OUTSIDE = ["../outside.json", "/{tmp}/outside.json", "sub/../../outside.json"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_manifest_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    with Run(tmp_path, "r") as run:
        artifact = run.step("explicit", "drafts", leave, settings={}, seed=1)
    outside = artifact.path.parent / "outside.json"
    outside.write_text("1")
    named = name.replace("/{tmp}", str(artifact.path.parent))
    told = {key: value for key, value in artifact.manifest.items() if key != "manifest_sha256"}
    told["files"] = {named: told["files"]["content.json"]}
    (artifact.path / "manifest.json").write_bytes(render_manifest(told))
    with pytest.raises(CaiError):
        read_manifest(artifact.path)
    with pytest.raises(CaiError):
        Store(tmp_path).find("explicit", "drafts", artifact.digest)


def test_no_link_in_an_artifact_is_followed(tmp_path: Path) -> None:
    with Run(tmp_path, "r") as run:
        artifact = run.step("explicit", "drafts", leave, settings={}, seed=1)
    outside = tmp_path.parent / f"{tmp_path.name}-outside.json"
    (artifact.path / "content.json").rename(outside)
    (artifact.path / "content.json").symlink_to(outside)
    with pytest.raises(CaiError, match="no plain file"):
        Store(tmp_path).find("explicit", "drafts", artifact.digest)


def test_no_journal_line_reads_another_file(tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_text("{}\n")
    folder = tmp_path / "step.partial"
    folder.mkdir()
    for file in ("../secret.jsonl", str(tmp_path / "secret.jsonl")):
        line = {"shard": 0, "file": file, "sha256": "0" * 64, "num_records": 1}
        (folder / "journal.jsonl").write_text(json.dumps(line) + "\n")
        assert Journal(folder).read() == {}


def test_removal_follows_no_link_out_of_the_store(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("x")
    root = tmp_path / "root"
    with Run(root, "r") as run:
        made = run.step("explicit", "drafts", leave, settings={}, seed=1)
    (made.path.parent / "old-0123456789abcdef").symlink_to(outside)
    left = made.path.parent / "older-0123456789abcdef.partial"
    left.mkdir()
    (left / "inside").symlink_to(outside)
    remove(unused(root, partial=True))
    assert not left.exists()
    assert (outside / "precious.txt").exists()


@pytest.mark.parametrize("run", ["../x", "a/../../x", "/etc", "..", "x/y"])
def test_no_name_of_a_run_leads_out(tmp_path: Path, run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stage=1", f"run={run}", f"paths.root={tmp_path / 'root'}"]) == 2
    assert "is not valid" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()
    assert [path.name for path in tmp_path.iterdir()] == []
