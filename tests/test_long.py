"""Takes hours, so only `make test-long` runs it: the whole curriculum of the real model with vLLM. Stopped, it goes on."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cai_bootstrap import stages

WORDS = [
    *("engine=vllm", "engine.vllm.context=2048", "engine.device=cpu", "engine.dtype=float32", "engine.threads=2"),
    *("preset=small", "eval.num_items=24", "eval.raw=false", "eval.drift_items=8", "merge.num_prompts=4"),
    *("stage.instructions.num_instructions=36", "stage.pairs.min_pairs=6", "train.num_epochs=1"),
    # Few pairs teach little: what is shown is that the stages run, and a gate that is not passed is overridden by name.
    "gate.override=a run that shows the engine",
]
OWN = {
    "evaluation": ["stage.construction.num_cases=40"],
    "revision": ["stage.construction.num_cases=40"],
    "constitutional": ["stage.num_committed.harmful=12", "stage.num_committed.borderline=12", "stage.num_committed.ordinary=8"],
}


@pytest.mark.long
@pytest.mark.timeout(6 * 3600)
def test_all_six_stages_with_vllm(counted: Callable[[str], None]) -> None:
    assert importlib.util.find_spec("vllm"), "make setup-vllm installs it"
    root = Path(os.environ.get("LONG_ROOT") or Path(tempfile.gettempdir()) / "cai-test-long")
    root.mkdir(parents=True, exist_ok=True)
    for name in stages.CURRICULUM[1:]:
        command = [sys.executable, "-m", "cai_bootstrap", f"stage={name}", *WORDS, *OWN.get(name, []), f"paths.root={root}"]
        with (root / "output.txt").open("ab") as output:
            code = subprocess.run(command, stdout=output, stderr=output, check=False).returncode
        assert code == 0, (root / "output.txt").read_text()[-2000:]
    told = json.loads((root / "data" / "runs" / "default" / "run.json").read_bytes())["stages"]
    assert list(told) == list(stages.CURRICULUM)
    for name in stages.CURRICULUM[1:]:
        folder = root / "data" / "runs" / "default" / name
        gate = json.loads((folder / "gate" / "gate.json").read_bytes())
        pairs = json.loads((folder / "pairs" / "manifest.json").read_bytes())["num_records"]
        engine = json.loads((folder / "eval-outputs" / "manifest.json").read_bytes())["engine"]["engine"]
        assert (engine, gate["override"] is not None or gate["passed"]) == ("vllm", True)
        counted(f"{name}: {pairs} pairs, gate {'passed' if gate['passed'] else 'not passed'}")
