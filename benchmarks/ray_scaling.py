"""Shards on the workers of a Ray cluster: what share of its time a worker works, from 1 to 64 of them.

    PYTHONPATH=. python -m benchmarks.ray_scaling [--workers 1 2 4 8 16 32 64]

Each worker gets eight shards, whose texts take as long as a GPU takes for a batch and no processor: the cores of this machine
are there for what the cluster itself costs. Measured is a step with its shards, seeds, journal and flushes, after the workers
have started. Efficiency is the time that the texts alone take, over the time of the step.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import pairing
from cai_bootstrap.config import EngineConfig, RayConfig
from cai_bootstrap.engines.engine import Engine, Generation, GenerationRequest, OnDone
from cai_bootstrap.engines.scripted import ScriptedEngine
from cai_bootstrap.engines.session import Session
from cai_bootstrap.steps.shards import by_shards
from cai_bootstrap.store.run import Run, Work, step

_SHARDS_EACH, _SHARD_SIZE, _LATENCY_S = 8, 32, 2.0
"""Of a 32B model on an A100, 2,000 tokens a second: a batch of 32 answers of 125 tokens takes two seconds."""


class Delayed(ScriptedEngine):
    """Answers at once what takes a model a while."""

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        """The same text for all."""
        time.sleep(_LATENCY_S)
        text = "The sun rises in the east, and it sets in the west."
        return [Generation(text=text, token_ids=(), finish="stop", logprob=0.0, num_prompt_tokens=300) for _ in requests]


def build(folder: Path, config: EngineConfig) -> Engine:
    """A worker's engine."""
    return Delayed()


def measure(num_workers: int) -> dict[str, Any]:
    """Seconds and efficiency of a step on so many workers."""
    import ray

    from cai_bootstrap.engines.ray import RayEngine

    config = EngineConfig(
        name="ray",
        ray=RayConfig(engine="scripted", workers=num_workers, address=None, cpus_per_worker=1, gpus_per_worker=0),
        device="cpu",
        dtype="float32",
        batch_size=_SHARD_SIZE,
        threads=1,
    )
    engine = RayEngine(Path(), config, build)
    for _ in range(2):  # all workers have started, and been asked once
        engine.generate([GenerationRequest(prompt="Instruction: Why?\nResponse:", max_tokens=4)] * (_SHARD_SIZE * num_workers))

    @step(version=1)
    def write(work: Work, number: int) -> None:
        prompts = [f"Instruction: What is {n}?\nResponse:" for n in range(number)]

        def make(part: list[str], seeds: list[int]) -> list[dict[str, Any]]:
            requests = [GenerationRequest(prompt=p, max_tokens=125, seed=s) for p, s in zip(part, seeds, strict=True)]
            return [{"prompt": p, "text": made.text} for p, made in zip(part, engine.generate(requests), strict=True)]

        rows = by_shards(work, Session(config), "answers", prompts, number, make, name=str)
        work.write_rows("records.jsonl", rows)

    number = num_workers * _SHARDS_EACH * _SHARD_SIZE
    with tempfile.TemporaryDirectory() as root, Run(Path(root), "scaling") as run:
        begin = time.perf_counter()
        values, settings = {"number": number}, {"shard_size": _SHARD_SIZE}
        made = run.step("explicit", "answers", write, settings=settings, values=values, seed=1)
        seconds = time.perf_counter() - begin
        assert len(made.rows()) == number
    engine.close()
    ray.shutdown()
    return {"seconds": seconds, "records_per_second": number / seconds, "efficiency": _SHARDS_EACH * _LATENCY_S / seconds}


def main() -> None:
    """Measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])  # the workers import this file
    measured = {str(num): measure(num) for num in parser.parse_args().workers}
    pairing.save("ray_scaling", {"latency_s": _LATENCY_S, "shards_each": _SHARDS_EACH, "workers": measured})


if __name__ == "__main__":
    main()
