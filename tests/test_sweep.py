"""Sweeps through the command line: order, the first failed gate, what is shared and skipped, and the summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_curriculum import as_one_form, known
from test_whole_curriculum import WORDS, Able, Models, reference

from cai_bootstrap import pipeline, stages
from cai_bootstrap.__main__ import main
from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines import audit
from cai_bootstrap.engines.engine import Engine
from cai_bootstrap.evals import tasks

SMALL = [word for word in WORDS if not word.startswith("stage.gate.override")]
EASY = ["gate.min_strict=0.5", "gate.max_p_value=0.5", "gate.noninferiority_margin=1"]


class Taught(Models):
    """Trained models know what the suite of stage 1 asks, and nothing of the later ones."""

    def engine(self, folder: Path) -> Engine:
        if folder.parent.name.startswith("base"):
            return super().engine(folder)
        items = [item for split in tasks.SPLITS for item in tasks.load_suite("explicit", split)]
        return Able({**{item.instruction: reference(item) for item in items}, **known()})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which models are real and tiny, and their texts scripted."""
    resolved = EngineConfig(device="cpu", dtype="float32", batch_size=1, threads=1, in_process=True)
    monkeypatch.setattr(pipeline, "Session", Taught)
    monkeypatch.setattr(pipeline, "resolve_engine", lambda *_: resolved)
    monkeypatch.setattr(audit, "audit", lambda *_, **__: {"passed": True, "failures": [], "warnings": []})
    monkeypatch.setattr(stages.stage, "load_seeds", as_one_form)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_x(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "-m",
        "stage=1",
        "train.learning_rate=5e-4,1e-3",
        "stage.pairs.min_pairs=8,9999",
        *[w for w in SMALL if "min_pairs" not in w],
        *EASY,
    ]
    code = main(words)
    out = capsys.readouterr()
    open("/tmp/sw/o.txt", "a").write(f"CODE {code}\n{out.out}\nERR {out.err}\n")
    code = main(words)
    out = capsys.readouterr()
    open("/tmp/sw/o.txt", "a").write(f"CODE {code}\n{out.out}\nERR {out.err}\n")
    main(["plan", *words])
    print(capsys.readouterr().out[-1500:])


def test_y(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "stage=1,2,3", *SMALL, *EASY]
    code = main(words)
    out = capsys.readouterr()
    open("/tmp/sw/o.txt", "a").write(f"CODE {code}\n{out.out}\nERR {out.err}\n")
    code = main(words)
    out = capsys.readouterr()
    open("/tmp/sw/o.txt", "a").write(f"CODE {code}\n{out.out}\nERR {out.err}\n")
