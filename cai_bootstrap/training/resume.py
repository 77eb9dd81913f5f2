"""What both trainers share: a fixed order of batches, our own checkpoints, and going on from them.

transformers' Trainer brings back the step count and skips the batches seen; only what it would read from pickles
(weights, optimizer, scheduler, random states) is replaced by files of ours.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState

from cai_bootstrap.engines.engine import OnDone
from cai_bootstrap.errors import StepFailed, Stopped
from cai_bootstrap.training import checkpoints, head, order
from cai_bootstrap.training.packing import PackedPairs, pack, response_labels
from cai_bootstrap.training.prefix import FrozenPrefix
from cai_bootstrap.training.tokenise import shortest_first

_TRAINER_STATE = "trainer_state"
"""Its file is found by the Trainer under this name."""
_WEIGHT = "share_weight"
"""In a batch of one of several processes."""
_PAIRS_PER_PART = 512
"""Of the frozen layers' hidden states: some seconds to compute for a small model, and that is what a kill may cost."""


class Resumable:
    """Mixed into a TRL trainer, before it. The first four attributes are set before anything is computed.

    Of several processes each has a part of every batch, all agree on when to save and to stop, and the first one writes.
    """

    has_reference: list[bool]
    """Whether a pair's preference is measured against a reference; else against zero."""
    micro_batches: list[list[int]]
    checkpoint_folder: Path
    key: str
    earlier_s: float = 0.0
    """Seconds of training before the checkpoint that was resumed from."""
    _begin: float | None = None
    prefix: FrozenPrefix | None = None
    """Where the adapter leaves out the lowest layers."""
    stop_requested: bool = False
    """Set from outside: save what is done, and raise Stopped."""

    @property
    def num_processes(self) -> int:
        """That train together."""
        trainer: Any = self
        return int(trainer.accelerator.num_processes)

    def whole_adapter(self) -> checkpoints.Tensors | None:
        """The trained weights by name, put together out of all processes; None where each has them whole. All have to ask."""
        trainer: Any = self
        if trainer.is_deepspeed_enabled:
            state: checkpoints.Tensors | None = trainer.accelerator.get_state_dict(trainer.model_wrapped)
            return state
        return {name: _whole(value) for name, value in trainable(trainer.model).items()} if trainer.is_fsdp_enabled else None

    def anywhere(self, *flags: bool) -> list[bool]:
        """Which of these hold in any of the processes."""
        trainer: Any = self
        if self.num_processes == 1:
            return list(flags)
        counts = torch.tensor(flags, dtype=torch.float32, device=trainer.accelerator.device)
        return [bool(count) for count in trainer.accelerator.reduce(counts, reduction="sum").tolist()]

    def agree(self, due: bool) -> tuple[bool, bool]:
        """Whether a checkpoint is due, and whether a stop is asked for, as all processes then have it."""
        due, self.stop_requested = self.anywhere(due, self.stop_requested)
        return due, self.stop_requested

    def install_head(self, rounded: bool) -> None:
        """Put this package's output layer, and its memory for frozen layers, into the trainer's model; see `head.install`."""
        trainer: Any = self
        model = trainer.model.get_base_model()
        if trainer.model.peft_config["default"].exclude_modules:
            self.prefix = FrozenPrefix(model)
        head.install(model, self.prefix, rounded=rounded)

    def require_going_on(self) -> None:
        """Raises Stopped when somebody has asked for it."""
        if self.stop_requested:
            raise Stopped("training was stopped: run the same command again to go on")

    def compute_prefix(self, key: str, micro_batch_size: int, on_done: OnDone | None) -> None:
        """What the frozen layers make of each pair that is trained; nothing where none is frozen. `on_done` counts pairs.

        Computed in fixed batches and kept on disk in parts, under `key`, which names the model as well: a resumed run goes on
        with the same numbers.
        """
        trainer: Any = self
        if self.prefix is None:
            return
        trainer.model.eval()  # a model's own dropout, where it has one, is for what is trained
        examples = list(trainer.train_dataset)
        sequence = shortest_first(examples, self.pairs_trained())
        for start in range(0, len(sequence), _PAIRS_PER_PART):
            part = sequence[start : start + _PAIRS_PER_PART]
            batches = [part[i : i + micro_batch_size] for i in range(0, len(part), micro_batch_size)]
            packed = [self._packed([examples[i] for i in batch]) for batch in batches]
            folder = self.checkpoint_folder / "prefix" / f"{start:07d}"
            if checkpoints.is_whole(folder, key):
                stored = checkpoints.load(folder, "hidden")
                for pairs, batch in zip(packed, batches, strict=True):
                    self.prefix.keep(pairs, [stored[str(i)] for i in batch])
            else:
                found = []
                for pairs in packed:
                    self.require_going_on()
                    found.append(self.prefix.compute(pairs))
                rows = zip(part, itertools.chain.from_iterable(found), strict=True)
                checkpoints.write(folder, key, {"hidden": {str(i): hidden for i, hidden in rows}}, {})
            if on_done is not None:
                on_done(len(examples) - len(sequence) + start + len(part))

    def pairs_trained(self) -> list[int]:
        """The pairs that `micro_batches` come to, in the data set's order: less than an epoch leaves some out."""
        return sorted(set(itertools.chain.from_iterable(self.micro_batches)))

    def _packed(self, examples: list[dict[str, Any]]) -> PackedPairs:
        trainer: Any = self
        batch = trainer._prepare_inputs(trainer.data_collator(examples))
        return pack(batch["input_ids"], batch["attention_mask"], response_labels(batch))

    def seconds(self) -> float:
        """Seconds trained so far, those before a kill included as far as a checkpoint knows them."""
        if self._begin is None:
            self._begin = time.monotonic()
        return self.earlier_s + time.monotonic() - self._begin

    def get_train_dataloader(self) -> DataLoader[Any]:
        """All epochs in one pass, in the order that `micro_batches` says."""
        trainer: Any = self
        data, collate = trainer.train_dataset, trainer.data_collator
        batches: Any = self.micro_batches
        if self.num_processes > 1:
            per_step, rank = trainer.args.gradient_accumulation_steps * self.num_processes, trainer.accelerator.process_index
            data, collate = _Shared(data), functools.partial(_collate_share, collate)
            batches = order.shares(batches, per_step=per_step, rank=rank, num_processes=self.num_processes)
        return DataLoader(
            data,
            batch_sampler=batches,
            collate_fn=collate,
            generator=torch.Generator(),  # its own: making an iterator must not move the global random state
        )

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The method's own, times the weight of this process's share (see `order.shares`)."""
        weight, method = inputs.pop(_WEIGHT, None), cast("Any", super())
        loss = method.compute_loss(model, inputs, *args, **kwargs)
        return loss if weight is None else loss * weight

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        trainer: Any = self
        if trainer.is_deepspeed_enabled:  # it has the optimizer in a form of its own
            return
        random_tensors, random_values = checkpoints.random_state()
        if self.num_processes > 1:  # each draws on its own
            every = {name: self._gathered(state) for name, state in random_tensors.items()}
            random_tensors = {f"{name}.{rank}": state for name, states in every.items() for rank, state in enumerate(states)}
        adapter = {name: _whole(value) for name, value in trainable(trainer.model).items()}
        state_of_all = trainer.optimizer.state_dict()
        entries = {i: {name: _whole(value) for name, value in entry.items()} for i, entry in state_of_all["state"].items()}
        if not trainer.accelerator.is_main_process:
            return
        optimizer, groups = checkpoints.pack_optimizer({**state_of_all, "state": entries})
        folder = checkpoints.step_folder(self.checkpoint_folder, trainer.state.global_step)
        state = {**vars(trainer.state), "stateful_callbacks": {}}
        checkpoints.write(
            folder,
            self.key,
            {"adapter": adapter, "optimizer": optimizer, "random": random_tensors},
            {
                _TRAINER_STATE: state,
                "optimizer": groups,
                "scheduler": trainer.lr_scheduler.state_dict(),
                "random": random_values,
                "seconds": self.seconds(),
            },
        )
        checkpoints.prune(self.checkpoint_folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        trainer: Any = self
        stored, wanted = checkpoints.load(Path(resume_from_checkpoint), "adapter"), trainable(trainer.model)
        if stored.keys() != wanted.keys():
            raise StepFailed(f"{resume_from_checkpoint} has other adapter weights than this model: remove it")
        with torch.no_grad():
            for name, parameter in wanted.items():
                parameter.copy_(_part(stored[name], parameter))
        self.earlier_s = checkpoints.load_value(Path(resume_from_checkpoint), "seconds")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        trainer: Any = self
        folder = Path(checkpoint)
        groups = checkpoints.load_value(folder, "optimizer")
        stored = checkpoints.unpack_optimizer(checkpoints.load(folder, "optimizer"), groups)
        parameters = [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]
        for index, entry in stored["state"].items():
            stored["state"][index] = {name: _part(value, parameters[index]) for name, value in entry.items()}
        trainer.optimizer.load_state_dict(stored)
        trainer.lr_scheduler.load_state_dict(checkpoints.load_value(folder, "scheduler"))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            folder = Path(checkpoint)
            tensors = checkpoints.load(folder, "random")
            if self.num_processes > 1:
                trainer: Any = self
                own = f".{trainer.accelerator.process_index}"
                tensors = {name.removesuffix(own): state for name, state in tensors.items() if name.endswith(own)}
            checkpoints.restore_random_state(tensors, checkpoints.load_value(folder, "random"))

    def _gathered(self, tensor: torch.Tensor) -> torch.Tensor:
        """Every process's, in order."""
        trainer: Any = self
        found: torch.Tensor = trainer.accelerator.gather(tensor[None].to(trainer.accelerator.device)).cpu()
        return found

    def _load_scaler(self, checkpoint: str | None) -> None:
        """fp16 is not offered, so there is no scaler."""


class _Shared(Dataset[Any]):
    """Gives a process its examples of a pass, with the weight of their loss."""

    def __init__(self, examples: Any) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitems__(self, share: tuple[list[int], float]) -> tuple[list[dict[str, Any]], float]:
        indices, weight = share
        return [self._examples[i] for i in indices], weight


def _collate_share(
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]], share: tuple[list[dict[str, Any]], float]
) -> dict[str, Any]:
    examples, weight = share
    return {**collate(examples), _WEIGHT: torch.tensor(weight)}


class Cadence(TrainerCallback):
    """Asks for a checkpoint every so many minutes or steps and when training is stopped, reports steps, and ends it at a loss
    that is no number.
    """

    def __init__(self, minutes: float, steps: int, on_done: OnDone | None, agree: Callable[[bool], tuple[bool, bool]]) -> None:
        """`agree` is the trainer's."""
        self._interval_s, self._steps, self._on_done, self._agree = minutes * 60, steps, on_done, agree
        self._last = time.monotonic()

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The clock starts when training does; steps done before a kill count."""
        self._last = time.monotonic()
        if self._on_done is not None:
            self._on_done(state.global_step)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The Trainer saves after it has logged the step."""
        due = time.monotonic() - self._last >= self._interval_s
        due = due or (self._steps > 0 and state.global_step % self._steps == 0)
        due, is_stopped = self._agree(due)
        if is_stopped:
            due = control.should_training_stop = True
        if due and state.global_step < state.max_steps:
            control.should_save = True
        if self._on_done is not None:
            self._on_done(state.global_step)

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The interval starts again."""
        self._last = time.monotonic()

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Raises StepFailed when training has diverged."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise StepFailed(
                f"the loss is {loss} at step {state.global_step}: write a smaller train.learning_rate than {args.learning_rate}"
            )


def _whole(value: torch.Tensor) -> torch.Tensor:
    """A tensor of which each process may have a part. All have to ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def _part(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """What this process has of it, where it is sharded as the parameter is."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)


def trainable(model: Any) -> checkpoints.Tensors:
    """The weights that are trained, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}
