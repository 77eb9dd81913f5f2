"""What is measured, each in a process of its own: a phase leaves no memory behind, and its failure is its own row.

A phase returns what it measured. `wrong` in it says what is not as it should be, one text each.
"""

from __future__ import annotations

import functools
import itertools
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu import shapes
from benchmarks.gpu.process import Running, Setting, start
from cai_bootstrap.errors import StepFailed

if TYPE_CHECKING:
    import torch

PART = "train-part"
"""The phase that the phase `resume` kills."""
_KILL_AFTER = 2
"""Optimizer steps between checkpoints, and before the kill."""
_TOLERANCES = {"cpu": 0.0, "cuda": 0.05}
"""Of the resumed adapter: the norm of its difference from the uninterrupted one's, by the latter's norm. A GPU adds in another
order each time, and Adam's first steps turn the sign of a small gradient into a whole step."""
_MERGE_TOKENS = 16
"""As in `steps.merge`."""


def measure_matrix_rate(setting: Setting) -> dict[str, Any]:
    """The rate of a large product of random matrices, which all shares are taken of: the median of twenty."""
    import torch

    size = 8192 if setting.device == "cuda" else 1024
    if setting.threads:
        torch.set_num_threads(setting.threads)
    dtype = getattr(torch, setting.dtype)
    left, right = (torch.randn(size, size, dtype=dtype, device=setting.device) for _ in range(2))
    times = []
    for _ in range(23):
        begin = time.perf_counter()
        torch.matmul(left, right)
        _synchronize(setting.device)
        times.append(time.perf_counter() - begin)
    return {"size": size, "dtype": setting.dtype, "tflops": 2 * size**3 / statistics.median(times[3:]) / 1e12}


def train(setting: Setting) -> dict[str, Any]:
    """NF4 QLoRA DPO of the whole model through `Training`: the first step warms up, the median of the others counts."""
    import cai_bootstrap.training.trainer  # noqa: F401 — its time is not the loading's

    shape, config = setting.shape, shapes.train_config(setting.shape)
    begin = time.perf_counter()
    training = _training(setting, "train", checkpoint_minutes=30, checkpoint_steps=0)
    _synchronize(setting.device)
    loaded, load_peak = time.perf_counter(), _peak(setting.device)
    training.score_reference()
    _synchronize(setting.device)
    scored, times = time.perf_counter(), list[float]()

    def on_done(_: int) -> None:
        _synchronize(setting.device)
        times.append(time.perf_counter())

    facts, losses = training.run(on_done)
    step_s = statistics.median(after - before for before, after in itertools.pairwise(times[1:]))
    data = training.trainer.train_dataset
    prompt, chosen, rejected = (sum(map(len, data[f"{part}_ids"])) for part in ("prompt", "chosen", "rejected"))
    tokens, labels = (prompt + chosen + rejected) / shape.num_steps, (chosen + rejected) / shape.num_steps
    needed = functools.partial(shapes.needed_operations, shape, round(tokens), round(labels))
    checkpointed = bool(config["gradient_checkpointing"])
    return {
        "layers": shape.layers,
        "config": config,
        "quantized": facts["quantized"],
        "num_steps": facts["num_steps"],
        "pairs_per_step": config["batch_size"],
        "tokens_per_step": round(tokens),
        "trained_parameters": facts["num_trainable_parameters"],
        "load_s": loaded - begin,
        "reference_s": scored - loaded,
        "step_s": step_s,
        "tokens_per_s": tokens / step_s,
        "tflops": needed(recomputed=False) / step_s / 1e12,
        "tflops_with_recomputation": needed(recomputed=checkpointed) / step_s / 1e12,
        "losses": [row["loss"] for row in losses],
        "load_peak": load_peak,
        "peak": _peak(setting.device),
        "wrong": [] if facts["quantized"] else ["the weights were not quantized"],
    }


def train_part(setting: Setting) -> dict[str, Any]:
    """The same training with checkpoints, to be killed and to go on."""
    training = _training(setting, "resume", checkpoint_minutes=30, checkpoint_steps=_KILL_AFTER)
    training.score_reference()
    facts, losses = training.run()
    return {"resumed_from_step": facts["resumed_from_step"], "losses": [row["loss"] for row in losses]}


def resume(setting: Setting) -> dict[str, Any]:
    """Kill a training behind its first checkpoint, start it again, and compare its adapter with the uninterrupted one's."""
    from safetensors.torch import load_file

    whole, folder = setting.adapter("train"), setting.folder("resume")
    shutil.rmtree(folder, ignore_errors=True)
    killed = _kill(setting, folder / "checkpoints" / f"step-{_KILL_AFTER}")
    begin = time.perf_counter()
    found = _run_part(setting).wait_for_row()
    seconds = time.perf_counter() - begin
    expected, got = (load_file(path / "adapter_model.safetensors") for path in (whole, setting.adapter("resume")))
    equal, difference = compare(expected, got)
    tolerance, wrong = _TOLERANCES[setting.device], []
    if found["resumed_from_step"] is None:
        wrong.append("the second start began anew")
    if not difference <= tolerance:
        wrong.append(f"the adapter differs by {difference:.3g} of its norm, {tolerance} is allowed")
    return {
        "layers": setting.shape.layers,
        "killed_after_step": killed,
        "resumed_from_step": found["resumed_from_step"],
        "num_steps": setting.shape.num_steps,
        "restart_s": seconds,
        "adapter_equal": equal,
        "adapter_relative_difference": difference,
        "tolerance": tolerance,
        "losses": found["losses"],
        "wrong": wrong,
    }


def compare(expected: Mapping[str, torch.Tensor], got: Mapping[str, torch.Tensor]) -> tuple[bool, float]:
    """Whether two adapters are the same to the bit, and the norm of their difference by that of the first.

    Raises StepFailed when they are of different models.
    """
    import torch

    if expected.keys() != got.keys():
        raise StepFailed("the resumed adapter has other weights than the uninterrupted one")
    apart = sum(float((got[name] - tensor).double().square().sum()) for name, tensor in expected.items())
    whole = sum(float(tensor.double().square().sum()) for tensor in expected.values())
    return all(torch.equal(got[name], tensor) for name, tensor in expected.items()), (apart / whole) ** 0.5


def write(setting: Setting) -> dict[str, Any]:
    """The model on the disk in bf16, with as many layers as there is room for."""
    shape, folder = setting.shape, setting.folder("write")
    free = shutil.disk_usage(setting.work).free
    layers = shapes.layers_with_room(shape, free)
    if not layers:
        raise StepFailed(f"{setting.work} has {free / 1e9:.0f} GB free, too little for one layer: write --work with more room")
    begin = time.perf_counter()
    size = shapes.write_model(shape, layers, folder, setting.device)
    seconds = time.perf_counter() - begin
    return {"layers": layers, "of_layers": shape.layers, "gb": size / 1e9, "gb_per_s": size / 1e9 / seconds}


def generate(setting: Setting) -> dict[str, Any]:
    """Greedy continuations of a batch of prompts, after a short one that warms up."""
    from cai_bootstrap.engines.engine import GenerationRequest
    from cai_bootstrap.engines.transformers import TransformersEngine

    shape, (folder, layers) = setting.shape, setting.model()
    begin = time.perf_counter()
    engine = TransformersEngine(
        folder, device=setting.device, dtype=setting.dtype, batch_size=shape.rows, threads=setting.threads
    )
    load_s = time.perf_counter() - begin
    prompts = shapes.texts(folder, [shape.prompt_tokens - 1] * shape.rows)
    engine.generate([GenerationRequest(prompt=prompt, max_tokens=2) for prompt in prompts])
    _synchronize(setting.device)
    begin = time.perf_counter()
    written = engine.generate([GenerationRequest(prompt=prompt, max_tokens=shape.new_tokens) for prompt in prompts])
    _synchronize(setting.device)
    seconds, tokens = time.perf_counter() - begin, sum(len(one.token_ids) for one in written)
    return {
        "layers": layers,
        "of_layers": shape.layers,
        "dtype": setting.dtype,
        "rows": shape.rows,
        "prompt_tokens": sum(one.num_prompt_tokens for one in written) / len(written),
        "new_tokens": tokens,
        "load_s": load_s,
        "generate_s": seconds,
        "tokens_per_s": tokens / seconds,
        "peak": _peak(setting.device),
        "wrong": [] if len(written) == shape.rows and tokens else ["nothing was written"],
    }


def merge(setting: Setting) -> dict[str, Any]:
    """The trained adapter merged into the model on the disk, in fp32 as the pipeline does it, and its certificate."""
    from cai_bootstrap.config import MergeConfig
    from cai_bootstrap.steps.merge import off_limits
    from cai_bootstrap.training.merging import merge as merge_into

    (folder, layers), limits = setting.model(), MergeConfig()
    adapter = setting.folder("merge-adapter")
    _keep_lowest(setting.adapter("train"), adapter, layers)
    begin = time.perf_counter()
    certificate = merge_into(
        model_folder=folder,
        adapter_folder=adapter,
        target_folder=setting.folder("merge"),
        prompts=shapes.texts(folder, [setting.shape.prompt_tokens - 1] * limits.num_prompts),
        num_tokens=_MERGE_TOKENS,
        device=setting.device,
        dtype="float32",
        threads=setting.threads,
    )
    return {
        "layers": layers,
        "of_layers": setting.shape.layers,
        "merge_s": time.perf_counter() - begin,
        "certificate": certificate,
        "limits": vars(limits),
        "peak": _peak(setting.device),
        "wrong": off_limits(certificate, limits),
    }


PHASES: dict[str, Callable[[Setting], dict[str, Any]]] = {
    "matrix": measure_matrix_rate,
    "train": train,
    PART: train_part,
    "resume": resume,
    "write": write,
    "generate": generate,
    "merge": merge,
}


def _run_part(setting: Setting) -> Running:
    return start(PART, setting, own_group=False)  # it ends with this phase, when that is stopped


def _kill(setting: Setting, checkpoint: Path) -> int:
    """Start the training, SIGKILL it as soon as `checkpoint` is there; returns the step of its last checkpoint."""
    running = _run_part(setting)
    while not checkpoint.is_dir():  # a checkpoint gets its name when it is whole
        if running.process.poll() is not None:
            running.wait_for_row()
            raise StepFailed(f"the training ended without the checkpoint {checkpoint.name}")
        time.sleep(0.002)
    running.process.kill()
    running.process.wait()
    if (checkpoint.parent / "finished").exists():
        raise StepFailed("the training ended before it was killed")
    return max(int(path.name.removeprefix("step-")) for path in checkpoint.parent.glob("step-*") if path.suffix == "")


def _training(setting: Setting, phase: str, **changes: Any) -> Any:
    from cai_bootstrap.training.trainer import Training

    shape, folder, model = setting.shape, setting.folder(phase), setting.folder("settings")
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    if not (model / "config.json").is_file():
        shapes.write_settings(shape, shape.layers, model)
    return Training(
        model_folder=model,
        rows=shapes.pairs(shape, model),
        config={**shapes.train_config(shape), **changes},
        checkpoint_folder=folder / "checkpoints",
        seed=shapes.SEED,
        threads=setting.threads,
        device=setting.device,
        dtype=setting.dtype,
        load=functools.partial(shapes.load, shapes.weights(shape, setting.device)),
    )


def _keep_lowest(adapter: Path, target: Path, num_layers: int) -> None:
    """A copy of the adapter with its lowest layers only: as many as the model on the disk has."""
    from safetensors.torch import load_file, save_file

    target.mkdir(exist_ok=True)
    shutil.copyfile(adapter / "adapter_config.json", target / "adapter_config.json")
    tensors = load_file(adapter / "adapter_model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if int(name.split(".layers.")[1].split(".")[0]) < num_layers}
    save_file(kept, target / "adapter_model.safetensors")


def _synchronize(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def _peak(device: str) -> dict[str, float]:
    """GiB at most since the last call: allocated and reserved on a GPU, resident (since the start) on a CPU."""
    import torch

    if device != "cuda":
        return {"resident_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    peak = {
        "allocated_gib": torch.cuda.max_memory_allocated() / 2**30,
        "reserved_gib": torch.cuda.max_memory_reserved() / 2**30,
    }
    torch.cuda.reset_peak_memory_stats()
    return peak
