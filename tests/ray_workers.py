"""What the workers of `test_ray.py` run. They import it: their processes do not know the tests' own modules."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines.engine import Engine, Generation, GenerationRequest, OnDone
from cai_bootstrap.engines.failures import Guarded
from cai_bootstrap.engines.scripted import ScriptedEngine


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
