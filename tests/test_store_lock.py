"""Locks between real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cai_bootstrap.errors import RunLocked
from cai_bootstrap.store.lock import _Heart, artifact_lock, run_lock
from cai_bootstrap.store.run import Run, Work, step

ROOT = Path(__file__).resolve().parent.parent
CHILD = """
import sys, time
from pathlib import Path
from cai_bootstrap.store.lock import artifact_lock, run_lock
kind, path, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
with (run_lock(path, "run default") if kind == "run" else artifact_lock(path, "explicit/pairs")):
    print("held", flush=True)
    time.sleep(seconds)
"""


@step(version=1)
def one_file(work: Work) -> None:
    work.write_json("content.json", 1)


def start(kind: str, path: Path, seconds: float = 60) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, kind, str(path), str(seconds)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_held(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"


def test_second_process_is_refused_at_once_and_a_kill_frees_the_run(tmp_path: Path) -> None:
    holder = start("run", tmp_path)
    try:
        wait_until_held(holder)
        started = time.monotonic()
        with pytest.raises(RunLocked) as refused, run_lock(tmp_path, "run default"):
            pass
        assert time.monotonic() - started < 1
        message = str(refused.value)
        assert f"run default is in use by process {holder.pid} on " in message
        assert "started 20" in message
        assert "command: " in message
        assert "\n" not in message
        assert refused.value.exit_code == 2
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert (tmp_path / "lock.json").exists(), "the killed holder had no time to clear away"
        with run_lock(tmp_path, "run default"):
            pass
        assert not (tmp_path / "lock.json").exists()
    finally:
        holder.kill()
        holder.communicate()


def test_a_second_run_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    refused = pytest.raises(RunLocked, match=f"process {os.getpid()} ")
    with run_lock(tmp_path, "run default"), refused, run_lock(tmp_path, "run default"):
        pass
    with run_lock(tmp_path, "run default"):
        pass


def test_an_artifact_is_waited_for_and_the_wait_is_announced_once(tmp_path: Path) -> None:
    path = tmp_path / "pairs-0123456789abcdef"
    holder = start("artifact", path)
    wait_until_held(holder)
    waiter = start("artifact", path, 0)
    try:
        assert waiter.stderr is not None
        line = waiter.stderr.readline()
        assert f"waiting for explicit/pairs, which is being made by process {holder.pid} on " in line
        assert waiter.poll() is None
        holder.send_signal(signal.SIGKILL)
        _, rest = waiter.communicate(timeout=10)
        assert (waiter.returncode, rest) == (0, "")
    finally:
        for child in (holder, waiter):
            child.kill()
            child.communicate()


def test_a_free_artifact_is_taken_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with artifact_lock(tmp_path / "pairs-0"):
        pass
    assert capfd.readouterr() == ("", "")


FOREIGN = {
    "what": "run default",
    "pid": 4242,
    "host": "elsewhere",
    "machine": "elsewhere 8f7c",
    "started_at": "2026-01-01T00:00:00+00:00",
    "command": "python -m cai_bootstrap stage=1",
    "token": "0123",
}


def hold_elsewhere(holder_file: Path, silent_s: float) -> None:
    """A holder on another machine, whose kernel lock does not reach here, last heard of so many seconds ago."""
    holder_file.parent.mkdir(parents=True, exist_ok=True)
    holder_file.write_text(json.dumps(FOREIGN))
    last_s = time.time() - silent_s
    os.utime(holder_file, (last_s, last_s))


def test_a_holder_on_another_machine_is_refused_until_it_is_silent(tmp_path: Path) -> None:
    holder_file = tmp_path / "lock.json"
    hold_elsewhere(holder_file, silent_s=41)
    before = holder_file.read_bytes()
    refused = pytest.raises(
        RunLocked, match=r"process 4242 on elsewhere, .*last sign of life 4[12] s ago: .* after 60 s .* free"
    )
    with refused, run_lock(tmp_path, "run default"):
        pass
    assert holder_file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".clock")] == []
    hold_elsewhere(holder_file, silent_s=61)
    with run_lock(tmp_path, "run default") as lease:
        lease.require()
        assert json.loads(holder_file.read_bytes())["pid"] == os.getpid()


def test_who_wakes_up_late_writes_nothing_more(tmp_path: Path) -> None:
    with Run(tmp_path, "default") as run:
        run.step("explicit", "first", one_file, settings={}, seed=1)
        folder = tmp_path / "data" / "runs" / "default"
        state = (folder / "run.json").read_bytes()
        hold_elsewhere(folder / "lock.json", silent_s=0)  # it slept, and another machine has taken the run over
        with pytest.raises(RunLocked, match="was taken over by process 4242 on elsewhere"):
            run.step("explicit", "second", one_file, settings={}, seed=1)
        with pytest.raises(RunLocked, match="taken over"):
            run.record_stage("explicit", None, passed=False, skipped=True)
    assert (folder / "run.json").read_bytes() == state
    assert json.loads((folder / "lock.json").read_bytes()) == FOREIGN, "the new holder's lock was cleared away"
    assert [path.name.partition("-")[0] for path in (tmp_path / "data/store/explicit").glob("*-*")] == ["first"]


@pytest.mark.parametrize("loses", ["run", "artifact"])
def test_a_lock_lost_within_a_step_stops_its_next_write(tmp_path: Path, loses: str) -> None:
    partial = tmp_path / "data/store/explicit"

    @step(version=1)
    def sleeper(work: Work) -> None:
        work.shard(0, lambda seed: [{"row": 1}])
        if loses == "run":
            hold_elsewhere(tmp_path / "data/runs/default/lock.json", silent_s=0)
        else:
            hold_elsewhere(partial / ".locks" / f"{work.folder.stem}.json", silent_s=0)
        work.shard(1, lambda seed: [{"row": 2}])

    taken_over = pytest.raises(RunLocked, match="was taken over by process 4242")
    with Run(tmp_path, "default") as run, taken_over:
        run.step("explicit", "drafts", sleeper, settings={}, seed=1)
    (folder,) = partial.glob("drafts-*")
    assert folder.suffix == ".partial"
    assert [path.name for path in (folder / "shards").iterdir()] == ["0.jsonl"]
    assert not (folder / "manifest.json").exists()


def test_an_artifact_made_elsewhere_is_waited_for_until_its_maker_is_silent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs-0123456789abcdef"
    hold_elsewhere(tmp_path / ".locks" / f"{path.name}.json", silent_s=59)
    begin = time.monotonic()
    with artifact_lock(path, "explicit/pairs"):
        assert 0.5 < time.monotonic() - begin < 10
    assert "waiting for explicit/pairs, which is being made by process 4242 on elsewhere" in capfd.readouterr().err


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cai_bootstrap.store.lock.SIGN_OF_LIFE_S", 0.02)
    monkeypatch.setattr("cai_bootstrap.store.lock._heart", _Heart())
    holder_file = tmp_path / "lock.json"
    with run_lock(tmp_path, "run default"):
        os.utime(holder_file, (0, 0))
        deadline_s = time.monotonic() + 5
        while holder_file.stat().st_mtime == 0:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        hold_elsewhere(holder_file, silent_s=1000)  # whose it is not any more gets no sign of life
        time.sleep(0.2)
        assert time.time() - holder_file.stat().st_mtime > 900
