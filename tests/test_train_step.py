"""`train_adapter`: which pairs it trains, against which reference, what it leaves, and what it does when memory ends."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_training import arguments, config, rows

from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines.child import ChildEngine
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import OutOfMemory
from cai_bootstrap.steps import train as train_step
from cai_bootstrap.steps.train import drawn, halved, train_adapter
from cai_bootstrap.store.artifacts import Artifact, write_manifest
from cai_bootstrap.store.files import write_sealed
from cai_bootstrap.store.work import SilentProgress, Work
from cai_bootstrap.training import dpo
from cai_bootstrap.training.trainer import Training, train


def _artifact(folder: Path, name: str) -> Artifact:
    folder.mkdir(exist_ok=True)
    facts = {"stage": "explicit", "name": name, "digest": name}
    write_manifest(folder, facts)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    return Artifact("explicit", name, name, folder, manifest)


def stepped(tiny_model: Path, root: Path, *, in_process: bool = True, reference: Path | None = None, **changes: Any) -> Work:
    """The step's work on the tiny model, with another model's folder as reference where one is given."""
    model_folder, pairs_folder = root / "model", root / "pairs"
    pairs_folder.mkdir(parents=True)
    shutil.copytree(tiny_model, model_folder / "model")
    pq.write_table(pa.Table.from_pylist(rows()), pairs_folder / "pairs.parquet")
    settings = config(**changes)
    settings.pop("reference")
    cadence = {key: settings.pop(key) for key in ("checkpoint_minutes", "checkpoint_steps")}
    work = Work("explicit", "adapter", "d" * 64, root / "work", 7, settings, SilentProgress())
    engine = EngineConfig(in_process=in_process, device="cpu", dtype="float32", batch_size=4, threads=1)
    with Session(engine) as session:
        train_adapter(
            work,
            session=session,
            model=_artifact(model_folder, "model"),
            pairs=_artifact(pairs_folder, "pairs"),
            reference=None if reference is None else _artifact(reference, "base"),
            cadence=cadence,
        )
    return work


def test_rewards_are_measured_against_the_reference(tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "model"
    shutil.copytree(tiny_model, other)
    weights = load_file(other / "model.safetensors")
    torch.manual_seed(3)
    save_file({name: value + 0.02 * torch.randn_like(value) for name, value in weights.items()}, other / "model.safetensors")
    first = {}
    for name, reference in (("previous", None), ("same", tmp_path / "same"), ("base", tmp_path / "other")):
        if name == "same":
            shutil.copytree(tiny_model, tmp_path / "same" / "model")
        work = stepped(tiny_model, tmp_path / name / "run", reference=reference)
        first[name] = json.loads((work.folder / "loss.jsonl").read_text().splitlines()[0])
    assert first["previous"]["rewards/chosen"] == first["same"]["rewards/chosen"] == 0
    assert abs(first["base"]["rewards/chosen"]) > 1e-3
    assert first["previous"]["loss"] == first["same"]["loss"] != first["base"]["loss"]


def test_pairs_of_a_group_have_no_reference(tiny_model: Path, tmp_path: Path) -> None:
    given = arguments(tiny_model, tmp_path)
    given["rows"] = [{**row, "group": "g" if i < 2 else ""} for i, row in enumerate(given["rows"])]
    training = Training(**given)
    counts: list[int] = []
    training.score_reference(counts.append)
    data = training.trainer.train_dataset
    for column in ("ref_chosen_logps", "ref_rejected_logps"):
        assert data[column][:2] == [0.0, 0.0]
        assert all(score < 0 for score in data[column][2:])
    assert counts[0] == 2 + given["config"]["micro_batch_size"]
    assert counts[-1] == len(data)


def test_of_a_pair_whose_chosen_response_alone_is_trained_no_preference_has_a_gradient(
    tiny_model: Path, tmp_path: Path
) -> None:
    def gradient(rows_: list[dict[str, Any]], weights: list[float], folder: str) -> float:
        training = Training(**{**arguments(tiny_model, tmp_path / folder, loss_weights=weights), "rows": rows_})
        counts: list[int] = []
        training.score_reference(counts.append)
        model = training.trainer.model
        training.trainer.compute_loss(model, next(iter(training.trainer.get_train_dataloader()))).backward()
        return max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)

    alone = [{**row, "only_chosen": True} for row in rows()]
    preferred = gradient(rows(), [1.0, 0.0], "a")
    assert gradient(alone, [1.0, 0.0], "b") < 1e-4 * preferred
    assert gradient(alone, [0.0, 1.0], "c") > 0.1 * gradient(rows(), [0.0, 1.0], "d")


def test_pairs_that_prefer_nothing_do_not_count_as_wrong(tiny_model: Path, tmp_path: Path) -> None:
    several = rows(12)
    half = [{**row, "only_chosen": i % 2 == 0} for i, row in enumerate(several)]
    none = [{**row, "only_chosen": True} for row in several]
    given = arguments(tiny_model, tmp_path, batch_size=4, micro_batch_size=2, num_epochs=12, learning_rate=1e-2)
    facts, losses = train(**{**given, "rows": half, "checkpoint_folder": tmp_path / "half"})
    assert facts["final_reward_accuracy"] == 1
    assert facts["final_reward_margin"] > 0
    facts, losses = train(**{**given, "rows": none, "checkpoint_folder": tmp_path / "none"})
    assert facts["final_reward_accuracy"] is facts["final_reward_margin"] is None
    assert {row["rewards/accuracies"] for row in losses} == {None}


def test_pairs_of_stages_before_are_drawn_by_the_root_of_their_number_and_in_whole_groups(tmp_path: Path) -> None:
    stages = []
    for name in ("explicit", "evaluation"):
        (tmp_path / name).mkdir()
        judged = name == "evaluation"
        num_pairs = 80 if judged else 20
        content = [
            {**row, "id": f"{name}-{i}", "group": f"g{i // 2}" if judged else ""} for i, row in enumerate(rows(num_pairs))
        ]
        pq.write_table(pa.Table.from_pylist(content), tmp_path / name / "pairs.parquet")
        stages.append(_artifact(tmp_path / name, name))
    found = drawn(stages, 42, 0.25, random.Random(1))
    by_stage = [[row for row in found if row["id"].startswith(name)] for name in ("explicit", "evaluation")]
    assert [len(part) for part in by_stage] == [5, 8]  # 14 of 56, one part and two; a whole group did not fit any more
    assert set(Counter(row["group"] for row in by_stage[1]).values()) == {2}
    assert len({row["id"] for row in found}) == len(found)
    assert found == drawn(stages, 42, 0.25, random.Random(1))
    again = Counter(row["id"] for row in drawn(stages, 405, 0.25, random.Random(1)))
    assert len(again) == 100
    assert set(again.values()) == {1, 2, 3}
    # 45 and 90 of 135: each has come twice, or once, before one comes again.
    assert {count for id_, count in again.items() if id_.startswith("explicit")} == {2, 3}
    assert {count for id_, count in again.items() if id_.startswith("evaluation")} == {1, 2}


@pytest.mark.parametrize("in_process", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_step_leaves_safetensors_and_json_only(tiny_model: Path, tmp_path: Path, in_process: bool) -> None:
    work = stepped(tiny_model, tmp_path, in_process=in_process)
    files = sorted(str(path.relative_to(work.folder)) for path in work.folder.rglob("*") if path.is_file())
    assert [name for name in files if name not in ("work.json", "attempt.json") and not name.startswith("checkpoints/")] == [
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


@pytest.mark.parametrize("in_process", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_engine_is_gone_before_the_model_that_is_trained_is_loaded(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: bool
) -> None:
    pids: list[int] = []
    held: list[Any] = []
    load: Any = train_step._load

    def with_an_engine(self: Session) -> Session:
        engine = self.engine(tiny_model)
        if isinstance(engine, ChildEngine):
            pids.append(engine.pid)
        return self

    def watched(work: Work, session: Session, arguments: dict[str, Any]) -> Any:
        held.extend([session._engine, *(psutil.pid_exists(pid) for pid in pids)])
        return load(work, session, arguments)

    monkeypatch.setattr(Session, "__enter__", with_an_engine)
    monkeypatch.setattr(train_step, "_load", watched)
    stepped(tiny_model, tmp_path, in_process=in_process, num_epochs=1)
    assert held == ([None] if in_process else [None, False])


# --- out of memory


def fit_only(monkeypatch: pytest.MonkeyPatch, num_pairs: int) -> list[int]:
    """From now on a forward pass of more pairs asks the allocator for a pebibyte. Returns the sizes of all passes to come."""
    sizes: list[int] = []
    original: Any = dpo.DpoTrainer.compute_loss

    def greedy(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]) // 2)
        if sizes[-1] > num_pairs:
            torch.empty(2**50, dtype=torch.uint8)
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(dpo.DpoTrainer, "compute_loss", greedy)
    return sizes


def test_out_of_memory_halves_micro_batches_and_keeps_batches(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stepped(tiny_model, tmp_path / "whole", batch_size=4, micro_batch_size=1)
    sizes = fit_only(monkeypatch, 1)
    work = stepped(tiny_model, tmp_path / "small", batch_size=4, micro_batch_size=4)
    assert (sizes[0], sizes[1], set(sizes[2:])) == (4, 2, {1})
    facts = json.loads((work.folder / "training.json").read_bytes())
    assert facts["too_large_micro_batches"] == [4, 2]
    assert (facts["pairs_per_forward"], facts["pairs_per_step"]) == (1, 4)
    assert work.summary()["warnings"] == ["out of memory with micro-batches of 4, 2: trained with 1"]
    losses = [[json.loads(line)["loss"] for line in (w.folder / "loss.jsonl").open()] for w in (whole, work)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_what_was_too_large_is_known_after_a_kill(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run" / "work" / "checkpoints"
    folder.mkdir(parents=True)
    write_sealed(folder / "memory.json", {"sizes": [4, 2]})
    sizes = fit_only(monkeypatch, 1)
    work = stepped(tiny_model, tmp_path / "run", batch_size=4, micro_batch_size=4)
    assert set(sizes) == {1}
    assert json.loads((work.folder / "training.json").read_bytes())["too_large_micro_batches"] == [4, 2]


@pytest.mark.parametrize(("micro_batch_size", "tried"), [(2, [2, 1]), (16, [16, 8, 4, 2])])
def test_too_little_memory_for_any_size_is_told_with_what_to_write(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch_size: int, tried: list[int]
) -> None:
    sizes = fit_only(monkeypatch, 0)
    with pytest.raises(OutOfMemory, match=f"micro_batch_size={tried[-1]} either: write a smaller train.max_length than 256"):
        stepped(tiny_model, tmp_path, batch_size=16, micro_batch_size=micro_batch_size)
    assert sizes == tried


@pytest.mark.parametrize(("sizes", "half"), [((8, 8), 4), ((6, 6), 3), ((9, 9), 3), ((6, 3), 1), ((5, 5), 1), ((4, 1), 1)])
def test_a_halved_micro_batch_divides_its_batch(sizes: tuple[int, int], half: int) -> None:
    assert halved(*sizes, 0) == sizes[1]
    assert halved(*sizes, 1) == half
