"""What the workers of `test_ray.py` run, and how many there are. They import it: their processes do not know the tests' own
modules.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from cai_bootstrap.config import EngineConfig, RayConfig
from cai_bootstrap.engines.engine import Engine, Generation, GenerationRequest, OnDone
from cai_bootstrap.engines.failures import Guarded
from cai_bootstrap.engines.scripted import ScriptedEngine

CONFIG = EngineConfig(
    name="ray",
    ray=RayConfig(engine="scripted", workers=2, address=None, cpus_per_worker=1, gpus_per_worker=0),
    device="cpu",
    dtype="float32",
    batch_size=4,
    threads=1,
    max_failed_share=0.2,
)
ON_PATH = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])}
"""The environment that a cluster's processes find this module in."""


class Mortal(ScriptedEngine):
    """Takes a while for each prompt, and dies or fails on some."""

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        for request in requests:
            time.sleep(0.02)
            word, _, rest = request.prompt.partition(" ")
            if word == "poison":
                raise ValueError("it is poisoned")
            if word == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if word == "once" and not Path(rest).exists():
                Path(rest).write_text("died")
                os.kill(os.getpid(), signal.SIGKILL)
        return [self._told(request) for request in requests]

    def _told(self, request: GenerationRequest) -> Generation:
        text = f"{os.getpid()}" if request.prompt == "who" else request.prompt.upper()
        return Generation(text=text, token_ids=(), finish="stop", logprob=0.0, num_prompt_tokens=1)


def build(folder: Path, config: EngineConfig) -> Engine:
    """A worker's engine."""
    return Guarded(Mortal())
