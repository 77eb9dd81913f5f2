"""Whole trainings of the tiny model: what they learn, what is counted, and that a kill changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_training import arguments

from cai_bootstrap.config import LoraConfig, Quantization, TrainMethod
from cai_bootstrap.errors import StepFailed, Stopped, UserError
from cai_bootstrap.training import checkpoints
from cai_bootstrap.training.trainer import Training, train

Facts = tuple[dict[str, Any], list[dict[str, Any]]]


def adapter(folder: Path) -> tuple[bytes, bytes]:
    """The finished adapter's two files."""
    finished = folder / "finished"
    return (finished / "adapter_model.safetensors").read_bytes(), (finished / "adapter_config.json").read_bytes()


# --- whole trainings


def test_dpo_learns_and_says_what_it_did(tiny_model: Path, tmp_path: Path) -> None:
    reports: list[int] = []
    facts, losses = train(on_done=reports.append, **arguments(tiny_model, tmp_path))
    assert facts["last_loss"] < facts["first_loss"]
    assert facts["final_reward_accuracy"] == 1
    assert facts["final_reward_margin"] > 0
    # ln 2 from the sigmoid: at the first step policy and reference are the same model.
    assert losses[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert facts["losses"] == {"sigmoid": 1.0, "sft": 0.5}
    assert facts["num_steps"] == len(losses) == 6
    assert reports[-1] == 6
    assert facts["num_pairs"] == 11
    assert facts["num_epochs"] == 2
    assert facts["scheduler"]["function"] == "_get_cosine_schedule_with_warmup_lr_lambda"
    assert facts["learning_rate"]["peak"] == 5e-3 > facts["learning_rate"]["last"]
    assert len(facts["lora_modules"]) == 2 * 7
    assert not any("lm_head" in name for name in facts["lora_modules"])
    assert facts["adapter_dtype"] == facts["base_dtype"] == ["float32"]
    assert facts["tokens"]["chosen"] < facts["tokens"]["rejected"]
    assert facts["num_audited_batches"] > 0
    assert facts["resumed_from_step"] is None


def test_orpo_learns_without_a_reference(tiny_model: Path, tmp_path: Path) -> None:
    settings = {"method": TrainMethod.orpo, "loss_types": ["orpo"], "loss_weights": [1.0], "beta": 0.2}
    facts, losses = train(**arguments(tiny_model, tmp_path, **settings))
    assert facts["last_loss"] < facts["first_loss"]
    assert losses[-1]["nll_loss"] < losses[0]["nll_loss"]
    assert facts["losses"] == {"likelihood": 1.0, "odds_ratio": 0.2}
    assert not (tmp_path / "reference").exists()


def test_four_bit_weights_train_on_the_cpu(tiny_model: Path, tmp_path: Path) -> None:
    facts, _ = train(**arguments(tiny_model, tmp_path, quantization=Quantization.nf4))
    assert facts["quantized"] is True
    assert len(load_file(tmp_path / "finished" / "adapter_model.safetensors")) == 2 * len(facts["lora_modules"])
    assert "uint8" in facts["base_dtype"]
    assert facts["adapter_dtype"] == ["float32"]
    assert facts["last_loss"] < facts["first_loss"]


def test_gradient_checkpointing_changes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    _, plain = train(**arguments(tiny_model, tmp_path / "a"))
    facts, checkpointed = train(**arguments(tiny_model, tmp_path / "b", gradient_checkpointing=True))
    assert facts["gradient_checkpointing"] is True
    assert [r["loss"] for r in checkpointed] == pytest.approx([r["loss"] for r in plain], rel=1e-5)


def test_a_loss_that_is_no_number_stops_training(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="write a smaller train\\.learning_rate"):
        train(**arguments(tiny_model, tmp_path, learning_rate=1e30, max_grad_norm=0.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheduler": "cosinus"}, "train.scheduler='cosinus'"),
        ({"loss_types": ["sigmoid", "odds"]}, "train.loss_types='odds'"),
        ({"method": TrainMethod.orpo}, "train.loss_types=\\[orpo\\]"),
    ],
)
def test_a_setting_that_is_not_known_is_named(tiny_model: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Training(**arguments(tiny_model, tmp_path, **change))


# --- kills

_KILLED = """
import json, os, signal, sys
from pathlib import Path
from cai_bootstrap.training.trainer import train

given = json.loads(sys.argv[1])
given["model_folder"], given["checkpoint_folder"] = Path(given["model_folder"]), Path(given["checkpoint_folder"])

def die(done):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)

train(on_done=die, **given)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_a_killed_training_ends_as_if_never_killed(tiny_model: Path, tmp_path: Path, method: str) -> None:
    losses = {"loss_types": ["orpo"], "loss_weights": [1.0]} if method == "orpo" else {}
    # Dropout, so that the random state matters too.
    settings = {
        "method": TrainMethod(method),
        "checkpoint_steps": 2,
        "lora": LoraConfig(rank=4, alpha=8, dropout=0.2),
        **losses,
    }
    whole_facts, whole = train(**arguments(tiny_model, tmp_path / "whole", **settings))
    given = arguments(tiny_model, tmp_path / "killed", **settings)
    text = json.dumps({key: str(value) if isinstance(value, Path) else value for key, value in given.items()})
    done = subprocess.run([sys.executable, "-c", _KILLED, text], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert not (tmp_path / "killed" / "finished").exists()
    facts, resumed = train(**given)
    assert facts["resumed_from_step"] == 4
    assert whole_facts["resumed_from_step"] is None
    assert adapter(tmp_path / "killed") == adapter(tmp_path / "whole")
    assert resumed == whole


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_a_stopped_training_is_saved_and_ends_as_if_never_stopped(tiny_model: Path, tmp_path: Path, method: str) -> None:
    losses = {"loss_types": ["orpo"], "loss_weights": [1.0]} if method == "orpo" else {}
    settings = {"method": TrainMethod(method), "lora": LoraConfig(rank=4, alpha=8, dropout=0.2), **losses}
    _, whole = train(**arguments(tiny_model, tmp_path / "whole", **settings))
    given = arguments(tiny_model, tmp_path / "stopped", **settings)
    training = Training(**given)
    training.score_reference()
    with pytest.raises(Stopped, match="run the same command again"):
        training.run(lambda done: training.stop() if done == 3 else None)
    assert not (tmp_path / "stopped" / "finished").exists()
    facts, resumed = train(**given)
    assert facts["resumed_from_step"] == 4, "the step in which it was asked to stop is the last one"
    assert adapter(tmp_path / "stopped") == adapter(tmp_path / "whole")
    assert resumed == whole


def test_a_training_stopped_in_its_last_step_is_finished(tiny_model: Path, tmp_path: Path) -> None:
    training = Training(**arguments(tiny_model, tmp_path))
    training.score_reference()
    facts, _ = training.run(lambda done: training.stop() if done == 5 else None)
    assert facts["num_steps"] == 6


def test_stopped_reference_scores_are_saved(tiny_model: Path, tmp_path: Path) -> None:
    given = arguments(tiny_model, tmp_path)
    training = Training(**given)
    with pytest.raises(Stopped):
        training.score_reference(lambda done: training.stop())
    scores = checkpoints.load(tmp_path / "reference", "logprobs")["sums"]
    num_scored = int((~scores.isnan().any(dim=1)).sum())
    assert num_scored == given["config"]["micro_batch_size"]
    training = Training(**given)
    counts: list[int] = []
    training.score_reference(counts.append)
    assert counts[-1] == len(scores)
    assert not any(score != score for score in training.trainer.train_dataset["ref_chosen_logps"])


def test_frozen_layers_stop_at_once_and_go_on(tiny_model: Path, tmp_path: Path) -> None:
    given = arguments(tiny_model, tmp_path, lora=LoraConfig(rank=4, alpha=8, frozen_share=0.5))
    training = Training(**given)
    assert training.trainer.prefix is not None
    training.stop()
    with pytest.raises(Stopped):
        training.compute_prefix()
    train(**given)


def test_a_torn_checkpoint_is_passed_over(tiny_model: Path, tmp_path: Path) -> None:
    train(**arguments(tiny_model, tmp_path / "whole"))
    given = arguments(tiny_model, tmp_path / "torn", checkpoint_steps=1)

    class Stop(Exception):
        pass

    def stop(done: int) -> None:
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        train(on_done=stop, **given)
    kept = sorted(path.name for path in (tmp_path / "torn").glob("step-*"))
    assert kept == ["step-3", "step-4"]
    path = tmp_path / "torn" / "step-4" / "optimizer.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (tmp_path / "torn" / "step-9.partial").mkdir()  # what a kill in a save leaves
    facts, _ = train(**given)
    assert facts["resumed_from_step"] == 3
    assert adapter(tmp_path / "torn") == adapter(tmp_path / "whole")


def test_a_checkpoint_of_another_training_is_not_used(tmp_path: Path) -> None:
    folder = checkpoints.step_folder(tmp_path, 3)
    checkpoints.write(folder, "this", {"adapter": {"a": torch.ones(2)}}, {"seconds": 1.0})
    assert checkpoints.newest(tmp_path, "this") == folder
    assert checkpoints.newest(tmp_path, "another") is None
    (folder / "manifest.json").write_text("{")
    assert checkpoints.newest(tmp_path, "this") is None


def test_reference_scores_survive_a_kill(tiny_model: Path, tmp_path: Path) -> None:
    given = arguments(tiny_model, tmp_path)
    first = Training(**given)
    first.score_reference()
    expected = first.trainer.train_dataset["ref_chosen_logps"]
    second = Training(**given)

    def refuse(*_: Any) -> Any:
        raise AssertionError("scored again")

    second.trainer.compute_ref_log_probs = refuse
    second.score_reference()
    assert list(second.trainer.train_dataset["ref_chosen_logps"]) == list(expected)


# --- the trainer's own output layer


def test_the_trainers_own_output_layer_gives_the_same_losses(tiny_model: Path, tmp_path: Path) -> None:
    """Where this package's does not fit: models of unsloth's, and sharded ones."""
    _, losses = train(**arguments(tiny_model, tmp_path / "a"))
    _, plain = train(**arguments(tiny_model, tmp_path / "b"), own_head=False)
    assert [row["loss"] for row in plain] == pytest.approx([row["loss"] for row in losses], rel=1e-4)


def test_a_backend_may_bring_its_adapter(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft import get_peft_model

    from cai_bootstrap.training import backends

    def prepare(folder: Path, config: dict[str, Any], **rest: Any) -> backends.Prepared:
        prepared = backends.BACKENDS["peft"](folder, config, **{**rest, "own_head": False})
        return backends.Prepared(get_peft_model(prepared.model, prepared.peft_config), None, own_head=False)

    monkeypatch.setitem(backends.BACKENDS, "brings_it", prepare)
    given = arguments(tiny_model, tmp_path / "a", backend="brings_it")
    facts, losses = train(**given)
    assert facts["backend"] == "brings_it"
    assert losses[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert facts["last_loss"] < facts["first_loss"]
    expected, _ = train(**arguments(tiny_model, tmp_path / "b"))
    assert facts["num_trainable_parameters"] == expected["num_trainable_parameters"]
    assert [path.name for path in sorted((tmp_path / "a" / "finished").iterdir())] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
