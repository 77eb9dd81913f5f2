"""What was really trained, read back from the trainer after it ended and not from the configuration."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from cai_bootstrap.training.resume import trainable

_NOT_IN_ROWS = ("step", "epoch", "num_tokens")
_OF_PREFERENCES = ("rewards/accuracies", "rewards/margins")


def loss_rows(trainer: Any) -> list[dict[str, Any]]:
    """One row for each optimizer step: step, loss, learning rate, gradient norm and the method's own metrics.

    A pair of two equal responses prefers neither. The trainer counts it as wrong with a margin of zero; here accuracy and
    margin are those of the other pairs, and None in a step that has no other.
    """
    shares = _preference_shares(trainer)
    rows = []
    for logged in trainer.state.log_history:
        if "loss" in logged:
            row = {"step": logged["step"], **{key: value for key, value in logged.items() if key not in _NOT_IN_ROWS}}
            share = shares[row["step"] - 1]
            row.update({key: row[key] / share if share else None for key in _OF_PREFERENCES})
            rows.append(row)
    return rows


def _preference_shares(trainer: Any) -> list[float]:
    """Of each optimizer step's pairs, how many have two different responses."""
    data = trainer.train_dataset
    differ = [chosen != rejected for chosen, rejected in zip(data["chosen_ids"], data["rejected_ids"], strict=True)]
    batches, per_step = trainer.micro_batches, trainer.args.gradient_accumulation_steps * trainer.num_processes
    shares = [fmean(differ[i] for i in batch) for batch in batches]  # of each batch, as the trainer takes its means
    return [fmean(shares[start : start + per_step]) for start in range(0, len(shares), per_step)]


def summarise(trainer: Any, method: str, quantization: str) -> dict[str, Any]:
    """Method, losses, optimizer and schedule, counts of steps, pairs, tokens and weights, time, and final metrics."""
    rows = loss_rows(trainer)
    rates = [row["learning_rate"] for row in rows]
    tenth = max(1, len(rows) // 10)
    num_pairs_seen = sum(map(len, trainer.micro_batches))
    seconds = trainer.seconds()
    parameters = trainable(trainer.model)
    modules = sorted(
        name.removeprefix("base_model.model.") for name, part in trainer.model.named_modules() if hasattr(part, "lora_A")
    )
    base = trainer.model.get_base_model()
    return {
        "method": method,
        "losses": trainer.losses(),
        "beta": float(trainer.beta),
        "optimizer": type(trainer.optimizer.optimizer).__name__,
        "weight_decay": sorted({float(group["weight_decay"]) for group in trainer.optimizer.param_groups}),
        "max_grad_norm": float(trainer.args.max_grad_norm),
        "scheduler": _scheduler(trainer.lr_scheduler),
        "learning_rate": {"first": rates[0], "peak": max(rates), "last": rates[-1]},
        "num_steps": int(trainer.state.global_step),
        "num_pairs": len(trainer.train_dataset),
        "num_epochs": num_pairs_seen / len(trainer.train_dataset),
        "pairs_per_step": trainer.args.per_device_train_batch_size
        * trainer.args.gradient_accumulation_steps
        * trainer.num_processes,
        "pairs_per_forward": trainer.args.per_device_train_batch_size,
        "tokens": _tokens(trainer),
        "num_trainable_parameters": sum(value.numel() for value in parameters.values()),
        "lora_modules": modules,
        "adapter_dtype": _dtypes(parameters.values()),
        "base_dtype": _dtypes(value for value in base.parameters() if not value.requires_grad),
        "quantization": quantization,
        "quantized": bool(getattr(base, "is_loaded_in_4bit", False)),
        "gradient_checkpointing": bool(trainer.args.gradient_checkpointing),
        "device": str(trainer.args.device),
        "seconds": round(seconds, 3),
        "pairs_per_second": round(num_pairs_seen / seconds, 4),
        "peak_memory_gib": round(_peak_memory_gib(), 3),
        "first_loss": fmean(row["loss"] for row in rows[:tenth]),
        "last_loss": fmean(row["loss"] for row in rows[-tenth:]),
        "final_reward_margin": _mean_known(row["rewards/margins"] for row in rows[-tenth:]),
        "final_reward_accuracy": _mean_known(row["rewards/accuracies"] for row in rows[-tenth:]),
    }


def _mean_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _scheduler(scheduler: Any) -> dict[str, Any]:
    """A schedule's class, and the function behind a LambdaLR with its numbers."""
    inner = getattr(scheduler, "scheduler", scheduler)
    described: dict[str, Any] = {"class": type(inner).__name__}
    for function in getattr(inner, "lr_lambdas", [])[:1]:
        described["function"] = getattr(getattr(function, "func", function), "__name__", type(function).__name__)
        described.update(getattr(function, "keywords", {}))
    return described


def _tokens(trainer: Any) -> dict[str, Any]:
    """Tokens over all passes; the prompt counts once for each of the two sequences that it stands in."""
    data = trainer.train_dataset
    lengths = list(
        zip(*([len(ids) for ids in data[name]] for name in ("prompt_ids", "chosen_ids", "rejected_ids")), strict=True)
    )
    prompt = chosen = rejected = padded = 0
    for batch in trainer.micro_batches:
        longest = 0
        for i in batch:
            prompt += 2 * lengths[i][0]
            chosen += lengths[i][1]
            rejected += lengths[i][2]
            longest = max(longest, lengths[i][0] + max(lengths[i][1:]))
        padded += 2 * len(batch) * longest
    return {
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "padding_share": round(1 - (prompt + chosen + rejected) / padded, 4),
    }


def _dtypes(values: Any) -> list[str]:
    return sorted({str(value.dtype).removeprefix("torch.") for value in values})


def _peak_memory_gib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
