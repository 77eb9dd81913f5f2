"""An adapter trained on preference pairs, to be held by a child process."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from accelerate import PartialState
from transformers import AutoTokenizer, PrinterCallback
from transformers.trainer_utils import SchedulerType

from cai_bootstrap.engines import measure
from cai_bootstrap.engines.engine import OnDone
from cai_bootstrap.engines.failures import memory_told
from cai_bootstrap.errors import UserError
from cai_bootstrap.store.provenance import digest, file_sha256
from cai_bootstrap.training import backends, checkpoints, order, summary
from cai_bootstrap.training.launch import LAUNCH
from cai_bootstrap.training.resume import Cadence, trainable
from cai_bootstrap.training.tokenise import AuditedCollator, encode_pairs, num_tokens

CADENCE = ("checkpoint_minutes", "checkpoint_steps")
FINISHED = "finished"
"""Folder beside the checkpoints with the trained adapter's files."""


def _dpo() -> tuple[Any, Callable[..., Any]]:
    from cai_bootstrap.training import dpo

    return dpo.DpoTrainer, dpo.arguments


def _orpo() -> tuple[Any, Callable[..., Any]]:
    from cai_bootstrap.training import orpo

    return orpo.OrpoTrainer, orpo.arguments


METHODS = {"dpo": _dpo, "orpo": _orpo}
"""By `train.method`: the trainer's class, and what makes its arguments."""


class Training:
    """A model, its pairs and a trainer.

    Call `compute_prefix` where layers are frozen, `score_reference`, then `run`; all go on where a kill left them, and raise
    OutOfMemory where a micro-batch is too large.
    """

    def __init__(
        self,
        *,
        model_folder: Path,
        rows: Sequence[dict[str, Any]],
        config: dict[str, Any],
        checkpoint_folder: Path,
        seed: int,
        threads: int,
        device: str,
        dtype: str,
        own_head: bool = True,
        load: backends.Load | None = None,
    ) -> None:
        """`config` is a TrainConfig as dict; rows of one `group`, where they have any, are trained in one step. `load` makes
        the model of a folder, with transformers' options: weights need not come from its files.

        Without `own_head` the trainer's output layer is used and not this package's.

        Raises UserError for pairs or settings that cannot be trained.
        """
        if threads:
            torch.set_num_threads(threads)
        transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        datasets.disable_progress_bars()
        self.config = config
        self.folder = checkpoint_folder
        self.model_folder = model_folder
        tokenizer = AutoTokenizer.from_pretrained(str(model_folder), trust_remote_code=False)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        examples = encode_pairs(tokenizer, rows, config["max_length"])
        lengths = [num_tokens(example) for example in examples]
        self.collator = AuditedCollator(tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        build, make_arguments = METHODS[config["method"]]()
        prepare = backends.BACKENDS[config.get("backend", "peft")]
        prepared = prepare(model_folder, config, device=device, dtype=dtype, seed=seed, own_head=own_head, load=load)
        self.has_rounded_head = prepared.own_head and _rounds_head(config, device, dtype)
        self.trainer = build(
            own_head=prepared.own_head,
            rounded_head=self.has_rounded_head,
            model=prepared.model,
            args=make_arguments(_common(config, len(rows), seed, device, dtype), config, checkpoint_folder),
            data_collator=self.collator,
            train_dataset=datasets.Dataset.from_list(examples),
            processing_class=tokenizer,
            peft_config=prepared.peft_config,
        )
        if "ref" in self.trainer.model.peft_config:
            # TRL's copy of an adapter that the model came with. A new adapter changes nothing, so without it is the reference.
            self.trainer.model.delete_adapter("ref")
        for parameter in trainable(self.trainer.model).values():
            # TRL makes a quantized model's adapter bf16, in which small updates of it are rounded away.
            parameter.data = parameter.data.float()
        self.trainer.remove_callback(PrinterCallback)
        groups = [row.get("group", "") for row in rows]
        self.trainer.has_reference = [not group and not row.get("only_chosen") for group, row in zip(groups, rows, strict=True)]
        self.trainer.micro_batches = order.micro_batches(
            lengths,
            groups,
            num_epochs=config["num_epochs"],
            batch_size=config["batch_size"],
            micro_batch_size=config["micro_batch_size"],
            seed=seed,
        )
        self.trainer.checkpoint_folder = checkpoint_folder
        # Micro-batches are parts of the same batches: when they do not fit the memory, training goes on with smaller ones.
        identity = {key: value for key, value in config.items() if key not in (*CADENCE, *LAUNCH, "micro_batch_size")}
        key = {"config": identity, "examples": examples, "seed": seed, "device": device, "dtype": dtype}
        if self.trainer.num_processes > 1:  # a checkpoint has the random state of each
            key["num_processes"] = self.trainer.num_processes
        self.trainer.key = digest(key)

    def compute_prefix(self, on_done: OnDone | None = None) -> None:
        """What layers below the adapter make of all pairs, once for all epochs; `on_done` counts pairs."""
        if self.trainer.prefix is None:
            return
        files = sorted(self.model_folder.glob("*.safetensors"))
        key = digest({"training": self.trainer.key, "model": [file_sha256(path) for path in files]})
        with memory_told("training"):
            self.trainer.compute_prefix(key, self.config["micro_batch_size"], on_done)

    def score_reference(self, on_done: OnDone | None = None) -> None:
        """The base model's log-probabilities of all pairs, where the method needs them; `on_done` counts pairs."""
        with memory_told("training"):
            self.trainer.score_reference(self.config["micro_batch_size"], self.config["checkpoint_minutes"], on_done)

    def run(self, on_done: OnDone | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Train; `on_done` counts optimizer steps. Returns what was trained (see `summary`) and one row for each step.

        The adapter's two files lie in the folder `finished` then. Raises StepFailed for a loss that is no number, Stopped
        after `stop`.
        """
        trainer = self.trainer
        minutes, steps = (self.config[name] for name in CADENCE)
        trainer.add_callback(Cadence(minutes, steps, on_done, trainer.agree))
        resumed = checkpoints.newest(self.folder, trainer.key)
        trainer.seconds()
        with memory_told("training"):
            trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
        if trainer.state.global_step < trainer.state.max_steps:
            trainer.require_going_on()
        state = trainer.whole_adapter()
        if trainer.accelerator.is_main_process:
            _save_adapter(trainer.model, self.folder / FINISHED, state)
        facts = summary.summarise(trainer, self.config["method"], self.config["quantization"])
        facts["backend"] = self.config.get("backend", "peft")
        facts["head_dtype"] = "bfloat16" if self.has_rounded_head else facts["base_dtype"][0]
        facts["num_processes"] = trainer.num_processes
        facts["num_audited_batches"] = self.collator.num_audited
        facts["threads"] = torch.get_num_threads()
        facts["resumed_from_step"] = None if resumed is None else int(resumed.name.rpartition("-")[2])
        return facts, summary.loss_rows(trainer)

    def stop(self) -> None:
        """End what is going on as soon as it is saved; it then raises Stopped. For a signal's handler."""
        self.trainer.stop_requested = True


def _rounds_head(config: dict[str, Any], device: str, dtype: str) -> bool:
    """Whether products with the output layer are made in bf16 though the model is in fp32."""
    wanted = config.get("head_dtype", "auto")
    if wanted == "auto":
        return device == "cpu" and dtype == "float32" and measure.has_fast_bf16()
    return bool(wanted == "bfloat16")


def train(on_reference: OnDone | None = None, on_done: OnDone | None = None, **arguments: Any) -> tuple[Any, Any]:
    """`Training(**arguments)` through both its phases; returns what `Training.run` does."""
    training = Training(**arguments)
    training.compute_prefix()
    training.score_reference(on_reference)
    return training.run(on_done)


def _common(config: dict[str, Any], num_pairs: int, seed: int, device: str, dtype: str) -> dict[str, Any]:
    """The settings of transformers' Trainer that both methods share."""
    schedulers = [scheduler.value for scheduler in SchedulerType]
    if config["scheduler"] not in schedulers:
        raise UserError(f"train.scheduler={config['scheduler']!r} is not known: write one of {', '.join(schedulers)}")
    num_steps = order.num_steps(num_pairs, config["num_epochs"], config["batch_size"])
    return {
        "per_device_train_batch_size": config["micro_batch_size"],
        "gradient_accumulation_steps": config["batch_size"] // config["micro_batch_size"] // PartialState().num_processes,
        "num_train_epochs": 1,  # the loader holds all epochs in one pass
        "learning_rate": config["learning_rate"],
        "lr_scheduler_type": config["scheduler"],
        "warmup_steps": math.ceil(config["warmup_ratio"] * num_steps),
        "weight_decay": config["weight_decay"],
        "max_grad_norm": config["max_grad_norm"],
        "optim": "adamw_torch",
        "bf16": dtype == "bfloat16",
        "fp16": False,
        "use_cpu": device == "cpu",
        "ddp_find_unused_parameters": False,
        "gradient_checkpointing": config["gradient_checkpointing"],
        "seed": seed % 2**32,
        "data_seed": seed % 2**32,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # see `Cadence`
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
    }


def _save_adapter(model: Any, folder: Path, state: dict[str, Any] | None) -> None:
    """The adapter as two files that are the same for the same training: no path of this machine, names in order.

    `state` is that of a model whose own weights are sharded.
    """
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(str(folder), state_dict=state, safe_serialization=True, save_embedding_layers=False)
    for path in folder.iterdir():
        if path.name not in ("adapter_model.safetensors", "adapter_config.json"):
            path.unlink()
    path = folder / "adapter_config.json"
    config = json.loads(path.read_bytes())
    config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = None
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
