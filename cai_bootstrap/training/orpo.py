"""Odds-ratio preference optimisation (Hong et al. 2024, arXiv:2403.07691); the one place that knows TRL's unstable trainer.

TRL 1.16 takes the likelihood loss over the prompt as well; here it is on the response only, as everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from cai_bootstrap.engines.engine import OnDone
from cai_bootstrap.errors import UserError
from cai_bootstrap.training.packing import response_labels
from cai_bootstrap.training.resume import Resumable


class OrpoTrainer(Resumable, ORPOTrainer):
    """TRL's ORPO trainer on ids that were made here, with this package's head."""

    def __init__(self, *, own_head: bool, rounded_head: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        if own_head:
            self.install_head(rounded_head)

    @staticmethod
    def tokenize_row(row: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The row as it is. Static, so that `datasets` does not hash the whole trainer for its cache."""
        return row

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> Any:
        """Mean log-probabilities and mean logits of chosen and rejected responses, and the chosen ones' loss."""
        labels = response_labels(batch)
        output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels, fused_lm_head=True)
        mask = output.label_mask
        chosen_sums, rejected_sums = output.log_probs.sum(-1).chunk(2)
        chosen_counts, rejected_counts = mask.sum(-1).chunk(2)
        chosen_logits, rejected_logits = output.mean_logits.chunk(2)
        chosen_mask, rejected_mask = mask.chunk(2)
        return (
            chosen_sums / chosen_counts,
            rejected_sums / rejected_counts,
            chosen_logits[chosen_mask],
            rejected_logits[rejected_mask],
            -chosen_sums.sum() / chosen_counts.sum(),
        )

    def losses(self) -> dict[str, float]:
        """Weight of each loss, as the trainer has them."""
        return {"likelihood": 1.0, "odds_ratio": float(self.beta)}

    def score_reference(self, micro_batch_size: int, save_minutes: float, on_done: OnDone | None) -> None:
        """Nothing: ORPO has no reference model."""


def arguments(common: dict[str, Any], config: dict[str, Any], output: Path) -> ORPOConfig:
    """TRL's settings. Raises UserError when another loss is asked for."""
    if list(config["loss_types"]) != ["orpo"]:
        raise UserError(f"train.loss_types={config['loss_types']!r} is not known for orpo: write train.loss_types=[orpo]")
    return ORPOConfig(
        **common,
        output_dir=str(output),
        beta=config["beta"],
        max_length=config["max_length"],
        disable_dropout=not config["lora"]["dropout"],
    )
