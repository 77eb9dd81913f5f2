"""Phases in processes of their own, and the folder in which they leave things to those after them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu import shapes
from benchmarks.gpu.shapes import Shape
from cai_bootstrap.errors import MissingArtifact, StepFailed


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a phase runs with."""

    name: str
    """Of the shape."""
    device: str
    work: Path
    """Folder for what phases leave to those after them."""
    threads: int

    @property
    def shape(self) -> Shape:
        """The sizes."""
        return shapes.SHAPES[self.name]

    @property
    def dtype(self) -> str:
        """What is computed in, but for merging."""
        return "bfloat16" if self.device == "cuda" else "float32"

    def folder(self, phase: str) -> Path:
        """What the phase `phase` leaves."""
        return self.work / f"{phase}-{self.name}"

    def adapter(self, phase: str) -> Path:
        """The adapter that the phase has trained. Raises MissingArtifact when there is none."""
        folder = self.folder(phase) / "checkpoints" / "finished"
        if not (folder / "adapter_model.safetensors").is_file():
            raise MissingArtifact(f"the phase {phase} of shape {self.name} has left no adapter")
        return folder

    def model(self) -> tuple[Path, int]:
        """The model on the disk, and its number of layers. Raises MissingArtifact when there is none."""
        path = self.folder("write") / "config.json"
        if not path.is_file():
            raise MissingArtifact(f"the phase write of shape {self.name} has left no model")
        return path.parent, json.loads(path.read_bytes())["num_hidden_layers"]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A phase in a process of its own, which leads a process group."""

    process: subprocess.Popen[bytes]
    result: Path
    log: Path

    def wait_for_row(self, limit_s: float | None = None) -> dict[str, Any]:
        """What the phase returned. Raises StepFailed with the last line that it told, or when it is not done in `limit_s`."""
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise StepFailed(f"not done after {limit_s:.0f} s: stopped") from error
        if code:
            told = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise StepFailed(f"{f'signal {-code}' if code < 0 else f'exit code {code}'}: {told[-1][:400] if told else ''}")
        row: dict[str, Any] = json.loads(self.result.read_bytes())
        return row

    def kill(self) -> None:
        """SIGKILL to the phase and whatever it has started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(phase: str, setting: Setting, *, own_group: bool = True) -> Running:
    """Begin a phase; `own_group` lets it and what it starts be killed together, and apart from this process."""
    stem = f"{phase}-{setting.name}"
    result, log = setting.work / f"{stem}.json", setting.work / f"{stem}.log"
    result.unlink(missing_ok=True)
    words = ["--phase", phase, "--shape", setting.name, "--device", setting.device]
    words += ["--work", str(setting.work), "--threads", str(setting.threads), "--parent", str(os.getpid())]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu", *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=own_group,
        )
    return Running(process=process, result=result, log=log)
