"""A training in two processes: the losses are those of one, and a kill or a stop costs what it costs one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file
from small_training import arguments
from test_quantization import digests
from test_train_step import stepped

from cai_bootstrap.config import Launcher
from cai_bootstrap.engines.child import Crew
from cai_bootstrap.errors import OutOfMemory, StepFailed
from cai_bootstrap.resources import resource
from cai_bootstrap.training import launch, order
from cai_bootstrap.training.launch import crew, environment, read_launch

TOLERANCE = 1e-5
"""Relative, of each step's loss. Two processes add up in another order; measured on the tiny model: up to 2e-7."""
SETTINGS: dict[str, Any] = {"num_epochs": 3, "batch_size": 4, "micro_batch_size": 1, "checkpoint_steps": 3}
"""Nine steps of the eleven pairs; the last one has a single micro-batch, which two processes cannot divide."""


def trained(members: Crew, on_done: Any = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a training in these processes comes to; they are ended, however that is."""
    try:
        members.call("score_reference")
        result: tuple[dict[str, Any], list[dict[str, Any]]] = members.call("run", on_done=on_done or (lambda _: None))
        return result
    finally:
        members.close()


# --- how batches are divided


def test_two_processes_share_every_batch_in_turns() -> None:
    batches = [[i] for i in range(8)]
    parts = [order.shares(batches, per_step=4, rank=rank, num_processes=2) for rank in (0, 1)]
    assert [[part for part, _ in each] for each in parts] == [[[0], [2], [4], [6]], [[1], [3], [5], [7]]]
    assert {weight for each in parts for _, weight in each} == {1.0}


@pytest.mark.parametrize(("num_batches", "num_processes"), [(7, 2), (5, 4), (4, 4), (9, 2), (1, 3)])
def test_the_mean_over_processes_and_passes_is_that_over_the_step(num_batches: int, num_processes: int) -> None:
    per_step = 2 * num_processes
    batches, losses = [[i] for i in range(num_batches)], [1.0 + i * i for i in range(num_batches)]
    parts = [order.shares(batches, per_step=per_step, rank=r, num_processes=num_processes) for r in range(num_processes)]
    assert len({len(part) for part in parts}) == 1, "all meet in every pass"
    for start in range(0, num_batches, per_step):
        step = losses[start : start + per_step]
        passes = slice(start // num_processes, start // num_processes + -(-len(step) // num_processes))
        means = [[weight * losses[indices[0]] for indices, weight in part[passes]] for part in parts]
        found = sum(sum(mean) / len(mean) for mean in means) / num_processes
        assert found == pytest.approx(sum(step) / len(step))


# --- accelerate's own reading of the committed files


@pytest.mark.parametrize("path", sorted(resource("conf/accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_committed_configuration_is_one_of_accelerate(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    theirs, ours = load_config_from_file(str(path)), read_launch(path.stem)
    assert (theirs.distributed_type.value, theirs.num_processes, theirs.use_cpu) == (ours.kind, ours.num_processes, ours.on_cpu)
    assert theirs.num_machines == 1
    assert ours.is_sharded is (path.stem in ("fsdp", "zero3"))
    assert theirs.deepspeed_config.get("zero_stage") == (3 if path.stem == "zero3" else None)
    assert theirs.fsdp_config.get("fsdp_version") == (2 if path.stem == "fsdp" else None)


def test_the_environment_is_that_of_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    told = environment(read_launch("fsdp"), 12345, 1)
    assert (told["RANK"], told["WORLD_SIZE"], told["MASTER_PORT"]) == ("1", "2", "12345")
    assert (told["ACCELERATE_USE_FSDP"], told["FSDP_VERSION"], told["ACCELERATE_USE_CPU"]) == ("true", "2", "false")
    assert environment(read_launch("zero3"), 12345, 0)["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "3"
    alone = environment(read_launch("one_gpu"), 12345, 0)
    assert "RANK" not in alone
    assert "ACCELERATE_USE_FSDP" not in alone


# --- the step


def test_where_a_training_runs_is_no_part_of_its_address(tmp_path: Path) -> None:
    launched = ("engine.device=cpu", "train.launcher=accelerate", "train.accelerate_config=two_cpus")
    assert digests(tmp_path, "cpu", *launched) == digests(tmp_path, "cpu", "engine.device=cpu")


@pytest.mark.slow
def test_the_step_in_two_processes_leaves_what_it_leaves_in_one(tiny_model: Path, tmp_path: Path) -> None:
    alone = stepped(tiny_model, tmp_path / "alone", **SETTINGS)
    launched = {**SETTINGS, "launcher": Launcher.accelerate, "accelerate_config": "two_cpus"}
    spread = stepped(tiny_model, tmp_path / "spread", **launched)
    losses, expected = ([json.loads(row)["loss"] for row in (one.folder / "loss.jsonl").open()] for one in (spread, alone))
    assert losses == pytest.approx(expected, rel=TOLERANCE)
    assert losses[0] - losses[-1] > 1000 * TOLERANCE, "else equal losses would tell nothing"
    facts = [json.loads((one.folder / "training.json").read_bytes()) for one in (spread, alone)]
    assert [each["num_processes"] for each in facts] == [2, 1]
    weights, others = (load_file(one.folder / "adapter" / "adapter_model.safetensors") for one in (spread, alone))
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert float((value - others[name]).abs().max()) < 1e-4


# --- whole trainings


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """A training in two processes: its folder, what was trained, and its losses."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *trained(crew(read_launch("two_cpus"), arguments(tiny_model, folder, **SETTINGS)))


@pytest.mark.slow
def test_the_losses_of_two_processes_are_those_of_one(whole: Any, tiny_model: Path, tmp_path: Path) -> None:
    from cai_bootstrap.training.trainer import train

    folder, facts, losses = whole
    alone_facts, alone = train(**arguments(tiny_model, tmp_path, **SETTINGS))
    assert [row["loss"] for row in losses] == pytest.approx([row["loss"] for row in alone], rel=TOLERANCE)
    assert [row["grad_norm"] for row in losses] == pytest.approx([row["grad_norm"] for row in alone], rel=TOLERANCE)
    assert losses[0]["loss"] - losses[-1]["loss"] > 1000 * TOLERANCE, "else equal losses would tell nothing"
    weights, expected = (load_file(path / "finished" / "adapter_model.safetensors") for path in (folder, tmp_path))
    assert weights.keys() == expected.keys()
    for name, value in weights.items():
        assert float((value - expected[name]).abs().max()) < 1e-4
    same = ("num_steps", "num_pairs", "pairs_per_step", "pairs_per_forward", "tokens", "learning_rate", "losses")
    assert {key: facts[key] for key in same} == {key: alone_facts[key] for key in same}
    assert (facts["num_processes"], alone_facts["num_processes"]) == (2, 1)


@pytest.mark.slow
def test_a_killed_member_ends_all_and_the_next_call_goes_on(whole: Any, tiny_model: Path, tmp_path: Path) -> None:
    folder, _, losses = whole
    given = arguments(tiny_model, tmp_path, **SETTINGS)
    members = crew(read_launch("two_cpus"), given)
    pids = members.pids
    with pytest.raises(OutOfMemory, match="ended unexpectedly"):
        trained(members, lambda done: os.kill(pids[1], signal.SIGKILL) if done == 5 else None)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    facts, resumed = trained(crew(read_launch("two_cpus"), given))
    assert facts["resumed_from_step"] == 3
    assert resumed == losses
    name = "finished/adapter_model.safetensors"
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.slow
def test_one_that_is_asked_to_stop_stops_all_and_saves(tiny_model: Path, tmp_path: Path) -> None:
    given = arguments(tiny_model, tmp_path, **{**SETTINGS, "checkpoint_steps": 0})
    members = crew(read_launch("two_cpus"), given)
    members.call("score_reference")

    class Interrupt(Exception):
        pass

    def interrupt(done: int) -> None:
        if done == 1:
            raise Interrupt

    with pytest.raises(Interrupt):
        members.call("run", on_done=interrupt)
    members.close()
    assert not any(psutil.pid_exists(pid) for pid in members.pids)
    assert [path.name for path in tmp_path.glob("step-*")] != []
    assert not (tmp_path / "finished").exists()


def _sharded_member(rank: int, port: int, **given: Any) -> Any:
    """A process of `fsdp.yaml` on the CPU: accelerate shards over GPUs only, so it is told that these processes have some."""
    os.environ.update(environment(read_launch("fsdp"), port, rank) | {"ACCELERATE_USE_CPU": "true"})
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    begin: Any = PartialState.__init__

    def begin_as_if(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        if self._shared_state["distributed_type"] == DistributedType.MULTI_CPU:
            self._shared_state["distributed_type"] = DistributedType.MULTI_GPU

    PartialState.__init__ = begin_as_if
    PartialState(cpu=True)
    from cai_bootstrap.training.trainer import Training

    training = Training(**given, own_head=False)
    assert training.trainer.is_fsdp_enabled
    return training


@pytest.mark.slow
def test_the_losses_of_a_sharded_training_are_those_of_one_process(tiny_model: Path, tmp_path: Path) -> None:
    from cai_bootstrap.training.trainer import train

    _, alone = train(**arguments(tiny_model, tmp_path / "alone", **SETTINGS))

    def members() -> Crew:
        given, port = arguments(tiny_model, tmp_path / "sharded", **SETTINGS), launch._free_port()
        return Crew(_sharded_member, [{**given, "rank": rank, "port": port} for rank in (0, 1)])

    first = members()
    pids = first.pids
    with pytest.raises(OutOfMemory):
        trained(first, lambda done: os.kill(pids[1], signal.SIGKILL) if done == 5 else None)
    facts, losses = trained(members())
    assert facts["resumed_from_step"] == 3
    assert [row["loss"] for row in losses] == pytest.approx([row["loss"] for row in alone], rel=TOLERANCE)
    paths = [tmp_path / name / "finished" / "adapter_model.safetensors" for name in ("sharded", "alone")]
    weights, expected = map(load_file, paths)
    assert weights.keys() == expected.keys()
    for name, value in weights.items():
        assert float((value - expected[name]).abs().max()) < 1e-4


_PARENT = """
import sys, time
from cai_bootstrap.engines.child import Crew

def build(rank):
    return object()

if __name__ == "__main__":
    crew = Crew(build, [{"rank": rank} for rank in range(2)])
    print(*crew.pids, flush=True)
    time.sleep(60)
"""


def test_members_die_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        members = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(members) == 2
        parent.kill()
        _, alive = psutil.wait_procs(members, timeout=10)
        assert not alive


def _fails(rank: int) -> object:
    if rank == 1:
        raise StepFailed("the second one cannot")
    time.sleep(60)
    return object()


@pytest.mark.slow
def test_one_that_cannot_start_ends_the_others() -> None:
    with pytest.raises(StepFailed, match="the second one cannot"):
        Crew(_fails, [{"rank": rank} for rank in range(2)])


class _Member:
    def __init__(self, rank: int) -> None:
        self._rank = rank

    def work(self, on_done: Any = None) -> None:
        if self._rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        on_done(1)
        time.sleep(0.3)
        raise StepFailed("the connection was lost")


def test_what_the_others_say_of_a_killed_member_hides_it_not() -> None:
    members = Crew(_Member, [{"rank": rank} for rank in range(2)])
    with pytest.raises(OutOfMemory, match="most likely for want of memory"):
        members.call("work", on_done=lambda _: time.sleep(1.5))
    members.close()
