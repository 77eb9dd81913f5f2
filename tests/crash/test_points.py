"""Every single write is a crash point: a kill before and after each file operation and flush, and a power cut there.

Run as a script, this file is the process that crashes.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from disk import Disk, die
from forks import FULL, as_script, in_fork, run_script

from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run, Work, read_run, step
from cai_bootstrap.training import checkpoints

NUM_SHARDS = 2
KEY = "training"


def told(line: str) -> None:
    """One line in the log, which lies outside of the disk that crashes."""
    descriptor = os.open(os.environ["CRASH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


@step(version=1)
def sharded(work: Work) -> None:
    """Random rows in shards, dropped rows, and a warning."""
    for index in range(NUM_SHARDS):

        def compute(seed: int, index: int = index) -> list[dict[str, Any]]:
            told(f"begin shard {index}")
            source = random.Random(seed)
            return [{"shard": index, "value": source.random()} for _ in range(3)]

        work.shard(index, compute)
        told(f"committed shard {index}")
    work.write_rows("records.jsonl", work.rows_of(range(NUM_SHARDS)))
    work.warn("three rows are few")
    work.drop([{"reason": "none"}])


@step(version=1)
def trained(work: Work, drafts: Artifact) -> None:
    """Three checkpoints of something, as a trainer leaves them, and a result."""
    import torch

    folder = work.checkpoints
    last = checkpoints.newest(folder, KEY)
    done = 0 if last is None else int(last.name.rpartition("-")[2])
    for number in range(done + 1, 4):
        told(f"begin checkpoint {number}")
        tensors = {"adapter": {"a": torch.full((8,), float(number))}}
        checkpoints.write(checkpoints.step_folder(folder, number), KEY, tensors, {"seconds": number})
        checkpoints.prune(folder)
        told(f"committed checkpoint {number}")
    newest = checkpoints.newest(folder, KEY)
    assert newest is not None
    work.write_bytes("adapter/weights.bin", (newest / "adapter.safetensors").read_bytes())
    work.write_json("seen.json", {"rows": len(drafts.rows())})


def scenario(root: Path) -> None:
    """A run of two stages: what a step, a checkpoint, a gate and a changed setting write."""
    with Run(root, "default") as run:
        run.save_config("explicit", {"seed": 1})
        drafts = run.step("explicit", "drafts", sharded, settings={"size": 1}, seed=1)
        run.step("explicit", "adapter", trained, settings={}, inputs={"drafts": drafts}, seed=1)
        gate = run.step("explicit", "gate", sharded, settings={"size": 2}, seed=1)
        run.record_stage("explicit", gate, passed=True)
        told("recorded the gate")
        again = run.step("explicit", "drafts", sharded, settings={"size": 3}, seed=1)
        run.step("explicit", "adapter", trained, settings={}, inputs={"drafts": again}, seed=1)


def contents(root: Path) -> dict[str, bytes]:
    """Every file of every artifact but its manifest, which tells times, and where the run's links lead."""
    places = [*(root / "data/store").rglob("*"), *(root / "checkpoints").rglob("*")]
    files = [path for path in places if path.is_file() and path.name != "manifest.json" and ".locks" not in path.parts]
    found = {str(path.relative_to(root)): path.read_bytes() for path in files}
    links = [path for path in (root / "data/runs").rglob("*") if path.is_symlink()]
    return found | {str(path.relative_to(root)): str(path.readlink()).encode() for path in links}


def require_nothing_lost(before: str, after: str, what: str) -> None:
    """What the crashed process was told to be committed, the next one does not begin again."""
    for kind, number in (line.split()[1:] for line in before.splitlines() if line.startswith("committed")):
        count = before.count(f"committed {kind} {number}\n")
        # The same shard of another step has the same name: as many as were committed are not begun again.
        total = {"shard": 3, "checkpoint": 2}[kind]
        begun = after.count(f"begin {kind} {number}\n")
        if begun > total - count:
            raise AssertionError(f"{what}: {kind} {number} was committed {count} times and begun {begun} times again")


def crash_everywhere(root: Path, every: int) -> None:
    """Crashes at every `every`-th point, in three ways each, and goes on; prints how many points there were."""
    log = Path(os.environ["CRASH_LOG"])
    log.write_text("")
    assert in_fork(lambda: scenario(root / "whole")) == 0
    expected, num_points, num_crashes = contents(root / "whole"), 0, 0
    for point in range(0, 10**6, every):
        ended = False
        for way in ("kill", "power cut", "torn"):
            here, after = root / f"{point}", root / f"{point}-after"
            log.write_text("")

            def crash(here: Path = here, after: Path = after, point: int = point, way: str = way) -> None:
                here.mkdir()

                def at(number: int) -> None:
                    if number == point:
                        if way != "kill":
                            disk.after_power_cut(after, torn=way == "torn")
                        die()

                disk = Disk(here, at)
                scenario(here)

            code = in_fork(crash)
            if code == 0:
                ended = True
                break
            assert code < 0, code
            root_after = here if way == "kill" else after
            before = log.read_text()
            what = f"{way} at point {point}"
            log.write_text("")
            state = read_run(root_after, "default")  # raises for a torn one
            gate = ((state or {"stages": {}})["stages"].get("explicit") or {}).get("gate")
            if "recorded the gate" in before and "begin" not in before.partition("recorded the gate")[2]:
                assert gate, f"{what}: a recorded gate is gone"
            assert in_fork(lambda root_after=root_after: scenario(root_after)) == 0, what  # type: ignore[misc]
            require_nothing_lost(before, log.read_text(), what)
            assert contents(root_after) == expected, what
            left = [path for path in root_after.rglob("*") if path.name.endswith((".partial", ".being-written"))]
            left = [path for path in left if ".locks" not in path.parts]
            assert left == [], (what, left)
            num_crashes += 1
            subprocess.run(["rm", "-rf", str(here), str(after)], check=True)
        if ended:
            break
        num_points += 1
    print(f"{num_points} crash points, {num_crashes} crashes: 0 lost, 0 recomputed, all equal to the run that was left alone")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_write_is_a_crash_point(tmp_path: Path, counted: Callable[[str], None]) -> None:
    every = 1 if FULL else 61
    line = run_script(__file__, tmp_path / "disk", every)
    counted(line)
    assert int(line.split()[0]) > 600 // every


if __name__ == "__main__":
    as_script(crash_everywhere)
