"""The adapter, trained on preference pairs in a child process that can be killed at any instant."""

from __future__ import annotations

import importlib.metadata
import math
import random
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, cast

import pyarrow.parquet

from cai_bootstrap.config import Launcher
from cai_bootstrap.engines.child import Child
from cai_bootstrap.engines.engine import OnDone
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import OutOfMemory, UserError
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.files import make_folder, read_sealed, write_sealed
from cai_bootstrap.store.run import Work, step

_MEMORY = "memory.json"
"""Beside the checkpoints: the sizes of micro-batches that did not fit the memory."""
_MAX_HALVINGS = 3
_COLUMNS = ("id", "prompt", "chosen", "rejected", "chosen_eos", "rejected_eos", "group")


@step(version=7)
def train_adapter(
    work: Work,
    *,
    session: Session,
    model: Artifact,
    pairs: Artifact,
    reference: Artifact | None = None,
    cadence: dict[str, Any] | None = None,
    **replayed: Artifact,
) -> None:
    """The folder `adapter/` (safetensors), `training.json` with what was really trained, and `loss.jsonl`.

    DPO's reference is `model`, or `reference` where one is given; pairs of a group have none. Of the pairs of earlier stages,
    `replayed`, some are trained as well: the share `replay` of all, again and again where there are too few;
    without `replay_preferences` their chosen responses only.

    `cadence` holds checkpoint_minutes and checkpoint_steps, launcher and accelerate_config, which change nothing of the result
    but its rounding; without it they are in the settings. Out of memory, micro-batches are halved, at most three times, and
    batches stay what they are. Raises UserError for pairs that cannot be trained on, StepFailed for a loss that is no number,
    OutOfMemory.
    """
    config = {**work.settings, **(cadence or {})}
    if reference is not None:
        config["reference"] = reference.digest  # belongs to the training that checkpoints are of
        reference.verify()
    model.verify()
    pairs.verify()
    rows = read_rows(pairs)
    if replayed:
        earlier = drawn(list(replayed.values()), len(rows), config["replay"], random.Random(work.seed))
        rows += [{**row, "only_chosen": not config["replay_preferences"]} for row in earlier]
    session.release()
    folder = work.checkpoints
    make_folder(folder)
    facts, losses = _fitting(
        work,
        session,
        None if reference is None else reference.path / "model",
        model_folder=model.path / "model",
        rows=rows,
        config=config,
        checkpoint_folder=folder,
        seed=work.seed,
        threads=session.config.threads,
        device=session.config.device,
        dtype=session.config.dtype,
    )
    work.record_engine(
        {
            "engine": "trl",
            "dtype": session.config.dtype,
            "quantization": facts["quantization"],
            "device": facts["device"],
            "threads": facts["threads"],
            **{name: importlib.metadata.version(name) for name in ("torch", "transformers", "trl", "peft")},
        }
    )
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        work.write_bytes(f"adapter/{name}", (folder / "finished" / name).read_bytes())
    work.write_json("training.json", facts)
    work.write_rows("loss.jsonl", losses)


def read_rows(pairs: Artifact) -> list[dict[str, Any]]:
    """What training needs of each pair. Raises UserError when `pairs.parquet` lacks a column."""
    path = pairs.path / "pairs.parquet"
    missing = [name for name in _COLUMNS if name not in pyarrow.parquet.read_schema(path).names]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}: make the pairs again")
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path, columns=list(_COLUMNS)).to_pylist()
    return rows


def drawn(replayed: list[Artifact], num_own: int, share: float, rng: random.Random) -> list[dict[str, Any]]:
    """Pairs of each artifact, together `share` of them and of the `num_own` others; groups stay whole.

    Of a stage that taught with more pairs more come, by the square root of their number: what took thirty times as many to
    teach is forgotten sooner. None comes again before all have come.
    """
    for artifact in replayed:
        artifact.verify()
    held = [read_rows(artifact) for artifact in replayed]
    parts = [math.sqrt(len(rows)) for rows in held]
    drawn: list[dict[str, Any]] = []
    for rows, part in zip(held, parts, strict=True):
        num_each = round(num_own * share / (1 - share) * part / sum(parts))
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            groups.setdefault(row["group"] or row["id"], []).append(row)
        units, found = list(groups.values()), list[dict[str, Any]]()
        while any(len(unit) <= num_each - len(found) for unit in units):
            rng.shuffle(units)
            for unit in units:
                if len(unit) <= num_each - len(found):
                    found += unit
        drawn += found
    return drawn


class _Caller(Protocol):
    """`Child`, or the same in this process."""

    def call(self, name: str, *, on_done: OnDone | None = None) -> Any: ...

    def close(self) -> None: ...


class _InProcess:
    def __init__(self, target: Any) -> None:
        self._target = target

    def call(self, name: str, *, on_done: OnDone | None = None) -> Any:
        return getattr(self._target, name)(on_done=on_done)

    def close(self) -> None:
        self._target = None


def _fitting(
    work: Work, session: Session, reference_folder: Path | None, **arguments: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train, with smaller micro-batches where they do not fit the memory; those that did not are known after a kill too."""
    path, wanted = arguments["checkpoint_folder"] / _MEMORY, arguments["config"]
    too_large: list[int] = (read_sealed(path, f"remove {path.parent}") or {"sizes": []})["sizes"]
    while True:
        size = halved(wanted["batch_size"] // _num_processes(wanted), wanted["micro_batch_size"], len(too_large))
        try:
            facts, losses = _train(
                work, session, reference_folder, **{**arguments, "config": {**wanted, "micro_batch_size": size}}
            )
        except OutOfMemory as error:
            too_large.append(size)
            if size == 1 or len(too_large) > _MAX_HALVINGS:
                path.unlink(missing_ok=True)  # the next call may find more memory
                raise OutOfMemory(
                    f"training does not fit the memory with train.micro_batch_size={size} either: write a smaller "
                    f"train.max_length than {wanted['max_length']}, train.quantization=nf4, or "
                    f"train.gradient_checkpointing=true ({error})"
                ) from error
            write_sealed(path, {"sizes": too_large})
            continue
        if too_large:
            work.warn(f"out of memory with micro-batches of {', '.join(map(str, too_large))}: trained with {size}")
        return {**facts, "too_large_micro_batches": too_large}, losses


def _num_processes(config: dict[str, Any]) -> int:
    from cai_bootstrap.training import launch

    if config.get("launcher") != Launcher.accelerate:
        return 1
    return launch.read_launch(config["accelerate_config"]).num_processes


def halved(batch_size: int, micro_batch_size: int, times: int) -> int:
    """The largest size that is at most the half of a micro-batch, so many times, and still divides the batch."""
    size = micro_batch_size
    for _ in range(times):
        size = max(part for part in range(1, max(1, size // 2) + 1) if batch_size % part == 0)
    return size


def _training(**arguments: Any) -> Any:
    from cai_bootstrap.training import backends

    backends.import_first(arguments["config"].get("backend", "peft"))
    from cai_bootstrap.training.trainer import Training

    return Training(**arguments)


def _train(
    work: Work, session: Session, reference_folder: Path | None, **arguments: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from cai_bootstrap.training.order import num_steps

    config, num_pairs = arguments["config"], len(arguments["rows"])
    if reference_folder is not None:  # scored and gone before the model that is trained is loaded, which finds the scores
        with closing(_load(work, session, {**arguments, "model_folder": reference_folder})) as caller:
            _score_reference(work, caller, num_pairs)
    with closing(_load(work, session, arguments)) as caller:
        if config["lora"]["frozen_share"]:
            with work.progress.task("frozen layers", num_pairs) as task:
                caller.call("compute_prefix", on_done=task.update)
        if config["method"] == "dpo":
            _score_reference(work, caller, num_pairs)
        total = num_steps(num_pairs, config["num_epochs"], config["batch_size"])
        with work.progress.task("training", total) as task:
            result: tuple[dict[str, Any], list[dict[str, Any]]] = caller.call("run", on_done=task.update)
    return result


def _load(work: Work, session: Session, arguments: dict[str, Any]) -> _Caller:
    config = arguments["config"]
    with work.progress.task("loading the trainer", None):
        if config.get("launcher") == Launcher.accelerate:
            from cai_bootstrap.training import launch

            return launch.crew(launch.read_launch(config["accelerate_config"]), arguments)
        return cast(
            "_Caller",
            _InProcess(_training(**arguments)) if session.config.in_process else Child(_training, arguments),
        )


def _score_reference(work: Work, caller: _Caller, num_pairs: int) -> None:
    with work.progress.task("reference log-probabilities", num_pairs) as task:
        caller.call("score_reference", on_done=task.update)
