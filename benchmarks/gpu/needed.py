"""Whether a machine has what measuring it takes, told in a line before anything is measured. Takes the standard library only.

    python -m benchmarks.gpu.needed CONSTRAINTS [DISTRIBUTION …]     # those named may come as wheels as well

Exit code 2 where something is missing.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

MODULES = {
    "torch": "torch",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "peft": "peft",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "pyyaml": "yaml",
    "psutil": "psutil",
    "filelock": "filelock",
    "bitsandbytes": "bitsandbytes",
    "datasets": "datasets",
    "dill": "dill",
    "multiprocess": "multiprocess",
    "trl": "trl",
    "xxhash": "xxhash",
}
"""By distribution what is imported of it."""


def lacking(constraints: Path, as_wheels: Sequence[str]) -> str:
    """What is missing, with the command that installs it in the versions of `constraints`; empty where nothing is."""
    missing = [name for name, module in MODULES.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return ""
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0]: line for line in lines if not line.startswith("#")}
    command = f"{sys.executable} -m pip install {' '.join(pinned.get(name, name) for name in missing)}"
    wheels = [name for name in missing if name in as_wheels]
    instead = f", or write --wheels DIR for {', '.join(wheels)} (docs/gpu.md)" if wheels else ""
    return f"{sys.executable} lacks {', '.join(missing)}: run `{command}`{instead}"


if __name__ == "__main__":
    told = lacking(Path(sys.argv[1]), sys.argv[2:])
    if told:
        print(f"gpu_check: {told}", file=sys.stderr)
        sys.exit(2)
