"""`engine=ray`: the records of one process, whatever dies meanwhile. A real cluster of two workers on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cai_bootstrap.__main__ import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
ON_WORKERS = "engine=ray engine.ray.engine=scripted engine.script=passes engine.device=cpu engine.dtype=float32".split()
ON_WORKERS += ["engine.batch_size=4", "engine.threads=1"]
SMALL = "preset=small model=tiny-random eval.num_items=60 eval.raw_items=20 eval.shard_size=20".split()
SMALL += ["stage.instructions.num_instructions=60", "stage.pairs.min_pairs=20"]
