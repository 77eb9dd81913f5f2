"""Kills the real command line at random instants, again and again, until it is done; a script, so that it can be forked.

What takes seconds to import is imported once here. Each attempt is a fork of this process that runs `main` as a new process
would; `--real` starts new processes instead. Only the parent is killed: children end with it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
WORDS = [
    *("stage=1", "preset=small", "engine=scripted", "model=tiny-random", "eval.num_items=60", "eval.raw_items=20"),
    *("stage.instructions.num_instructions=60", "stage.pairs.min_pairs=20", "train.checkpoint_steps=4"),
]
"""The whole of stage 1 with the engine that plays a model; training, merging and the store are the real ones."""
TINY = "tiny"
"""Instead of a command line: generation, training, merging and evaluation with the tiny real model."""
_TIMES = {
    "peak_memory_gib",
    "num_audited_batches",
    "seconds",
    "created_at",
    "resumed",
    "resumed_from_step",
    "steps_per_second",
    "pairs_per_second",
    "code_revision",
}
"""What tells when and how fast something was made, not what."""


@dataclass
class Counts:
    """What came of it."""

    kills: int = 0
    runs: int = 0
    lost: int = 0
    recomputed: int = 0
    different: int = 0
    slowest_s: float = 0.0
    """From a signal to the end of its process."""
    kills_by_step: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        """One line for people."""
        where = ", ".join(f"{name} {count}" for name, count in sorted(self.kills_by_step.items(), key=lambda item: -item[1]))
        return (
            f"{self.kills} kills in {self.runs} runs: {self.lost} lost, {self.recomputed} recomputed, {self.different} runs "
            f"with another result; at most {self.slowest_s:.1f} s from a signal to the end; killed in {where}"
        )


def watched(log: Path) -> None:
    """From now on this process tells in `log`, outside of the store, what it computes and what it has committed."""
    from cai_bootstrap.store.run import Run
    from cai_bootstrap.store.work import Work

    compute_shard, compute = Work._compute_shard, Run._compute

    def tell(line: str) -> None:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def shard(self: Any, index: int, make: Any) -> None:
        tell(f"begin {self.stage}/{self.name} {self.digest[:16]}.{index}")
        compute_shard(self, index, make)
        tell(f"committed {self.stage}/{self.name} {self.digest[:16]}.{index}")

    def step(self: Any, partial: Any, function: Any, address: Any, *rest: Any) -> None:
        stage, name, digest = address
        tell(f"begin {stage}/{name} {digest[:16]}")
        compute(self, partial, function, address, *rest)
        tell(f"committed {stage}/{name} {digest[:16]}")

    Work._compute_shard, Run._compute = shard, step  # type: ignore[method-assign,assignment]


def start(argv: Sequence[str], log: Path, output: Path, *, real: bool) -> int:
    """Runs the command line in a process of its own and gives its id."""
    if real:
        with output.open("ab") as file:
            command = [sys.executable, "-m", "cai_bootstrap", *argv]
            environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
            return subprocess.Popen(command, env=environment, stdout=file, stderr=file).pid
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        with output.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        watched(log)
        if argv[0] == TINY:
            import tiny_path

            code = tiny_path.run(Path(argv[-1].partition("=")[2]))
        else:
            from cai_bootstrap.__main__ import main

            code = main(argv)
    finally:
        sys.stdout.flush()
        os._exit(code)


def recomputed(lines: Sequence[str]) -> int:
    """How often something was begun that had been committed."""
    committed: set[str] = set()
    count = 0
    for line in lines:
        event, _, what = line.partition(" ")
        if event == "committed":
            committed.add(what)
        elif what in committed:
            count += 1
    return count


def committed(root: Path) -> dict[str, tuple[int, int]]:
    """What is committed under `root`, artifacts by their manifests and shards by their journals, and which file each is.

    For new processes, which tell nothing while they work: a file that is another one later was made again.
    """
    found: dict[str, tuple[int, int]] = {}
    for folder in [*(root / "data/store").glob("*/*"), *(root / "checkpoints").glob("*/*")]:
        if folder.suffix != ".partial":
            files = [folder / "manifest.json"]
        elif (journal := folder / "journal.jsonl").exists():
            whole = journal.read_text().split("\n")[:-1]  # what follows the last newline is torn or empty
            files = [folder / json.loads(line)["file"] for line in whole]
        else:
            continue
        for path in files:
            with contextlib.suppress(FileNotFoundError):
                told = path.stat()
                found[str(path)] = (told.st_ino, told.st_mtime_ns)
    return found


def at_work(root: Path) -> str:
    """The step that was interrupted, by its partial folder; `the start` where there is none."""
    partials = [*(root / "data/store").glob("*/*.partial"), *(root / "checkpoints").glob("*/*.partial")]
    newest = max(partials, key=lambda path: path.stat().st_mtime, default=None)
    return "the start" if newest is None else f"{newest.parent.name}/{newest.name.rpartition('-')[0]}"


def fingerprint(root: Path) -> dict[str, str]:
    """A hash of every file of every artifact under `root`, times left out, and where its runs' links lead."""
    found: dict[str, str] = {}
    for path in sorted([*(root / "data/store").rglob("*"), *(root / "checkpoints").rglob("*")]):
        if path.is_file() and ".locks" not in path.parts:
            data = path.read_bytes()
            if path.suffix in (".json", ".jsonl"):
                rows = [json.loads(line) for line in data.splitlines()] if path.suffix == ".jsonl" else json.loads(data)
                data = json.dumps(_timeless(rows), sort_keys=True).encode()
            found[str(path.relative_to(root))] = hashlib.sha256(data).hexdigest()
    for path in (root / "data/runs").rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(root))] = str(path.readlink())
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        if "manifest_sha256" in value:
            # The hashes of files that hold times, and the manifest's own of these hashes: the files are compared themselves.
            value = {key: inner for key, inner in value.items() if key not in ("manifest_sha256", "files")}
        return {key: _timeless(inner) for key, inner in value.items() if key not in _TIMES}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Manner:
    """How it is killed."""

    words: Sequence[str]
    real: bool = False
    """New processes instead of forks."""
    number: int = signal.SIGKILL
    longest_s: float = 3.0
    """A kill comes after a random time up to this."""
    per_run: int = 10**6
    """After so many kills a run is left to end."""


def kill_until_done(root: Path, manner: Manner, log: Path, counts: Counts, rng: random.Random, budget: int) -> int:
    """Kills the command up to `budget` times in all, then lets it end; gives its exit code."""
    argv = [*manner.words, f"paths.root={root}"]
    budget = min(budget, counts.kills + manner.per_run)
    before: dict[str, tuple[int, int]] = {}
    longest_s = manner.longest_s
    while True:
        pid = start(argv, log, root.with_suffix(".out"), real=manner.real)
        killed = counts.kills < budget
        ended = _end(pid, manner.number, rng.uniform(0, longest_s), counts) if killed else os.waitpid(pid, 0)[1]
        if manner.real:
            after = committed(root)
            counts.recomputed += sum(path in after and after[path] != file for path, file in before.items())
            # A step that is not in shards may take longer than that, and would never come to its end.
            longest_s = 2 * longest_s if after.keys() <= before.keys() else manner.longest_s
            before |= after
        if (code := os.waitstatus_to_exitcode(ended)) not in (-manner.number, 143):
            return code
        counts.kills += 1
        lines = log.read_text().splitlines() if log.exists() else []
        name = at_work(root) if manner.real else lines[-1].split()[1] if lines else "the start"
        counts.kills_by_step[name] = counts.kills_by_step.get(name, 0) + 1


def _end(pid: int, number: int, after_s: float, counts: Counts) -> int:
    """Kills the process after a while, unless it comes to its end before; gives its status."""
    deadline_s = time.monotonic() + after_s
    while time.monotonic() < deadline_s:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.002)
    os.kill(pid, number)
    begin_s = time.monotonic()
    status = os.waitpid(pid, 0)[1]
    counts.slowest_s = max(counts.slowest_s, time.monotonic() - begin_s)
    return status


def prove(folder: Path, num_kills: int, seed: int, manner: Manner) -> Counts:
    """Runs that are killed until `num_kills` have come, each held against a run that was left alone."""
    rng, counts = random.Random(seed), Counts()
    alone = folder / "alone"
    pid = start([*manner.words, f"paths.root={alone}"], folder / "alone.log", folder / "alone.out", real=manner.real)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, 1):
        raise SystemExit(f"the run that was left alone failed:\n{(folder / 'alone.out').read_text()}")
    expected = fingerprint(alone)
    while counts.kills < num_kills:
        root, log = folder / f"killed-{counts.runs}", folder / f"killed-{counts.runs}.log"
        found = kill_until_done(root, manner, log, counts, rng, num_kills)
        counts.runs += 1
        counts.lost += found != code
        actual = fingerprint(root)
        if actual != expected:
            counts.different += 1
            names = sorted(name for name in expected | actual if expected.get(name) != actual.get(name))
            print(f"{root}: {len(names)} differ: {', '.join(names[:8])}", flush=True)
        counts.recomputed += recomputed(log.read_text().splitlines()) if log.exists() else 0
        if actual == expected and found == code:
            with contextlib.suppress(OSError):
                subprocess.run(["rm", "-rf", str(root)], check=True)
    return counts


def main() -> None:
    """Reads the arguments, kills, prints one line of counts; exit code 1 when something was lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest-s", type=float, default=3.0, help="a kill comes after a random time up to this")
    parser.add_argument("--per-run", type=int, default=10**6, help="after so many kills a run is left to end")
    parser.add_argument("--term", action="store_true", help="SIGTERM instead of SIGKILL")
    parser.add_argument("--real", action="store_true", help="new processes instead of forks")
    parser.add_argument("words", nargs="*", help="the command line; stage 1 with the scripted engine where there is none")
    given = parser.parse_intermixed_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if not given.real:
        os.environ["OMP_NUM_THREADS"] = "1"
        import peft  # noqa: F401 - once, before the forks
        import trl  # noqa: F401

        import cai_bootstrap.pipeline
        import cai_bootstrap.steps.merge
        import cai_bootstrap.sweep
        import cai_bootstrap.training.dpo
        import cai_bootstrap.training.trainer  # noqa: F401
    number = signal.SIGTERM if given.term else signal.SIGKILL
    manner = Manner(given.words or WORDS, given.real, number, given.longest_s, given.per_run)
    counts = prove(given.folder, given.kills, given.seed, manner)
    print(counts.line())
    sys.exit(1 if counts.lost or counts.recomputed or counts.different or counts.slowest_s > 30 else 0)


if __name__ == "__main__":
    main()
