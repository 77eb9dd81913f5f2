"""The notebook on preference pairs, and what its code cells print when they are run outside Jupyter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
NOTEBOOK = CHECKOUT / "notebooks" / "preference_pairs.ipynb"


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return found


def run_notebook(root: Path, run: str, stage: str, checkout: Path = CHECKOUT) -> str:
    """What its code prints, run in order in a process of its own; fails when it fails, or changes a file under `root`."""
    code = "\n\n".join("".join(cell["source"]) for cell in cells() if cell["cell_type"] == "code")
    told = {"CAI_ROOT": str(root), "CAI_RUN": run, "CAI_STAGE": stage}
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    done = subprocess.run(
        [sys.executable, "-"],
        input=f"{code}\n",
        env={**os.environ, "PYTHONPATH": str(checkout), "PYTHONUTF8": "1", **told},
        cwd=checkout,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before  # it only reads
    return done.stdout
