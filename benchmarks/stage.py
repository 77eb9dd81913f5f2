"""The work of a whole stage 1 on 48 instructions: this package against distilabel, a TRL script and a PEFT merge.

    python -m benchmarks.stage [--model DIR] [--pairs 48] [--runs 3] [--peers .venv-peers]

Both sides write four few-shot answers and one zero-shot output for each of the same instructions, train on the same committed
pairs with the same settings (two epochs), merge the adapter and save the model. Seconds are wall time of all processes,
imports and loads included. This package's merge also compares the merged model with the trained one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import isolated, limits, pairing
from benchmarks.peers import trl_dpo

DATA = Path(__file__).resolve().parent / "data" / "pairs.jsonl"
PEER = Path(__file__).resolve().parent / "peers" / "distilabel_pairs.py"
_PEER_ROWS = 64
"""Rows in a peer's forward pass: `generate`'s best batch (see generation.py)."""
_PEER_LIMIT_S = 900
"""Some three times what its answers take."""


def write_answers(model: Path, instructions: list[str], threads: int) -> int:
    """This package's candidates and zero-shot outputs; returns how many texts came."""
    from cai_bootstrap import templates
    from cai_bootstrap.__main__ import compose_job
    from cai_bootstrap.engines.measure import measure
    from cai_bootstrap.engines.transformers import TransformersEngine
    from cai_bootstrap.stages.stage import load_seeds
    from cai_bootstrap.steps.generate import request, sample_candidates

    config = compose_job("explicit", [], "").stage.responses
    batch_size = int(measure("cpu")["batch_size"])
    engine = TransformersEngine(model, device="cpu", dtype="float32", batch_size=batch_size, threads=threads)
    prompts = [(str(number), text) for number, text in enumerate(instructions)]
    shots = load_seeds("explicit", None)["shots"]
    groups = sample_candidates(engine, prompts, shots, config.num_candidates, config.sampling, range(len(prompts)))
    zero_shot = engine.generate([request(templates.cued(text), config.zero_shot, n) for n, (_, text) in enumerate(prompts)])
    return sum(map(len, groups)) + len(zero_shot)


def train(model: Path, rows: list[dict[str, Any]], config: dict[str, Any], threads: int, folder: Path) -> None:
    """This package's adapter, in the folder `finished`."""
    from cai_bootstrap.training.trainer import train as run

    run(
        model_folder=model, rows=rows, config=config, checkpoint_folder=folder, seed=1, threads=threads, device="cpu",
        dtype="float32",
    )  # fmt: skip


def merge(model: Path, adapter: Path, target: Path, prompts: list[str], threads: int) -> None:
    """This package's merged model, with its certificate."""
    from cai_bootstrap.training.merging import merge as run

    run(
        model_folder=model, adapter_folder=adapter, target_folder=target, prompts=prompts, num_tokens=16,
        device="cpu", dtype="float32", threads=threads,
    )  # fmt: skip


def peer_requests(instructions: list[str]) -> dict[str, dict[str, Any]]:
    """The same prompts and sampling for distilabel."""
    from cai_bootstrap import templates
    from cai_bootstrap.__main__ import compose_job
    from cai_bootstrap.config import to_dict
    from cai_bootstrap.stages.stage import load_seeds

    config = to_dict(compose_job("explicit", [], "").stage.responses)
    sets = [[(question, answer) for question, answer in shots] for shots in load_seeds("explicit", None)["shots"].values()]
    each = config["num_candidates"] // len(sets)
    fewshot = [templates.few_shot(shots, text) for shots in sets for text in instructions]
    zero_shot = [templates.cued(text) for text in instructions]
    stop = list(templates.RESPONSE_STOPS)
    return {
        "fewshot": {**config["sampling"], "prompts": fewshot, "num_generations": each, "stop": stop},
        "zero_shot": {**config["zero_shot"], "prompts": zero_shot, "num_generations": 1, "stop": []},
    }


def _run_peer(command: list[str]) -> None:
    """Run it; raises TimeoutExpired when it hangs, which distilabel did once after its last step, its processes idle."""
    peer = subprocess.Popen(command, start_new_session=True)
    try:
        if code := peer.wait(_PEER_LIMIT_S):
            raise subprocess.CalledProcessError(code, command)
    except BaseException:
        os.killpg(peer.pid, signal.SIGKILL)
        raise


def main() -> None:
    """Measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, default=None, help="a model folder (default: the embedded base model)")
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"), help="the environment that peers/setup.sh made")
    options = parser.parse_args()
    python = options.peers.absolute() / "bin" / "python"
    if not python.exists():
        raise SystemExit(f"{python} is not there: run benchmarks/peers/setup.sh {options.peers}")
    from cai_bootstrap.__main__ import compose_job
    from cai_bootstrap.config import to_dict
    from cai_bootstrap.engines.measure import usable_cores

    model, threads = options.model or limits.base_model(), usable_cores()
    rows = [json.loads(line) for line in DATA.read_text().splitlines()][: options.pairs]
    job = compose_job("explicit", ["train.quantization=none"], "")
    config = to_dict(job.train)
    instructions = [row["instruction"] for row in rows]
    prompts = [row["prompt"] for row in rows][: job.merge.num_prompts]
    hangs: list[int] = []
    parts: dict[str, list[dict[str, float]]] = {"cai_bootstrap": [], "assembled": []}

    def timed(name: str, steps: dict[str, Callable[[], Any]]) -> float:
        seconds = {}
        for step, call in steps.items():
            begin = time.perf_counter()
            call()
            seconds[step] = time.perf_counter() - begin
        parts[name].append(seconds)
        print(f"  {name}: {seconds}", file=sys.stderr, flush=True)
        return 1 / sum(seconds.values())

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder:
            adapter, merged = Path(folder, "adapter"), Path(folder, "merged")
            return timed(
                "cai_bootstrap",
                {
                    "write": lambda: isolated.call(write_answers, model, instructions, threads),
                    "train": lambda: isolated.call(train, model, rows, config, threads, adapter),
                    "merge": lambda: isolated.call(merge, model, adapter / "finished", merged, prompts, threads),
                },
            )

    def theirs() -> float:
        with tempfile.TemporaryDirectory() as folder:
            asked, answers = Path(folder, "asked.json"), Path(folder, "answers.json")
            adapter, merged = Path(folder, "adapter"), Path(folder, "merged")
            asked.write_text(json.dumps(peer_requests(instructions)))
            command = [str(python), str(PEER), str(model), str(threads), str(_PEER_ROWS), str(asked), str(answers)]
            rate = timed(
                "assembled",
                {
                    "write": lambda: _run_peer(command),
                    "train": lambda: isolated.call(trl_dpo.train, model, rows, config, threads, adapter),
                    "merge": lambda: isolated.call(trl_dpo.merge, model, adapter, merged, threads),
                },
            )
            written = json.loads(answers.read_text())
            assert [len(written[name]) for name in ("fewshot", "zero_shot")] == [2 * len(rows), len(rows)]
            return rate

    def theirs_again() -> float:
        try:
            return theirs()
        except subprocess.TimeoutExpired:
            hangs.append(1)  # a run that hung is no measurement of anything
            return theirs()

    rates = pairing.alternate({"cai_bootstrap": ours, "assembled": theirs_again}, options.runs, False)
    pairing.save(
        "stage",
        {
            "unit": "stages/s",
            "num_pairs": len(rows),
            "num_runs": options.runs,
            "num_hangs_of_the_peer": len(hangs),
            "rates": pairing.summary(rates),
            "ratio": pairing.ratio(rates, "cai_bootstrap", "assembled"),
            "seconds_by_part": parts,
        },
    )


if __name__ == "__main__":
    main()
