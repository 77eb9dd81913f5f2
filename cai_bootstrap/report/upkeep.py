"""What `verify` and `gc` say."""

from __future__ import annotations

import sys
from pathlib import Path

from cai_bootstrap.store.run import run_names
from cai_bootstrap.store.upkeep import Checked, no_runs, remove, unused, verify_run


def verify(root: Path, run: str | None = None) -> int:
    """Check every run, or the one named, print a line for each and for each problem; 1 when there is one, else 0."""
    names = [run] if run is not None else run_names(root)
    if not names:
        print(f"no runs under {root.resolve()} yet: nothing to verify")
    sound = True
    for name in names:
        found = list(verify_run(root, name))
        problems = [each for each in found if each.problem]
        for each in problems:
            print(f"{name}: {each.stage}/{each.name} {each.digest[:16]}: {each.problem}")
        print(_in_short(name, found, len(problems)), flush=True)
        sound = sound and not problems
    return 0 if sound else 1


def collect(root: Path, *, yes: bool = False, partial: bool = False) -> int:
    """List what nothing refers to, and remove it when `yes`, or when the user says so; 0."""
    with no_runs(root):
        found = unused(root, partial=partial)
        for each in found:
            print(f"{each.path.relative_to(root)}  {_size(each.num_bytes)}")
        told = f"{len(found)} folders that no run refers to, {_size(sum(each.num_bytes for each in found))}"
        if not found:
            print("nothing to remove: runs refer to everything there is")
        elif yes or _agreed(f"remove {told}? [y/N] "):
            remove(found)
            print(f"removed {told}")
        else:
            print(f"nothing was removed of {told}: write gc --yes to remove them")
    return 0


def _in_short(run: str, found: list[Checked], num_problems: int) -> str:
    size = _size(sum(each.num_bytes for each in found))
    state = f"{num_problems} damaged or gone" if num_problems else "all whole"
    return f"{run}: {len(found)} artifacts, {size}, {state}"


def _agreed(question: str) -> bool:
    return sys.stdin.isatty() and input(question).strip().lower() in ("y", "yes")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 2**27 else f"{num_bytes / 2**20:.1f} MiB"
