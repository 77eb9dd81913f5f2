"""The measuring script for GPUs: its sizes, its plan, and all of it on a CPU with a tiny shape."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from benchmarks.gpu import phases, shapes, table
from benchmarks.gpu.__main__ import Planned, main, plan, run
from benchmarks.gpu.shapes import SHAPES
from cai_bootstrap.__main__ import compose_job
from cai_bootstrap.config import to_dict
from cai_bootstrap.errors import StepFailed
from cai_bootstrap.training.tokenise import encode_pairs, num_tokens

CHECKOUT = Path(__file__).resolve().parent.parent


def check(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """`scripts/gpu_check.sh` with this Python."""
    return subprocess.run(
        [str(CHECKOUT / "scripts" / "gpu_check.sh"), *words],
        env={**os.environ, "PYTHON": sys.executable, **changes},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.mark.parametrize(("name", "billions"), [("32b", 31.0), ("7b", 6.53)])
def test_the_shapes_have_as_many_weights_as_their_models(name: str, billions: float) -> None:
    # Without embeddings, as the models' cards say.
    shape = SHAPES[name]
    assert shape.layers * shape.layer_weights / 1e9 == pytest.approx(billions, rel=0.01)


def test_the_sizes_of_a_layer_are_those_of_the_model(tmp_path: Path) -> None:
    shape = SHAPES["tiny"]
    shapes.write_settings(shape, shape.layers, tmp_path)
    weights = shapes.weights(shape, "cpu")
    model = shapes.load(dict(weights), str(tmp_path), dtype=torch.bfloat16, use_safetensors=True, trust_remote_code=False)
    found = dict(model.named_parameters())
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in found)
    matrices = sum(parameter.numel() for name, parameter in found.items() if parameter.dim() == 2 and ".layers." in name)
    assert matrices == shape.layers * shape.layer_weights


@pytest.mark.parametrize(("name", "experiment"), [("32b", "qwen32b_h200"), ("7b", "qwen7b_24gb")])
def test_training_is_what_the_experiment_trains(name: str, experiment: str) -> None:
    wanted = to_dict(compose_job("explicit", [f"experiment={experiment}", "train.num_epochs=1"], "", planned=True).train)
    assert shapes.train_config(SHAPES[name]) == wanted


def test_operations_are_those_of_the_formula() -> None:
    shape = SHAPES["tiny"]
    body, head = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 64 * 128 * 3), 768 * 64
    assert shapes.needed_operations(shape, 10, 6, recomputed=False) == 4 * body * 10 + 4 * head * 6
    assert shapes.needed_operations(shape, 10, 6, recomputed=True) == 6 * body * 10 + 4 * head * 6


def test_pairs_are_as_long_as_training_allows(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    shape = SHAPES["32b"]
    rows = shapes.pairs(shape, tiny_model)
    assert len(rows) == 6 * 16
    examples = encode_pairs(AutoTokenizer.from_pretrained(str(tiny_model)), rows, 512)  # refuses longer ones
    assert min(len(example["prompt_ids"]) for example in examples) > shape.prompt_tokens - 8
    assert min(num_tokens(example) for example in examples) > 512 - 16


def test_layers_are_left_out_where_the_disk_is_small() -> None:
    shape = SHAPES["7b"]
    assert shapes.layers_with_room(shape, 10**12) == 28
    assert 0 < shapes.layers_with_room(shape, 40 * 10**9) < 28
    assert shapes.layers_with_room(shape, 10**9) == 0


def test_the_largest_model_is_trained_first_and_the_rate_is_measured_before() -> None:
    assert [(one.phase, one.shape) for one in plan(["32b", "7b"])][:3] == [("matrix", ""), ("train", "32b"), ("train", "7b")]
    assert {one.shape for one in plan(["tiny"])} == {"", "tiny"}


@pytest.mark.parametrize(("words", "told"), [(["--shape", "13b"], "'13b' is not known"), (["--shape", ""], "is not known")])
def test_a_mistake_is_told_in_a_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", *words]) == 2
    assert told in capsys.readouterr().err


def test_wheels_that_are_not_there_are_named(tmp_path: Path) -> None:
    done = check("--wheels", str(tmp_path), "--device", "cpu")
    assert done.returncode == 2
    assert "make them with --make-wheels" in done.stderr


def stub(path: Path, script: str) -> str:
    """A program that takes Python's place."""
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_what_a_machine_lacks_is_told_in_a_line_with_what_installs_it(tmp_path: Path) -> None:
    bare = stub(tmp_path / "python", f'exec "{sys.executable}" -S "$@"')  # -S: without its packages
    done = check("--device", "cpu", "--json", str(tmp_path / "gpu.json"), PYTHON=bare, PYTHONPATH="")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    constraints = (CHECKOUT / "constraints" / "unsloth.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0]: line for line in constraints}
    assert " lacks torch, transformers, accelerate, peft, pandas, pyarrow, pyyaml, psutil, filelock, bitsandbytes, " in line
    assert f" -m pip install {pinned['torch']} {pinned['transformers']} " in line
    assert line.endswith("or write --wheels DIR for bitsandbytes, datasets, dill, multiprocess, trl, xxhash (docs/gpu.md)")
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.parametrize(("size", "code"), [(60_000_000, 0), (60_000_001, 1)])
def test_more_bytes_of_wheels_than_may_travel_are_refused(size: int, code: int, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "old.whl").write_text("a wheel of another version")
    downloads = f'echo "$*" > "{tmp_path}/asked"; while [ "$1" != -d ]; do shift; done; truncate -s {size} "$2/new.whl"'
    done = check("--make-wheels", str(wheels), PYTHON=stub(tmp_path / "python", downloads))
    assert done.returncode == code, done.stderr
    assert [path.name for path in wheels.iterdir()] == ["new.whl"]
    assert ("60000001 bytes together, 60000000 may travel" in done.stderr) is (code == 1)
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:3] == ["-m", "pip", "download"]
    assert asked[asked.index("--python-version") + 1] == "3.12"
    assert {"bitsandbytes", "datasets", "dill", "multiprocess", "trl", "xxhash"} <= set(asked)


@pytest.mark.slow
def test_a_phase_that_fails_is_a_row_and_the_next_goes_on(tmp_path: Path) -> None:
    planned = [Planned("resume", "tiny", 60), Planned("matrix", "", 60), Planned("write", "tiny", 0)]
    target = tmp_path / "gpu.json"
    report = run(planned, device="cpu", work=tmp_path, threads=1, minutes=5, target=target)
    failed, done, late = report["phases"]
    assert not failed["ok"]
    assert "the phase train of shape tiny has left no adapter" in failed["error"]
    assert done["ok"]
    assert done["tflops"] > 0
    assert not late["ok"]
    assert "not begun" in late["error"]
    assert json.loads(target.read_bytes()) == report
    assert "has left no adapter" in table.markdown(report)


def test_a_phase_is_stopped_at_its_limit(tmp_path: Path) -> None:
    report = run([Planned("matrix", "", 1)], device="cpu", work=tmp_path, threads=1, minutes=5, target=tmp_path / "gpu.json")
    assert "not done after 1 s" in report["phases"][0]["error"]


def test_an_adapter_is_cut_to_the_layers_on_the_disk(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    names = [f"base_model.model.model.layers.{i}.mlp.up_proj.lora_A.weight" for i in (0, 1, 10)]
    save_file({name: torch.ones(1) for name in names}, adapter / "adapter_model.safetensors")
    phases._keep_lowest(adapter, tmp_path / "cut", 2)
    assert set(load_file(tmp_path / "cut" / "adapter_model.safetensors")) == set(names[:2])


def test_another_adapter_is_not_taken_for_the_same() -> None:
    whole = {"a": torch.ones(100), "b": torch.zeros(3)}
    assert phases.compare(whole, {name: tensor.clone() for name, tensor in whole.items()}) == (True, 0.0)
    equal, difference = phases.compare(whole, {**whole, "a": torch.full((100,), 1.1)})
    assert not equal
    assert difference == pytest.approx(0.1)
    with pytest.raises(StepFailed, match="other weights"):
        phases.compare(whole, {"a": whole["a"]})


@pytest.mark.slow
def test_a_kill_leaves_what_was_measured_and_no_process(tmp_path: Path) -> None:
    target, work = tmp_path / "gpu.json", tmp_path / "work"
    words = ["--device", "cpu", "--shape", "tiny", "--threads", "1", "--json", str(target), "--work", str(work)]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([sys.executable, "-m", "benchmarks.gpu", *words], cwd=CHECKOUT, stdout=log, stderr=log)
    try:
        parent = psutil.Process(running.pid)
        wait_until(lambda: bool(list(work.glob("*/train-tiny.log")) and parent.children()))
        (child,) = parent.children()
    finally:
        running.kill()
        running.wait()
    assert [row["phase"] for row in json.loads(target.read_bytes())["phases"]] == ["matrix"]
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def wait_until(holds: Callable[[], bool], limit_s: float = 60) -> None:
    """Fails when it does not come."""
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_everything_runs_on_a_cpu_with_a_tiny_shape(tmp_path: Path) -> None:
    target, work, bare = tmp_path / "gpu.json", tmp_path / "work", tmp_path / "bare"
    bare.mkdir()
    others = ("gguf", "hydra", "omegaconf", "rich", "scipy", "statsmodels")  # a machine need not have these
    (bare / "sitecustomize.py").write_text(f"import sys\n\nsys.modules.update(dict.fromkeys({others}))\n")
    words = ["--device", "cpu", "--shape", "tiny", "--threads", "1", "--json", str(target), "--work", str(work)]
    done = check(*words, PYTHONPATH=str(bare))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(target.read_bytes())
    rows: dict[str, dict[str, Any]] = {row["phase"]: row for row in report["phases"]}
    assert list(rows) == ["matrix", "train", "resume", "write", "generate", "merge"]
    assert all(row["ok"] for row in rows.values())
    assert rows["train"]["quantized"] is True
    assert rows["train"]["tokens_per_s"] > 0
    assert 0 < rows["train"]["share_of_matrix_rate"] < rows["train"]["share_with_recomputation"] < 1
    assert rows["resume"]["resumed_from_step"] >= 2
    assert rows["resume"]["adapter_equal"] is True
    assert rows["resume"]["losses"] == rows["train"]["losses"]
    assert rows["generate"]["new_tokens"] > SHAPES["tiny"].rows
    certificate = rows["merge"]["certificate"]
    assert certificate["max_logit_difference"] <= rows["merge"]["limits"]["max_logit_difference"] < 1
    assert certificate["base_difference"] > certificate["max_logit_difference"]
    assert all(f"| {phase} |" in done.stdout for phase in rows)
    assert not list(work.iterdir()), "models are removed from the disk"
