"""Real kills and a really full disk. Run as a script, this file is the process that is killed."""

import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from forks import in_fork

from cai_bootstrap.errors import DiskFull
from cai_bootstrap.store.artifacts import Artifact, Store
from cai_bootstrap.store.run import Run, Work, read_run, step

ROOT = Path(__file__).resolve().parent.parent
NUM_SHARDS = 12


@step(version=1)
def sharded(work: Work) -> None:
    """Random rows in shards. `log` (outside of the store) tells which shards were begun and which were committed."""
    log = os.open(os.environ["CRASH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for index in range(work.settings["num_shards"]):

        def compute(seed: int, index: int = index) -> list[dict[str, Any]]:
            os.write(log, b"begin %d\n" % index)
            time.sleep(work.settings["shard_s"])
            source = random.Random(seed)
            return [{"shard": index, "value": source.random()} for _ in range(work.settings["num_rows"])]

        work.shard(index, compute)
        os.write(log, b"committed %d\n" % index)
    os.close(log)
    work.write_rows("records.jsonl", work.rows_of(range(work.settings["num_shards"])))
    work.drop([{"reason": "none"}])


def run_step(root: Path, num_shards: int, shard_s: float = 0.0, num_rows: int = 3) -> Artifact:
    settings = {"num_shards": num_shards, "shard_s": shard_s, "num_rows": num_rows}
    with Run(root, "default") as run:
        return run.step("explicit", "drafts", sharded, settings=settings, seed=1)


def assert_nothing_committed_was_begun_again(log: Path) -> None:
    committed: set[str] = set()
    for line in log.read_text().splitlines():
        event, index = line.split()
        assert not (event == "begin" and index in committed), f"shard {index} was committed and computed again"
        if event == "committed":
            committed.add(index)


def start(mode: str, root: Path, log: Path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CRASH_LOG": str(log)}
    return subprocess.Popen([sys.executable, __file__, mode, str(root)], env=environment)


def test_killed_in_the_middle_of_shards(tmp_path: Path) -> None:
    assert start("shards", tmp_path / "whole", tmp_path / "whole.log").wait() == 0
    killed, log = tmp_path / "killed", tmp_path / "killed.log"
    for num_lines in (5, 12):
        child = start("shards", killed, log)
        while not (log.exists() and log.read_bytes().count(b"\n") >= num_lines):
            assert child.poll() is None
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert start("shards", killed, log).wait() == 0
    assert_nothing_committed_was_begun_again(log)
    num_begun = log.read_text().count("begin")
    assert NUM_SHARDS <= num_begun <= NUM_SHARDS + 2, "a kill costs at most the shard in flight"
    whole, resumed = (next((root / "data/store/explicit").glob("drafts-*")) for root in (tmp_path / "whole", killed))
    assert (whole / "records.jsonl").read_bytes() == (resumed / "records.jsonl").read_bytes()
    assert whole.name == resumed.name
    assert sorted(entry.name for entry in resumed.iterdir()) == ["dropped.jsonl", "manifest.json", "records.jsonl"]


def test_killed_before_every_file_operation(tmp_path: Path) -> None:
    assert start("every", tmp_path, tmp_path / "log").wait() == 0


def test_full_disk_in_the_middle_of_a_step(tmp_path: Path) -> None:
    assert start("full", tmp_path, tmp_path / "log").wait() == 0


def kill_before_operation(number: int, root: Path) -> None:
    """From now on this process dies before its `number`-th file operation under `root`."""
    counter = itertools.count()

    watched = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.symlink"}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        paths = (os.fspath(item) for item in arguments if isinstance(item, str | os.PathLike))
        if event in watched and any(path.startswith(str(root)) for path in paths) and next(counter) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def kill_everywhere(root: Path) -> None:
    # A kill, unlike a power cut, loses nothing that was handed to the kernel; some 2,000 flushes would take a minute.
    os.fsync = lambda fd: None
    expected = run_step(root / "whole", 2).read("records.jsonl")
    log = Path(os.environ["CRASH_LOG"])
    for number in itertools.count():
        here = root / str(number)
        log.unlink()

        def killed(here: Path = here, number: int = number) -> None:
            kill_before_operation(number, here)
            run_step(here, 2)

        code = in_fork(killed)
        assert code in {0, -signal.SIGKILL}, code
        # Whatever the kill left, looking at it never finds a half-made artifact.
        read_run(here, "default")
        begun_before = log.read_text().count("begin") if log.exists() else 0
        artifact = run_step(here, 2)
        assert artifact.read("records.jsonl") == expected
        artifact.verify()
        assert_nothing_committed_was_begun_again(log)
        assert log.read_text().count("begin") <= max(2, begun_before) + 1
        leftovers = [path.name for path in artifact.path.parent.iterdir() if path.name.endswith(".partial")]
        assert leftovers == []
        assert (here / "data/runs/default/explicit/drafts").resolve() == artifact.path.resolve()
        if code == 0:
            assert number > 40, f"only {number} operations were seen"
            return


def fill_the_disk(root: Path) -> None:
    first = run_step(root, 2)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        # Each shard fits, all rows together do not.
        with pytest.raises(DiskFull, match="free some space and run the same command again"):
            run_step(root, 4, num_rows=200)

    assert in_fork(limited) == 0
    assert Store(root).find(first.stage, first.name, first.digest) == first
    first.verify()
    second = run_step(root, 4, num_rows=200)
    assert len(second.rows()) == 800
    assert Path(os.environ["CRASH_LOG"]).read_text().count("begin") == 2 + 4, "committed shards were computed again"


if __name__ == "__main__":
    mode, root = sys.argv[1], Path(sys.argv[2])
    if mode == "shards":
        run_step(root, NUM_SHARDS, shard_s=0.04)
    else:
        {"every": kill_everywhere, "full": fill_the_disk}[mode](root)
