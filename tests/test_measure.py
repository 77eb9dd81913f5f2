"""The machine's measurement, the settings that follow from it, and `doctor`."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from pathlib import Path

import pytest

from cai_bootstrap.__main__ import compose_job
from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines import measure
from cai_bootstrap.errors import UserError
from cai_bootstrap.report.doctor import doctor


def test_the_machine_is_measured_quickly_and_left_as_it_was() -> None:
    import torch

    threads = torch.get_num_threads()
    start = time.perf_counter()
    measured = measure.measure("cpu")
    assert time.perf_counter() - start < 12  # under 6 on a quiet machine
    assert torch.get_num_threads() == threads
    assert measured["device"] == "cpu"
    assert measured["fp32_gflops"] > 0.5
    assert measured["bf16_gflops"] > 0.001
    assert measured["bandwidth_gb_s"] > 0.1
    assert 1 <= measured["threads"] == measured["cores"] <= 1024
    assert measured["batch_size"] & (measured["batch_size"] - 1) == 0
    assert measured["dtype"] == ("bfloat16" if measured["bf16_speedup"] >= 4 else "float32")
    assert json.loads(json.dumps(measured)) == measured


@pytest.mark.parametrize(
    ("device", "fp32", "bf16", "dtype"),
    [
        ("cpu", 86.0, 0.95, "float32"),  # AVX2
        ("cpu", 163.0, 421.0, "float32"),  # AVX512-bf16
        ("cpu", 100.0, 400.0, "bfloat16"),  # AMX
        ("cuda", 30000.0, 300000.0, "bfloat16"),
        ("cuda", 8000.0, 4000.0, "float32"),  # a GPU that emulates it
    ],
)
def test_bfloat16_only_where_it_was_measured_to_be_faster(device: str, fp32: float, bf16: float, dtype: str) -> None:
    assert measure.choose_dtype(device, fp32, bf16)[0] == dtype


@pytest.mark.parametrize(
    ("device", "cores", "memory_gib", "batch_size"),
    [
        ("cpu", 2, 22.0, 64),
        ("cpu", 16, 100.0, 64),
        ("cpu", 8, 5.0, 16),
        ("cpu", 2, 3.0, 1),
        ("cuda", 16, 139.0, 256),
        ("cuda", 8, 8.0, 16),
    ],
)
def test_the_batch_fits_the_memory_and_the_cores(device: str, cores: int, memory_gib: float, batch_size: int) -> None:
    assert measure.choose_batch_size(device, cores, memory_gib) == batch_size


def test_what_was_set_by_hand_stays() -> None:
    measured = {"device": "cpu", "dtype": "float32", "batch_size": 32, "threads": 2}
    resolved = measure.resolve(EngineConfig(batch_size=3, dtype="bfloat16"), measured)
    assert resolved == EngineConfig(device="cpu", dtype="bfloat16", batch_size=3, threads=2)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match=r"engine\.device='tpu'"):
        measure.measure("tpu")


def test_doctor_without_a_model_says_what_prepares_it(tmp_path: Path) -> None:
    config = compose_job("explicit", ["model=tiny-random", f"paths.root={tmp_path}", "engine.device=cpu"], "")
    report = json.loads(doctor(config, as_json=True))
    assert report["machine"]["disk_write_mb_s"] > 0
    assert report["model"]["prepared"] is False
    assert report["model"]["prepare_with"] == "python -m cai_bootstrap stage=baseline model=tiny-random"
    assert report["versions"]["torch"]
    for name, told in report["optional"].items():
        assert told[0].isdigit() if importlib.util.find_spec(name) else told.startswith("not installed: run `"), told
    assert report["optional"].keys() == {"vllm", "ray", "bitsandbytes", "accelerate", "unsloth", "deepspeed"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_doctor_audits_the_prepared_model_and_no_half_written_one(tmp_path: Path, tiny_model: Path) -> None:
    base = tmp_path / "checkpoints" / "baseline"
    shutil.copytree(tiny_model, base / "base-0123456789abcdef" / "model")
    overrides = [
        "model=tiny-random",
        f"paths.root={tmp_path}",
        "engine.in_process=true",
        "engine.device=cpu",
        "engine.threads=1",
    ]
    config = compose_job("explicit", overrides, "")
    assert "not prepared here yet" in doctor(config, as_json=False)
    (base / "base-0123456789abcdef" / "manifest.json").write_text('{"settings": {"name": "tiny-random"}}')
    text = doctor(config, as_json=False)
    assert "prompt audit" in text
    assert "passed" in text
    assert '"<bos>" "Instruction"' in text
    (tmp_path / "checkpoints" / "baseline" / "base-0123456789abcdef" / "manifest.json").write_text('{"settings": {}}')
    assert "not prepared here yet" in doctor(config, as_json=False)
