"""What `train.quantization=auto` stands for, and that it leaves the addresses of what was made without it as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from cai_bootstrap import stages
from cai_bootstrap.__main__ import compose_job
from cai_bootstrap.config import EngineConfig, Quantization, Script
from cai_bootstrap.engines.resolve import MACHINE_FILE, settle_training, with_known_device
from cai_bootstrap.engines.session import Session
from cai_bootstrap.lineage import Parent
from cai_bootstrap.pipeline import bootstrap, measure_baseline
from cai_bootstrap.report.plan import Planner
from cai_bootstrap.store.files import write_sealed


@pytest.mark.parametrize(
    ("written", "device", "script", "meant"),
    [
        ("auto", "cuda", None, "nf4"),
        ("auto", "cpu", None, "none"),
        ("nf4", "cpu", None, "nf4"),
        ("none", "cuda", None, "none"),
        ("auto", "cuda", Script.passes, "none"),
    ],
)
def test_auto_is_settled_by_the_device(written: str, device: str, script: Script | None, meant: str) -> None:
    train = compose_job("explicit", [f"train.quantization={written}"], "").train
    engine = EngineConfig(name="scripted" if script else "transformers", script=script, device=device)
    assert settle_training(train, engine).quantization is Quantization(meant)


def digests(root: Path, device: str, *overrides: str) -> dict[str, str]:
    """The addresses of a stage's adapter and model."""
    config = compose_job("explicit", list(overrides), "")
    planner, session = Planner(root, config), Session(EngineConfig(device=device))
    base, outcome = measure_baseline(planner, session, config, "explicit")
    bootstrap(planner, session, config, stages.load("explicit"), Parent(base), outcome, "model", 1)
    return {one.name: one.digest for one in planner.steps if one.name in ("adapter", "model")}


def test_what_is_meant_is_what_an_adapter_is_addressed_by(tmp_path: Path) -> None:
    plain = digests(tmp_path, "cpu", "train.quantization=none")
    assert digests(tmp_path, "cpu") == plain
    four_bit = digests(tmp_path, "cuda")
    assert four_bit == digests(tmp_path, "cpu", "train.quantization=nf4")
    assert all(four_bit[name] != plain[name] for name in plain)


def test_a_plan_knows_the_device_that_the_run_was_measured_on(tmp_path: Path) -> None:
    assert with_known_device(tmp_path, EngineConfig()).device == "auto"
    write_sealed(tmp_path / MACHINE_FILE, {"device": "cuda"})
    assert with_known_device(tmp_path, EngineConfig()).device == "cuda"
    assert with_known_device(tmp_path, EngineConfig(device="cpu")).device == "cpu"
