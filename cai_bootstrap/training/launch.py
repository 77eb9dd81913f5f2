"""`train.launcher=accelerate`: a training in several processes, in the environment that `accelerate launch` would give them.

The processes are started here and not by accelerate's command: they die with their parent, answer over pipes, and are asked to
stop as every other child is. Importing this imports no library.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cai_bootstrap.engines.child import Crew
from cai_bootstrap.errors import MissingArtifact, UserError
from cai_bootstrap.resources import read_yaml, resource

LAUNCH = ("launcher", "accelerate_config")
"""Of a TrainConfig: where a training runs, and nothing of what comes of it."""
ACCELERATE_FOLDER = "accelerate"
"""In `conf/`: accelerate's own files, which Hydra does not read."""
_SHARDED = ("FSDP", "DEEPSPEED")
_KINDS = ("NO", "MULTI_CPU", "MULTI_GPU", *_SHARDED)


@dataclass(frozen=True)
class Launch:
    """What a configuration of accelerate says."""

    path: Path
    kind: str
    num_processes: int
    on_cpu: bool

    @property
    def is_sharded(self) -> bool:
        """Whether no process has the whole model while it is trained."""
        return self.kind in _SHARDED


def read_launch(name: str | None) -> Launch:
    """The configuration in the file `name`, or of that name in `conf/accelerate/`. Raises UserError for any other."""
    folder = resource(f"conf/{ACCELERATE_FOLDER}")
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name is None:
        raise UserError(f"train.accelerate_config is missing: write a file of accelerate's, or one of {', '.join(known)}")
    path = folder / f"{name}.yaml" if name in known else Path(name)
    key = f"train.accelerate_config={name}"
    if not path.is_file():
        raise MissingArtifact(f"{key} does not exist: write a file of accelerate's, or one of {', '.join(known)}")
    try:
        told = read_yaml(path)
        kind, number, machines = str(told["distributed_type"]), told.get("num_processes", 1), told.get("num_machines", 1)
        on_cpu = bool(told.get("use_cpu", False))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{key} is no configuration of accelerate ({error!r:.100}): `accelerate config` writes one") from error
    if kind not in _KINDS:
        raise UserError(f"{key} has distributed_type {kind}: write one of {', '.join(_KINDS)}")
    if not isinstance(number, int) or number < 1 or (kind == "NO" and number > 1):
        raise UserError(f"{key} has num_processes {number!r} of distributed_type {kind}: write a number that fits")
    if machines != 1:
        raise UserError(f"{key} has num_machines {machines}: a training runs on one machine, write 1")
    return Launch(path.absolute(), kind, number, on_cpu)


def crew(launch: Launch, arguments: Mapping[str, Any]) -> Crew:
    """The processes of a `Training(**arguments)`, as one to call. The machine's threads are divided among them."""
    shared = {
        **arguments,
        "threads": max(1, arguments["threads"] // launch.num_processes) if launch.on_cpu else arguments["threads"],
        "launch": launch,
        "port": _free_port(),
    }
    return Crew(_member, [{**shared, "rank": rank} for rank in range(launch.num_processes)])


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _member(launch: Launch, port: int, rank: int, **arguments: Any) -> Any:
    """One process's Training. It meets the others before it loads anything, which also chooses its GPU."""
    os.environ.update(environment(launch, port, rank))
    import torch
    from accelerate import PartialState

    from cai_bootstrap.training.trainer import Training

    if not launch.on_cpu:
        torch.cuda.set_device(rank)
    PartialState(cpu=launch.on_cpu)
    return Training(**arguments, own_head=not launch.is_sharded)


def environment(launch: Launch, port: int, rank: int) -> dict[str, str]:
    """The variables by which accelerate knows the process of `rank`, as its own command sets them. Needs accelerate."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    # A port of 0 keeps it from looking whether ours is taken, which it is as soon as the first process listens.
    words = ["--config_file", str(launch.path), "--main_process_port", "0", "--num_cpu_threads_per_process", "1", "train"]
    args, theirs, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    if launch.kind == "DEEPSPEED":
        args.deepspeed_fields_from_accelerate_config = ",".join([*theirs.deepspeed_config, "mixed_precision"])
        told = prepare_deepspeed_cmd_env(args)[1]
    else:
        told = prepare_multi_gpu_env(args)
    set_here = {name: value for name, value in told.items() if os.environ.get(name) != value and name != "PYTHONPATH"}
    set_here.pop("OMP_NUM_THREADS", None)  # torch's own setting of threads counts
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": launch.num_processes, "LOCAL_WORLD_SIZE": launch.num_processes}
    if launch.num_processes > 1:
        set_here |= {name: str(value) for name, value in place.items()}
        set_here |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return set_here | {"ACCELERATE_USE_CPU": str(launch.on_cpu).lower()}
