"""Order, ids and losses of real batches of the tiny model: what is taught, against TRL and against plain weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import arguments, rows

from cai_bootstrap.config import Quantization, TrainMethod
from cai_bootstrap.engines.measure import has_fast_bf16
from cai_bootstrap.errors import StepFailed, UserError
from cai_bootstrap.training import order
from cai_bootstrap.training.tokenise import encode_pairs
from cai_bootstrap.training.trainer import Training

# --- order and ids


@pytest.mark.parametrize(("num_pairs", "num_epochs"), [(11, 2.0), (8, 1.0), (3, 0.5), (100, 1.5), (1, 1.0)])
def test_order_covers_every_pair_equally(num_pairs: int, num_epochs: float) -> None:
    lengths = [10 + i * 7 % 31 for i in range(num_pairs)]
    alone = [""] * num_pairs
    settings: dict[str, Any] = {"num_epochs": num_epochs, "batch_size": 4, "micro_batch_size": 2}
    batches = order.micro_batches(lengths, alone, seed=1, **settings)
    counts = torch.bincount(torch.tensor([i for batch in batches for i in batch]), minlength=num_pairs)
    assert int(counts.max() - counts.min()) <= 1
    assert int(counts.sum()) == max(1, round(num_pairs * num_epochs))
    assert -(-len(batches) // 2) == order.num_steps(num_pairs, num_epochs, 4)
    assert all(len(batch) == 2 for batch in batches[:-2])  # only the last step may be short
    assert batches == order.micro_batches(lengths, alone, seed=1, **settings)
    if num_pairs > 8:
        assert batches != order.micro_batches(lengths, alone, seed=2, **settings)


def test_order_pads_less_than_chance() -> None:
    lengths = [10 + i * 37 % 101 for i in range(200)]
    batches = order.micro_batches(lengths, [""] * 200, num_epochs=1, batch_size=8, micro_batch_size=4, seed=1)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    chance = sum(len(range(i, i + 4)) * max(lengths[i : i + 4]) for i in range(0, 200, 4))
    assert padded - sum(lengths) < 0.4 * (chance - sum(lengths))


def test_pairs_of_a_group_meet_in_one_step() -> None:
    groups = [f"g{i // 2}" if i < 160 else "" for i in range(200)]
    lengths = [10 + i * 37 % 101 for i in range(200)]
    batches = order.micro_batches(lengths, groups, num_epochs=2, batch_size=8, micro_batch_size=4, seed=1)
    steps = [batches[i] + batches[i + 1] for i in range(0, len(batches), 2)]
    assert sorted(i for step in steps for i in step) == sorted([*range(200)] * 2)
    together = sum(step.count(i) for step in steps for i in range(0, 160, 2) if i in step and i + 1 in step)
    assert together >= 0.8 * 160  # of 80 groups in two epochs; a single pair before a group may shift it over the end of a step
    orders = [[i for step in steps[:25] for i in step], [i for step in steps[25:] for i in step]]
    assert orders[0] != orders[1]


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


def test_what_both_responses_of_a_groups_pair_end_in_is_left_out(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_model))
    judged = {**rows(1)[0], "chosen": " No. What do bees make?", "rejected": " Yes. What do bees make?"}
    endless = {**judged, "rejected": " No. What do bees make? Bees make", "rejected_eos": False}
    inside = {**judged, "rejected": " It is no. What do bees make?", "chosen": " What do bees make?"}
    cut, whole, short = encode_pairs(tokenizer, [{**row, "group": "g"} for row in (judged, endless, inside)], 64)
    asked = tokenizer(". What do bees make?", add_special_tokens=False)["input_ids"]
    for side, label in (("chosen", " No"), ("rejected", " Yes")):
        assert tokenizer.decode(cut[f"{side}_ids"]) == label
        assert not cut[f"{side}_eos"]
    assert whole["chosen_ids"][-1] == tokenizer.eos_token_id  # one ends and the other does not: nothing is shared
    assert whole["chosen_eos"]
    assert whole["chosen_ids"][:-1] == whole["rejected_ids"][: len(whole["chosen_ids"]) - 1]
    assert len(short["chosen_ids"]) == 1  # the end of a text that is one of the other: a token is left
    kept = encode_pairs(tokenizer, [judged], 64)[0]
    assert kept["chosen_ids"][len(cut["chosen_ids"]) :] == [*asked, tokenizer.eos_token_id]


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


def decisions() -> list[dict[str, Any]]:
    """Pairs whose two labels one state predicts, and pairs whose chosen response alone is trained."""
    labels = [{"chosen": " Yes. It is.", "rejected": " No. It is."}, {"chosen": " No. It is.", "rejected": " Yes. It is."}]
    return [
        {**row, **(labels[i % 2] if i % 4 < 2 else {"only_chosen": True}), "group": f"g{i // 4}", "rejected_eos": True}
        for i, row in enumerate(rows(16))
    ]


@pytest.fixture
def capped(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose output layer takes all ways."""
    from cai_bootstrap.engines import head as output_layer
    from cai_bootstrap.training import head

    # Several chunks, several tiles and a soft cap, so that all are tested.
    monkeypatch.setattr(head, "_LOGITS_PER_TILE", 1)
    monkeypatch.setattr(output_layer, "_TILE_TOKENS", 48)
    capped = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((capped / "config.json").read_bytes())
    (capped / "config.json").write_text(json.dumps({**config, "final_logit_softcapping": 5.0}))
    return capped


def first_step(
    model: Path, folder: Path, pairs: list[dict[str, Any]], *, own_head: bool = True, **changes: Any
) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
    """Loss, gradients and metrics of the first batch, with an adapter that changes something."""
    from cai_bootstrap.engines.packed import PackedLinear
    from cai_bootstrap.training.fused import FusedRmsNorm
    from cai_bootstrap.training.packing import pack, response_labels

    given = arguments(model, folder, micro_batch_size=4, **changes)
    trainer = Training(**{**given, "rows": pairs, "own_head": own_head}).trainer
    kinds = [type(part) for part in trainer.model.modules()]
    assert (kinds.count(PackedLinear), kinds.count(FusedRmsNorm)) == ((14, 13) if own_head else (0, 0))
    trainer.score_reference(4, 60, None)
    with torch.no_grad():  # B starts at zero, where A would have no gradient
        for name, value in trainer.model.named_parameters():
            if "lora_B" in name:
                value.normal_(0, 0.02, generator=torch.Generator().manual_seed(len(name)))
    batch = next(iter(trainer.get_train_dataloader()))
    packed = pack(batch["input_ids"], batch["attention_mask"], response_labels(batch))
    assert (len(packed.pairs), len(packed.blocks)) == (4, 2), "two pairs a block, which share what they begin with"
    trainer.model.zero_grad()
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradients = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
    return loss.detach(), gradients, {k: v[-1] for k, v in trainer._metrics["train"].items()}


PAIRS = pytest.mark.parametrize("pairs", [rows(), decisions()], ids=["preferences", "decisions"])


@PAIRS
def test_head_and_fused_layers_give_what_trl_gives(pairs: list[dict[str, Any]], capped: Path, tmp_path: Path) -> None:
    loss, gradients, metrics = first_step(capped, tmp_path / "ours", pairs)
    expected_loss, expected_gradients, expected_metrics = first_step(capped, tmp_path / "theirs", pairs, own_head=False)
    assert float(gradients.abs().max()) > 1e-3
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-5, atol=1e-5 * float(gradients.abs().max()))
    expected_metrics["num_tokens"] = metrics["num_tokens"]  # it goes on counting
    assert metrics == pytest.approx(expected_metrics, rel=1e-4, abs=1e-5)


if has_fast_bf16():

    @PAIRS
    def test_a_head_in_bf16_gives_nearly_the_same(pairs: list[dict[str, Any]], capped: Path, tmp_path: Path) -> None:
        loss, gradients, metrics = first_step(capped, tmp_path / "rounded", pairs, head_dtype="bfloat16")
        expected_loss, expected_gradients, expected_metrics = first_step(capped, tmp_path / "whole", pairs)
        assert not torch.equal(gradients, expected_gradients)
        torch.testing.assert_close(loss, expected_loss, rtol=2e-3, atol=0)
        assert float((gradients - expected_gradients).norm() / expected_gradients.norm()) < 0.01
        assert metrics["rewards/margins"] == pytest.approx(expected_metrics["rewards/margins"], abs=2e-3)


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
