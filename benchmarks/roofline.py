"""What the machine can do at most, where a generation's and a verdict's time goes, and their share of the limit.

    python -m benchmarks.roofline [--model DIR] [--prompts 128] [--verdicts 64]

The limit of a piece of work is its fp32 operations over the matrix rate that was measured a moment before, with packed
products. Its operations are counted in the layers as they run; padding counts as well, so a share says how fast the layers are
run and not how little is run. Time by layer is taken with hooks around each layer, in this process.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import critic, generation, limits, pairing

_PARTS = (
    (("q_proj", "k_proj", "v_proj", "o_proj"), "attention products"),
    (("gate_proj", "up_proj", "down_proj"), "feed-forward products"),
    (("norm",), "norms"),
    (("rotary_emb",), "rotary positions"),
    (("embed_tokens",), "embedding"),
)


class Profile:
    """Seconds and operations by part of a model, with hooks; `rest` is attention itself, sampling and Python."""

    def __init__(self, engine: Any) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.operations = 0.0
        self._begun: dict[int, float] = {}
        for name, layer in engine.model.named_modules():
            part = next((label for names, label in _PARTS if any(word in name.rpartition(".")[2] for word in names)), None)
            if part is not None and not any(True for _ in layer.children()):
                layer.register_forward_pre_hook(self._begin)
                layer.register_forward_hook(lambda module, given, _, part=part: self._end(module, given, part))
        head, scan = engine.head, engine.head.scan

        def timed(hidden: Any, num_kept: int) -> Any:
            begin = time.perf_counter()
            found = scan(hidden, num_kept)
            self.seconds["output layer with the choice of tokens"] += time.perf_counter() - begin
            self.operations += 2.0 * hidden.shape[0] * head.weight.numel()
            return found

        head.scan = timed

    def _begin(self, layer: Any, _: Any) -> None:
        self._begun[id(layer)] = time.perf_counter()

    def _end(self, layer: Any, given: Any, part: str) -> None:
        self.seconds[part] += time.perf_counter() - self._begun.pop(id(layer))
        if hasattr(layer, "in_features"):
            rows = given[0].numel() / layer.in_features
            self.operations += 2.0 * rows * layer.in_features * layer.out_features

    def of(self, work: Callable[[], object], gflops: float) -> dict[str, Any]:
        """`work` once to warm up, then once measured."""
        work()
        self.seconds.clear()
        self.operations = 0.0
        begin = time.perf_counter()
        work()
        total = time.perf_counter() - begin
        shares = {part: seconds / total for part, seconds in sorted(self.seconds.items(), key=lambda entry: -entry[1])}
        return {
            "seconds": total,
            "gflop": 1e-9 * self.operations,
            "share_of_limit": 1e-9 * self.operations / gflops / total,
            "share_by_part": {**shares, "rest": 1 - sum(shares.values())},
        }


def rates(threads: int) -> dict[str, Any]:
    """Products a second by shape, dtype and way, in 1e9 operations, and memory bandwidth in 1e9 bytes a second."""
    import torch

    from cai_bootstrap.engines import packed

    torch.set_num_threads(threads)
    found: dict[str, Any] = {}
    for rows, inner, outer in ((1, 640, 2048), (64, 640, 2048), (1024, 640, 2048), (64, 2048, 640), (64, 640, 16384)):
        left, weight, plain = torch.randn(rows, inner), torch.randn(outer, inner), torch.nn.functional.linear
        ways: dict[str, Callable[[], object]] = {
            "fp32": functools.partial(plain, left, weight),
            "bf16": functools.partial(plain, left.bfloat16(), weight.bfloat16()),
        }
        if packed.is_supported(weight):
            ways["fp32, packed"] = functools.partial(packed.multiply, left, packed.pack(weight))
        work = 2e-9 * rows * inner * outer
        found[f"{rows} x {inner} x {outer}"] = {name: work / _seconds(way) for name, way in ways.items()}
    vector, matrix = torch.randn(640), torch.randn(65536, 640)
    return {
        "gflops": found,
        "matrix_vector_gb_per_s": 1e-9 * matrix.nbytes / _seconds(lambda: matrix @ vector),
    }


def _seconds(call: Callable[[], object]) -> float:
    """Of one call: the best of five rounds of a tenth of a second."""
    call()
    best = float("inf")
    for _ in range(5):
        count, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < 0.1:
            call()
            count += 1
        best = min(best, (time.perf_counter() - begin) / count)
    return best


def main() -> None:
    """Measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, default=None, help="a model folder (default: the embedded base model)")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--verdicts", type=int, default=64)
    options = parser.parse_args()
    from cai_bootstrap import templates
    from cai_bootstrap.engines.engine import GenerationRequest
    from cai_bootstrap.engines.measure import measure, usable_cores
    from cai_bootstrap.engines.transformers import TransformersEngine
    from cai_bootstrap.stages.stage import load_seeds

    model, threads = options.model or limits.base_model(), usable_cores()
    gflops = limits.matrix_gflops(threads)
    shots = [(question, answer) for question, answer in load_seeds("explicit", None)["shots"]["a"]]
    instructions = [json.loads(line)["instruction"] for line in generation.DATA.read_text().splitlines()][: options.prompts]
    requests = [
        GenerationRequest(
            prompt=templates.few_shot(shots, text), max_tokens=generation.MAX_TOKENS, stop=templates.RESPONSE_STOPS
        )
        for text in instructions
    ]
    prompts = critic.prompts_of(options.verdicts)
    size = int(measure("cpu")["batch_size"])
    engine = TransformersEngine(model, device="cpu", dtype="float32", batch_size=size, threads=threads)
    profile = Profile(engine)
    trained = json.loads((pairing.RESULTS / "training.json").read_text())
    pairs_per_second = trained["rates"]["cai_bootstrap"]["median"]
    pairing.save(
        "roofline",
        {
            "machine_limits": rates(threads),
            "matrix_gflops": gflops,
            "generation": profile.of(lambda: engine.generate(requests), gflops),
            "critic": profile.of(lambda: engine.choice_logprobs(prompts, templates.CHOICES), gflops),
            "training": {
                "gflop_per_pair": trained["needed_gflop_per_pair"],
                "share_of_limit": trained["needed_gflop_per_pair"] * pairs_per_second / gflops,
            },
        },
    )


if __name__ == "__main__":
    main()
