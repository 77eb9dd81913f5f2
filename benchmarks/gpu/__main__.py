"""Measure a GPU: `scripts/gpu_check.sh` calls this with what it was given.

    python -m benchmarks.gpu [--device cuda] [--shape 32b,7b] [--json FILE] [--work DIR] [--minutes 8.8]

Phases run in order of worth, each in a process of its own with a limit. What is measured is in the JSON as soon as its phase
has ended, so a kill loses the phase that runs. Exit code 0 when every phase was as it should be, 1 when one was not, 2 for a
mistake in the command.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu import phases, process, table
from benchmarks.gpu.process import Setting
from benchmarks.gpu.shapes import SHAPES
from cai_bootstrap.engines.child import die_with_parent
from cai_bootstrap.errors import CaiError, StepFailed, UserError
from cai_bootstrap.store.files import write_atomic
from cai_bootstrap.store.provenance import code_revision, library_versions


@dataclass(frozen=True)
class Planned:
    """A phase, and the seconds that it may take."""

    phase: str
    shape: str
    limit_s: float


_PLAN = (
    Planned("matrix", "", 60),
    Planned("train", "32b", 170),
    Planned("train", "7b", 90),
    Planned("resume", "7b", 120),
    Planned("write", "7b", 90),
    Planned("generate", "7b", 70),
    Planned("merge", "7b", 130),
    Planned("write", "32b", 60),
    Planned("generate", "32b", 60),
    Planned("train", "tiny", 200),
    Planned("resume", "tiny", 200),
    Planned("write", "tiny", 200),
    Planned("generate", "tiny", 200),
    Planned("merge", "tiny", 200),
)
"""In order of worth: what comes last is left out when the time is up. All shares need the matrix rate, which is of no shape."""

_ANY = "any"
_LOG_CHARACTERS = 4000


def plan(names: Sequence[str]) -> list[Planned]:
    """The phases for these shapes. Raises UserError for a shape that is not known."""
    unknown = [name for name in names if name not in SHAPES]
    if unknown or not names:
        raise UserError(f"--shape={','.join(names)!r} is not known: write some of {', '.join(SHAPES)}")
    return [planned for planned in _PLAN if planned.shape in ("", *names)]


def run(planned: Sequence[Planned], *, device: str, work: Path, threads: int, minutes: float, target: Path) -> dict[str, Any]:
    """Run the phases in turn and write `target` after each; returns what it holds then."""
    deadline = time.monotonic() + 60 * minutes
    report: dict[str, Any] = {"machine": machine(work), "device": device, "minutes": minutes, "phases": []}
    rate: float | None = None
    for one in planned:
        begin = time.monotonic()
        limit_s = min(one.limit_s, deadline - begin)
        row: dict[str, Any] = {"phase": one.phase, "shape": one.shape or None, "limit_s": round(limit_s, 1)}
        print(f"{one.phase} {one.shape} …", file=sys.stderr, flush=True)
        try:
            if limit_s < 1:
                raise StepFailed(f"not begun: the {minutes} minutes are over")
            setting = Setting(name=one.shape or _ANY, device=device, work=work, threads=threads)
            row |= process.start(one.phase, setting).wait_for_row(limit_s)
            row["ok"] = not row.get("wrong")
        except CaiError as error:
            row |= {"ok": False, "error": str(error), "log": _end_of_log(work / f"{one.phase}-{one.shape or _ANY}.log")}
        row["seconds"] = round(time.monotonic() - begin, 1)
        if one.phase == "matrix":
            rate = row.get("tflops")
        elif rate and "tflops" in row:
            row["share_of_matrix_rate"] = row["tflops"] / rate
            row["share_with_recomputation"] = row["tflops_with_recomputation"] / rate
        report["phases"].append(row)
        write_atomic(target, (json.dumps(report, indent=2) + "\n").encode())
        _make_room(planned, one, work)
    return report


def machine(work: Path) -> dict[str, Any]:
    """The GPU as its driver names it (None without one), cores, memory, free disk, versions, and the code's revision."""
    return {
        "gpu": _gpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "free_disk_gb": round(shutil.disk_usage(work).free / 1e9, 1),
        "versions": library_versions(),
        "code_revision": code_revision(),
    }


def _end_of_log(path: Path) -> str:
    """What a phase that failed told last: whoever rents the machine sees no other log."""
    return path.read_text(encoding="utf-8", errors="replace")[-_LOG_CHARACTERS:] if path.is_file() else ""


def _gpu() -> dict[str, str] | None:
    names = ("name", "memory.total", "driver_version")
    try:
        command = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(zip(names, (value.strip() for value in told.splitlines()[0].split(",")), strict=True))


def _make_room(planned: Sequence[Planned], done: Planned, work: Path) -> None:
    """Remove a shape's models from the disk after its last phase: the next one needs the room."""
    if [one.phase for one in planned if one.shape == done.shape][-1] == done.phase:
        for phase in ("write", "merge"):
            shutil.rmtree(work / f"{phase}-{done.shape}", ignore_errors=True)


def _require(device: str) -> None:
    """Raises UserError when there is no such device."""
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UserError("--device='cuda' is not there (torch sees no GPU): write --device=cpu --shape=tiny")


def main(words: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/gpu_check.sh", description="Measures a GPU; see docs/gpu.md.")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--shape", default="32b,7b", help=f"some of {', '.join(SHAPES)}, with commas (default: 32b,7b)")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/gpu.json"), help="where the results go")
    parser.add_argument("--work", type=Path, help="folder for models, 60 GB for all rows (default: a temporary one)")
    parser.add_argument("--minutes", type=float, default=8.8, help="for all phases together (default: 8.8)")
    parser.add_argument("--threads", type=int, default=0, help="of the processor (default: torch's choice)")
    parser.add_argument("--phase", choices=list(phases.PHASES), help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)  # of a phase: the process that it ends with
    options = parser.parse_args(words)
    if options.phase:
        die_with_parent(options.parent)
        setting = Setting(name=options.shape, device=options.device, work=options.work, threads=options.threads)
        row = phases.PHASES[options.phase](setting)
        write_atomic(options.work / f"{options.phase}-{options.shape}.json", json.dumps(row).encode())
        return 0
    try:
        planned = plan(options.shape.split(","))
        _require(options.device)
        if options.work is not None:
            options.work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="gpu-check-", dir=options.work) as work:
            report = run(
                planned,
                device=options.device,
                work=Path(work),
                threads=options.threads,
                minutes=options.minutes,
                target=options.json,
            )
    except UserError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return error.exit_code
    print(table.markdown(report))
    return 0 if all(row["ok"] for row in report["phases"]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
