"""An engine or a training that cannot be started as it is configured: one line with the way out, before any work, nothing
written.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cai_bootstrap.__main__ import compose_job, main
from cai_bootstrap.engines import measure

LAUNCHED = ["train.launcher=accelerate"]
A100 = "experiment=qwen32b_a100"
SHARDED = [*LAUNCHED, "train.accelerate_config=fsdp", "train.quantization=none"]


def told(words: list[str], folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The one line that the command line answers `stage=1` and these with."""
    monkeypatch.chdir(folder)
    code = main(["stage=1", *words])
    out, err = capfd.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("cai_bootstrap: error: ")
    assert not [path for path in folder.iterdir() if path.suffix != ".yaml"]
    return err


def on_gpus(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As if torch saw so many."""
    monkeypatch.setattr(measure, "has_gpu", lambda: number > 0)
    monkeypatch.setattr(measure, "num_gpus", lambda: number)


def without(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """As if it were not installed."""
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == library else find(name, *rest))


def pretend(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """As if it were installed."""
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: object() if name == library else find(name, *rest))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["engine.device=tpu"], "engine.device='tpu' is not valid: write auto, cpu or cuda"),
        (["train.backend=unsloht"], "train.backend='unsloht' is not known: write one of peft, unsloth"),
        (
            ["train.backend=unsloth"],
            "train.backend=unsloth needs a GPU, and there is none or engine.device=cpu: write train.backend=peft",
        ),
        (["train.launcher=torchrun"], "train.launcher='torchrun' is not valid: write one of none, accelerate"),
        (
            LAUNCHED,
            "train.accelerate_config is missing: write a file of accelerate's, or one of fsdp, one_gpu, two_cpus, zero3",
        ),
        ([*LAUNCHED, "train.accelerate_config=fdsp"], "train.accelerate_config=fdsp does not exist"),
        ([*LAUNCHED, "train.accelerate_config=fsdp"], "train.accelerate_config=fsdp is for GPUs"),
        ([*LAUNCHED, "train.accelerate_config=one_gpu"], "write train.launcher=none, or train.accelerate_config=two_cpus"),
        (["train.accelerate_config=two_cpus"], "write train.launcher=accelerate with it, or leave it out"),
        (
            [*LAUNCHED, "train.accelerate_config=two_cpus", "train.batch_size=9", "train.micro_batch_size=3"],
            "train.batch_size=9 cannot be divided among 2 processes with train.micro_batch_size=3: write a multiple of 6",
        ),
        (
            [*LAUNCHED, "train.accelerate_config=two_cpus", "train.lora.frozen_share=0.5"],
            "train.accelerate_config=two_cpus cannot keep what frozen layers make: write train.lora.frozen_share=0",
        ),
        (["accelerate=two_cpus"], "accelerate=two_cpus: there is no key accelerate"),
        (["engine.vllm.context=512"], "engine.vllm is empty; write engine=vllm as well"),
        (["parent_run.x=1"], "parent_run is empty; leave it out"),
        (["stage.construction.num_cases=9"], "stage.construction is empty; leave it out"),
    ],
)
def test_a_choice_that_cannot_run_is_one_line(
    words: list[str], line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert line in told(words, tmp_path, capfd, monkeypatch)


@pytest.mark.parametrize(
    ("num_gpus", "library", "words", "line"),
    [
        (
            0,
            "bitsandbytes",
            ["train.quantization=nf4"],
            "train.quantization=nf4 needs bitsandbytes, which is not installed: run",
        ),
        (
            1,
            "bitsandbytes",
            [],
            "train.quantization=auto needs bitsandbytes, which is not installed: run `pip install bitsandbytes`",
        ),
        (
            1,
            "unsloth",
            ["train.backend=unsloth"],
            "train.backend=unsloth needs unsloth, which is not installed: run `pip install -e",
        ),
        (1, "", ["train.backend=unsloth", "train=orpo"], "train=orpo does not go with train.backend=unsloth"),
        (
            1,
            "",
            ["train.backend=unsloth", "train.lora.frozen_share=0.5"],
            "write train.lora.frozen_share=0, or train.backend=peft",
        ),
        (2, "", ["train.backend=unsloth", *LAUNCHED, "train.accelerate_config=fsdp"], "runs in one process"),
        (2, "accelerate", [*LAUNCHED, "train.accelerate_config=fsdp"], "needs accelerate, which is not installed"),
        (2, "deepspeed", [*LAUNCHED, "train.accelerate_config=zero3"], "train.accelerate_config=zero3 needs deepspeed"),
        (1, "", [*LAUNCHED, "train.accelerate_config=fsdp"], "has 2 processes, and there are 1 GPUs: write a copy of it with"),
        (
            2,
            "",
            [*LAUNCHED, "train.accelerate_config=two_cpus"],
            "is for CPUs, and this run is on a GPU: write engine.device=cpu",
        ),
        (2, "", [*LAUNCHED, "train.accelerate_config=fsdp"], "shards whole weights only: write train.quantization=none"),
        (2, "", [*SHARDED, "train=orpo"], "write train=dpo, or train.launcher=none"),
        (2, "", [*SHARDED, "train.lora.frozen_share=0.5"], "write train.lora.frozen_share=0, or train.launcher=none"),
    ],
)
def test_so_it_is_on_a_machine_with_gpus_or_without_a_library(
    num_gpus: int,
    library: str,
    words: list[str],
    line: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_gpus(monkeypatch, num_gpus)
    if library != "unsloth":
        pretend(monkeypatch, "unsloth")
    if library:
        without(monkeypatch, library)
    assert line in told(words, tmp_path, capfd, monkeypatch)


@pytest.mark.parametrize(
    "words",
    [
        [A100],
        ["engine.device=cuda"],
        # Nothing is left to the machine's measurement, which would tell.
        ["engine.device=cuda", "engine.dtype=float32", "engine.batch_size=8", "engine.threads=1"],
    ],
)
def test_a_gpu_that_is_not_there_is_told_before_any_work(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_gpus(monkeypatch, 0)
    pretend(monkeypatch, "vllm")
    line = "engine.device='cuda' is not there (torch sees no GPU): write engine.device=auto or cpu"
    assert line in told(words, tmp_path, capfd, monkeypatch)


def test_a_gpu_is_asked_for_where_the_engine_runs_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "vllm")
    pretend(monkeypatch, "ray")
    on_gpus(monkeypatch, 1)
    assert compose_job("explicit", [A100], "").engine.device == "cuda"
    on_gpus(monkeypatch, 0)
    assert compose_job("explicit", [A100], "", planned=True).engine.device == "cuda"
    assert compose_job("explicit", ["engine=ray", "engine.device=cuda"], "").engine.device == "cuda"


def test_what_no_worker_can_run_is_told_with_its_key(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "ray")
    line = "engine.ray.engine='vlm' is not known: write one of scripted, transformers, vllm"
    assert line in told(["engine=ray", "engine.ray.engine=vlm"], tmp_path, capfd, monkeypatch)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a\n", "is no configuration of accelerate"),
        ("distributed_type: XLA\n", "has distributed_type XLA: write one of NO, MULTI_CPU, MULTI_GPU, FSDP, DEEPSPEED"),
        ("distributed_type: MULTI_CPU\nnum_processes: two\n", "has num_processes 'two'"),
        ("distributed_type: 'NO'\nnum_processes: 2\n", "has num_processes 2 of distributed_type NO"),
        (
            "distributed_type: MULTI_GPU\nnum_processes: 4\nnum_machines: 2\n",
            "has num_machines 2: a training runs on one machine",
        ),
    ],
)
def test_a_file_of_your_own_is_read_before_any_work(
    text: str, line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    assert line in told([*LAUNCHED, "train.accelerate_config=mine.yaml"], tmp_path, capfd, monkeypatch)


@pytest.mark.skipif(not importlib.metadata.version("torch").endswith("+cpu"), reason="only torch itself tells GPUs then")
def test_none_of_it_imports_a_library(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from cai_bootstrap.__main__ import main\n"
        "main(['stage=1', 'train.launcher=accelerate', 'train.accelerate_config=fsdp'])\n"
        "main(['stage=1', 'train.quantization=nf4', 'train.backend=unsloth'])\n"
        "sys.exit(len({'torch', 'transformers', 'accelerate', 'bitsandbytes', 'unsloth'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stderr.count("cai_bootstrap: error: ") == 2
