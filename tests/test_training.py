"""Training on real batches of the tiny model: what is taught, what is counted, and that a kill changes nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from cai_bootstrap.config import EngineConfig, LoraConfig, Quantization, TrainConfig, TrainMethod, to_dict
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import StepFailed, UserError
from cai_bootstrap.steps.train import train_adapter
from cai_bootstrap.store.artifacts import Artifact, write_manifest
from cai_bootstrap.store.work import SilentProgress, Work
from cai_bootstrap.training import checkpoints, order
from cai_bootstrap.training.tokenise import encode_pairs
from cai_bootstrap.training.trainer import Training, train

Facts = tuple[dict[str, Any], list[dict[str, Any]]]


def rows(count: int = 11) -> list[dict[str, Any]]:
    """Pairs of different lengths, every second rejected answer cut off."""
    return [
        {
            "id": f"p{i}",
            "prompt": f"Instruction: Name number {i}.\nResponse:",
            "chosen": f" It is {i}.",
            "rejected": " Water boils on Monday" + f", then on day {i}" * (i % 4),
            "chosen_eos": True,
            "rejected_eos": i % 2 == 0,
        }
        for i in range(count)
    ]


def config(**changes: Any) -> dict[str, Any]:
    """A quick training; `lora` may be given too."""
    values: dict[str, Any] = {
        "method": TrainMethod.dpo,
        "learning_rate": 5e-3,
        "num_epochs": 2,
        "batch_size": 4,
        "micro_batch_size": 2,
        "beta": 0.1,
        "loss_types": ["sigmoid", "sft"],
        "loss_weights": [1.0, 0.5],
        "max_length": 256,
        "warmup_ratio": 0.1,
        "scheduler": "cosine",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "quantization": Quantization.none,
        "gradient_checkpointing": False,
        "checkpoint_minutes": 2,
        "lora": LoraConfig(rank=4, alpha=8),
    }
    return to_dict(TrainConfig(**{**values, **changes}))


def arguments(model: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    """What `Training` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    fixed = {"seed": 7, "threads": 1, "device": "cpu", "dtype": "float32"}
    return {
        "model_folder": model,
        "rows": rows(),
        "config": config(**changes),
        "checkpoint_folder": folder,
        **fixed,
    }


def adapter(folder: Path) -> tuple[bytes, bytes]:
    """The finished adapter's two files."""
    finished = folder / "finished"
    return (finished / "adapter_model.safetensors").read_bytes(), (finished / "adapter_config.json").read_bytes()


# --- order and ids


@pytest.mark.parametrize(("num_pairs", "num_epochs"), [(11, 2.0), (8, 1.0), (3, 0.5), (100, 1.5), (1, 1.0)])
def test_order_covers_every_pair_equally(num_pairs: int, num_epochs: float) -> None:
    lengths = [10 + i * 7 % 31 for i in range(num_pairs)]
    settings: dict[str, Any] = {"num_epochs": num_epochs, "batch_size": 4, "micro_batch_size": 2}
    batches = order.micro_batches(lengths, seed=1, **settings)
    counts = torch.bincount(torch.tensor([i for batch in batches for i in batch]), minlength=num_pairs)
    assert int(counts.max() - counts.min()) <= 1
    assert int(counts.sum()) == max(1, round(num_pairs * num_epochs))
    assert -(-len(batches) // 2) == order.num_steps(num_pairs, num_epochs, 4)
    assert all(len(batch) == 2 for batch in batches[:-2])  # only the last step may be short
    assert batches == order.micro_batches(lengths, seed=1, **settings)
    if num_pairs > 8:
        assert batches != order.micro_batches(lengths, seed=2, **settings)


def test_order_pads_less_than_chance() -> None:
    lengths = [10 + i * 37 % 101 for i in range(200)]
    batches = order.micro_batches(lengths, num_epochs=1, batch_size=8, micro_batch_size=4, seed=1)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    chance = sum(len(range(i, i + 4)) * max(lengths[i : i + 4]) for i in range(0, 200, 4))
    assert padded - sum(lengths) < 0.4 * (chance - sum(lengths))


def test_text_that_looks_like_a_special_token_stays_text(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_model))
    row = {**rows(1)[0], "prompt": "Say <eos> and <bos>:", "chosen": " <eos>", "rejected_eos": False}
    (example,) = encode_pairs(tokenizer, [row], 64)
    assert example["prompt_ids"].count(tokenizer.bos_token_id) == 1
    assert tokenizer.eos_token_id not in example["prompt_ids"] + example["rejected_ids"]
    assert example["chosen_ids"].count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(example["chosen_ids"][:-1]) == " <eos>"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen": " word" * 300}, "train.max_length="),
        ({"rejected": "", "rejected_eos": False}, "rejected is empty"),
        ({"rejected": " It is 0."}, "are the same"),
    ],
)
def test_a_pair_that_cannot_be_trained_is_named(tiny_model: Path, change: dict[str, Any], message: str) -> None:
    from transformers import AutoTokenizer

    with pytest.raises(UserError, match="pair 'p0'") as caught:
        encode_pairs(AutoTokenizer.from_pretrained(str(tiny_model)), [{**rows(1)[0], **change}], 256)
    assert message in str(caught.value)


# --- real batches


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_loss_is_on_the_response_only(tiny_model: Path, tmp_path: Path, method: str) -> None:
    losses = {"loss_types": ["orpo"], "loss_weights": [1.0]} if method == "orpo" else {}
    training = Training(**arguments(tiny_model, tmp_path, method=TrainMethod(method), **losses))
    training.score_reference()
    trainer = training.trainer
    tokenizer, data = trainer.processing_class, trainer.train_dataset
    by_text = {row["chosen"]: row for row in rows()}
    seen = 0
    for batch in trainer.get_train_dataloader():
        half = len(batch["input_ids"]) // 2
        for index in range(half):
            chosen = batch["input_ids"][index][batch["completion_mask"][index] == 1].tolist()
            row = by_text[tokenizer.decode(chosen, skip_special_tokens=True)]
            for side, place in (("chosen", index), ("rejected", half + index)):
                ids, mask = batch["input_ids"][place], batch["completion_mask"][place].bool()
                real = batch["attention_mask"][place].bool()
                response = ids[mask].tolist()
                assert tokenizer.decode(response, skip_special_tokens=True) == row[side]
                assert (response[-1] == tokenizer.eos_token_id) is row[f"{side}_eos"]
                assert tokenizer.decode(ids[real & ~mask]) == "<bos>" + row["prompt"]
                assert int((ids[real] == tokenizer.bos_token_id).sum()) == 1
                assert not (mask & ~real).any()
                seen += 1
        # The ids of prompt tokens do not enter the loss as labels: hide them from everything but the input.
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        output = trainer.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels, fused_lm_head=True
        )
        assert torch.equal(output.log_probs != 0, batch["completion_mask"][:, 1:].bool())
    assert seen == 2 * 2 * len(data)


def test_an_unsound_batch_stops_training(tiny_model: Path, tmp_path: Path) -> None:
    training = Training(**arguments(tiny_model, tmp_path))
    sound = training.trainer.train_dataset[0]
    bos = training.collator.bos_token_id
    for change, message in (
        ({"prompt_ids": [bos, *sound["prompt_ids"]]}, "2 BOS tokens"),
        ({"prompt_ids": sound["prompt_ids"][1:]}, "0 BOS tokens"),
        ({"chosen_eos": False}, "EOS due: False"),
        ({"rejected_ids": sound["rejected_ids"][:-1]}, "EOS due: True"),
    ):
        with pytest.raises(StepFailed, match=message):
            training.collator([{**sound, **change}])


def test_head_gives_what_trl_gives(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trl.trainer.utils import add_fused_lm_head

    from cai_bootstrap.engines import head as output_layer
    from cai_bootstrap.engines.packed import PackedLinear
    from cai_bootstrap.training import head, packing

    # Several chunks, several tiles and a soft cap, so that all are tested.
    monkeypatch.setattr(head, "_LOGITS_PER_TILE", 1)
    monkeypatch.setattr(output_layer, "_TILE_TOKENS", 48)
    training = Training(**arguments(tiny_model, tmp_path))
    trainer = training.trainer
    base = trainer.model.get_base_model()
    base.config.final_logit_softcapping = 5.0
    training.score_reference()
    with torch.no_grad():  # B starts at zero, where A would have no gradient
        for name, value in trainer.model.named_parameters():
            if "lora_B" in name:
                value.normal_(0, 0.02, generator=torch.Generator().manual_seed(len(name)))
    batch = next(iter(trainer.get_train_dataloader()))
    results = []
    for attention, install in (
        (packing.NAME, head.install),
        ("sdpa", lambda model: add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))),
    ):
        base.forward = type(base).forward.__get__(base)
        base.set_attn_implementation(attention)
        if attention == "sdpa":  # TRL's side has plain layers as well
            plain = dict(AutoModelForCausalLM.from_pretrained(str(tiny_model), dtype=torch.float32).named_modules())
            packed = [part for part in base.named_modules() if isinstance(part[1], PackedLinear)]
            assert len(packed) == 14
            for name, _ in packed:
                layer = plain[name.removesuffix(".base_layer")].requires_grad_(False)
                base.get_submodule(name.rpartition(".")[0]).base_layer = layer
        install(base)
        trainer.model.zero_grad()
        trainer.model.train()
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        gradients = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
        results.append((loss.detach(), gradients, {k: v[-1] for k, v in trainer._metrics["train"].items()}))
    (loss, gradients, metrics), (expected_loss, expected_gradients, expected_metrics) = results
    assert float(gradients.abs().max()) > 1e-3
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-5, atol=1e-5 * float(gradients.abs().max()))
    expected_metrics["num_tokens"] = metrics["num_tokens"]  # it goes on counting
    assert metrics == pytest.approx(expected_metrics, rel=1e-4, abs=1e-5)


def test_four_bit_gradients_are_those_of_the_weights_in_use(tiny_model: Path, tmp_path: Path) -> None:
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Linear4bit

    training = Training(**arguments(tiny_model, tmp_path, quantization=Quantization.nf4))
    training.score_reference()  # in evaluation mode, where some CPUs get another kernel, without a gradient
    trainer = training.trainer
    with torch.no_grad():
        for name, value in trainer.model.named_parameters():
            if "lora_B" in name:
                value.normal_(0, 0.02, generator=torch.Generator().manual_seed(len(name)))
    batch = next(iter(trainer.get_train_dataloader()))

    def gradients() -> torch.Tensor:
        trainer.model.train()
        trainer.model.zero_grad()
        trainer.compute_loss(trainer.model, batch).backward()
        return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])

    found = gradients()
    num_replaced = 0
    for part in trainer.model.modules():
        base = getattr(part, "base_layer", None)
        if isinstance(base, Linear4bit):
            weight: Any = base.weight
            plain = torch.nn.Linear(base.in_features, base.out_features, bias=False)
            plain.weight = torch.nn.Parameter(dequantize_4bit(base.weight.data, weight.quant_state), False)
            part.base_layer = plain
            num_replaced += 1
    assert num_replaced == 14
    expected = gradients()
    assert len(found) == len(expected)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


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


# --- the step


def _artifact(folder: Path, name: str) -> Artifact:
    folder.mkdir(exist_ok=True)
    facts = {"stage": "explicit", "name": name, "digest": name}
    write_manifest(folder, facts)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    return Artifact("explicit", name, name, folder, manifest)


@pytest.mark.parametrize("in_process", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_step_leaves_safetensors_and_json_only(tiny_model: Path, tmp_path: Path, in_process: bool) -> None:
    model_folder, pairs_folder = tmp_path / "model", tmp_path / "pairs"
    pairs_folder.mkdir()
    shutil.copytree(tiny_model, model_folder / "model")
    pq.write_table(pa.Table.from_pylist(rows()), pairs_folder / "pairs.parquet")
    settings = config()
    cadence = {key: settings.pop(key) for key in ("checkpoint_minutes", "checkpoint_steps")}
    work = Work("explicit", "adapter", "d" * 64, tmp_path / "work", 7, settings, SilentProgress())
    engine = EngineConfig(in_process=in_process, device="cpu", dtype="float32", batch_size=4, threads=1)
    with Session(engine) as session:
        train_adapter(
            work,
            session=session,
            model=_artifact(model_folder, "model"),
            pairs=_artifact(pairs_folder, "pairs"),
            cadence=cadence,
        )
    files = sorted(str(path.relative_to(work.folder)) for path in work.folder.rglob("*") if path.is_file())
    assert [name for name in files if name != "work.json"] == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "loss.jsonl",
        "training.json",
    ]
    facts = json.loads((work.folder / "training.json").read_bytes())
    assert facts["num_steps"] == len((work.folder / "loss.jsonl").read_text().splitlines()) == 6
    written = (work.folder / "adapter" / "adapter_config.json").read_text()
    assert json.loads(written)["base_model_name_or_path"] is None
    assert str(tmp_path) not in written
    assert work.summary()["engine"]["engine"] == "trl"
