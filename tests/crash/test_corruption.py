"""Truncated, flipped, emptied, swapped: every damage to every kind of file is found, and nothing damaged is used."""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from disk import Disk, die
from forks import FULL, as_script, in_fork, run_script
from kills import WORDS
from test_points import contents, scenario

from cai_bootstrap.__main__ import main
from cai_bootstrap.errors import CorruptArtifact, MissingArtifact
from cai_bootstrap.store.artifacts import Store, read_manifest
from cai_bootstrap.store.run import read_config, read_run
from cai_bootstrap.store.upkeep import verify_run

NUM_MUTATIONS = 1000 if FULL else 80
NUM_PARTIAL = 200 if FULL else 5


def truncate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def flip(data: bytes, other: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def empty(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return b""


def swap(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return other


MUTATIONS: list[Callable[[bytes, bytes, random.Random], bytes]] = [truncate, flip, empty, swap]


def kind(path: Path) -> str:
    """By what a file is found again: manifests and the run's own files by their names, the others by their endings."""
    return path.name if path.name in ("manifest.json", "run.json", "config.json") else path.suffix


def is_found(root: Path, path: Path) -> bool:
    """Whether the damage to `path` is found by who would use it: nothing is read from the file any more."""
    inside = path.relative_to(root).parts
    try:
        if inside[:2] == ("data", "runs"):
            read_run(root, inside[2]) if path.name == "run.json" else read_config(root, inside[2], inside[3])
            return False
        folder = root.joinpath(*inside[:3] if inside[0] == "checkpoints" else inside[:4])
        manifest = read_manifest(folder)
        if manifest is None:
            return False
        artifact = Store(root).find(manifest["stage"], manifest["name"], manifest["digest"])
        if artifact is None:
            return False
        artifact.read(str(path.relative_to(artifact.path)))
    except (CorruptArtifact, MissingArtifact):
        return True
    return False


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_damage_is_found(tmp_path: Path, counted: Callable[[str], None]) -> None:
    assert main([*WORDS, f"paths.root={tmp_path}"]) in (0, 1)
    by_kind: dict[str, list[Path]] = {}
    places = [*(tmp_path / "data/store").rglob("*"), *(tmp_path / "checkpoints").rglob("*")]
    places += [path for path in (tmp_path / "data/runs").rglob("*.json") if path.name in ("run.json", "config.json")]
    for path in sorted(places):
        if path.is_file() and not path.is_symlink() and ".locks" not in path.parts and path.stat().st_size:
            by_kind.setdefault(kind(path), []).append(path)
    assert {"manifest.json", "run.json", "config.json", ".json", ".jsonl", ".parquet", ".safetensors"} <= by_kind.keys()
    rng, done = random.Random(20261122), Counter[str]()
    while done.total() < NUM_MUTATIONS:
        name = rng.choice(sorted(by_kind))
        path, mutate = rng.choice(by_kind[name]), rng.choice(MUTATIONS)
        data = path.read_bytes()
        damaged = mutate(data, rng.choice(by_kind[name]).read_bytes(), rng)
        if damaged == data:
            continue
        path.write_bytes(damaged)
        assert is_found(tmp_path, path), f"{mutate.__name__} of {path} was not found"
        if done.total() % 100 == 0:  # the whole run by its own verb, now and then: it takes longer
            with pytest.raises(CorruptArtifact) if name == "run.json" else pytest.MonkeyPatch.context():
                problems = [each for each in verify_run(tmp_path, "default") if each.problem]
                assert problems or name == "config.json"
        path.write_bytes(data)
        done[f"{mutate.__name__} {name}"] += 1
    assert not any(each.problem for each in verify_run(tmp_path, "default"))
    told = ", ".join(f"{count} {what}" for what, count in done.most_common(5))
    counted(f"{done.total()} mutations of {sum(map(len, by_kind.values()))} files: all found, none used ({told}, …)")


def damage_partial(root: Path, num_damages: int) -> None:
    """Crashes in the middle, damages a file of what was left, and goes on; prints how often."""
    assert in_fork(lambda: scenario(root / "whole")) == 0
    expected, rng, done = contents(root / "whole"), random.Random(5), Counter[str]()
    while done.total() < num_damages:
        here = root / str(done.total())
        point = rng.randrange(40, 320)

        def crash(here: Path = here, point: int = point) -> None:
            here.mkdir()
            Disk(here, lambda number: die() if number == point else None)
            scenario(here)

        in_fork(crash)
        left = [path for path in here.rglob("*") if path.is_file() and any(part.endswith(".partial") for part in path.parts)]
        left = [path for path in left if path.stat().st_size and "locks" not in str(path)]
        if left:
            path, mutate = rng.choice(left), rng.choice(MUTATIONS)
            path.write_bytes(mutate(path.read_bytes(), rng.choice(left).read_bytes(), rng))
            assert in_fork(lambda here=here: scenario(here)) == 0, (path, mutate)  # type: ignore[misc]
            assert contents(here) == expected, f"{mutate.__name__} of {path} was used"
            done[path.name.partition(".")[0].rstrip("0123456789")] += 1
        subprocess.run(["rm", "-rf", str(here)], check=True)
    print(f"{done.total()} damages to what interrupted steps left: none used")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_damaged_leftovers_are_computed_again(tmp_path: Path, counted: Callable[[str], None]) -> None:
    line = run_script(__file__, tmp_path / "disk", NUM_PARTIAL)
    counted(line)


if __name__ == "__main__":
    as_script(damage_partial)
