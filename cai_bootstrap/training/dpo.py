"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290) on TRL's stable trainer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from cai_bootstrap.engines.engine import OnDone
from cai_bootstrap.errors import UserError
from cai_bootstrap.training import checkpoints
from cai_bootstrap.training.resume import Resumable
from cai_bootstrap.training.tokenise import shortest_first

_LOSS_TYPES = ("sigmoid", "sft", "sigmoid_norm", "hinge", "ipo", "robust", "apo_zero", "apo_down", "nca_pair")


class DpoTrainer(Resumable, DPOTrainer):
    """TRL's DPO trainer on ids that were made here, with this package's head and reference log-probabilities."""

    def __init__(self, *, own_head: bool, rounded_head: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        if own_head:
            self.install_head(rounded_head)

    def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
        return dataset

    def losses(self) -> dict[str, float]:
        """Weight of each loss, as the trainer has them."""
        return dict(zip(self.loss_types, map(float, self.loss_weights), strict=True))

    def score_reference(self, micro_batch_size: int, save_minutes: float, on_done: OnDone | None) -> None:
        """Add the base model's log-probabilities of each pair that is trained to the data set; `on_done` counts pairs.

        Pairs of a group have none, which is a reference of zero: they ask for a decision, and what is trained is which of two
        labels is likelier. With a reference it would be which has become likelier, and a model that leans to one label and is
        unsure would still give both tasks of a group the same. Taken up where a kill left them: pairs are scored in fixed
        batches, and saved as often as checkpoints are.
        """
        trainer: Any = self
        examples = list(trainer.train_dataset)
        scored = [i for i in self.pairs_trained() if self.has_reference[i]]
        order = shortest_first(examples, scored)
        folder, last, done = self.checkpoint_folder / "reference", time.monotonic(), len(examples) - len(scored)
        scores = torch.zeros(len(examples), 2)
        scores[scored] = torch.nan
        if checkpoints.is_whole(folder, self.key):
            scores = checkpoints.load(folder, "logprobs")["sums"]
        trainer.accelerator.wait_for_everyone()  # all have read what the first one will write
        is_first, rank = trainer.accelerator.is_main_process, trainer.accelerator.process_index
        trainer.model.eval()
        for start in range(0, len(order), micro_batch_size * self.num_processes):
            together = order[start : start + micro_batch_size * self.num_processes]
            if scores[together].isnan().any():
                indices = together[rank * micro_batch_size : (rank + 1) * micro_batch_size]
                found = torch.zeros(len(together), 2)
                if indices:
                    batch = trainer._prepare_inputs(trainer.data_collator([examples[i] for i in indices]))
                    with trainer.accelerator.autocast():  # as the model that is trained runs, once it is wrapped
                        chosen, rejected = trainer.compute_ref_log_probs(trainer.model, batch)
                    own = slice(rank * micro_batch_size, rank * micro_batch_size + len(indices))
                    found[own] = torch.stack([chosen, rejected], dim=1).float().cpu()
                if self.num_processes > 1:
                    found = self._gathered(found).sum(0)
                scores[together] = found
            done += len(together)
            if on_done is not None:
                on_done(done)
            self.agree(due=False)
            if is_first and (self.stop_requested or time.monotonic() - last >= save_minutes * 60 or done == len(examples)):
                checkpoints.write(folder, self.key, {"logprobs": {"sums": scores}}, {})
                last = time.monotonic()
            self.require_going_on()
        chosen_sums, rejected_sums = scores.T.tolist()
        data = trainer.train_dataset.add_column("ref_chosen_logps", chosen_sums)
        trainer.train_dataset = data.add_column("ref_rejected_logps", rejected_sums)
        # Set here and not in the config, where it would make TRL hash the model and score everything by itself.
        trainer.precompute_ref_logps = True


def arguments(common: dict[str, Any], config: dict[str, Any], output: Path) -> DPOConfig:
    """TRL's settings. Raises UserError for a loss that is not known."""
    unknown = [name for name in config["loss_types"] if name not in _LOSS_TYPES]
    if unknown:
        raise UserError(f"train.loss_types={unknown[0]!r} is not known for dpo: write some of {', '.join(_LOSS_TYPES)}")
    return DPOConfig(
        **common,
        output_dir=str(output),
        beta=config["beta"],
        loss_type=list(config["loss_types"]),
        loss_weights=list(config["loss_weights"]),
        max_length=None,
        # TRL would switch off the adapter's own dropout, whatever its configuration says.
        disable_dropout=not config["lora"]["dropout"],
    )
