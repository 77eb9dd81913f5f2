"""The adapter merged into plain weights, with a certificate of how far the merged model is from what was trained."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

from cai_bootstrap.config import MergeConfig
from cai_bootstrap.engines.child import Child
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import StepFailed
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step

_NUM_TOKENS = 16
"""Length of the greedy continuations that the models are compared on."""


@step(version=1)
def merge_adapter(
    work: Work, *, session: Session, model: Artifact, adapter: Artifact, prompts: list[str], device: str = "auto"
) -> None:
    """The folder `model/` with safetensors and tokenizer, and `certificate.json`; `prompts` are held-out ones. It is made on
    `device`, for `auto` on the engine's.

    The certificate holds what `training.merging.merge` measured, and the limits. Raises StepFailed naming each value
    off its limit, and for an adapter that leaves the model as it was.
    """
    limits = MergeConfig(**work.settings)
    folder = work.folder / "model"
    if folder.exists():  # left by a kill: a model is written whole or again
        shutil.rmtree(folder)
    model.verify()
    adapter.verify()
    session.release()
    certificate = _merge(
        work,
        session,
        model_folder=model.path / "model",
        adapter_folder=adapter.path / "adapter",
        target_folder=folder,
        prompts=prompts[: limits.num_prompts],
        device=session.config.device if device == "auto" else device,
    )
    certificate["limits"] = {
        "max_logit_difference": limits.max_logit_difference,
        "min_greedy_agreement": limits.min_greedy_agreement,
        "max_kl": limits.max_kl,
    }
    failures = off_limits(certificate, limits)
    if failures:
        raise StepFailed(f"the merged model is not what was trained: {'; '.join(failures)}")
    work.write_json("certificate.json", certificate)


def off_limits(certificate: dict[str, Any], limits: MergeConfig) -> list[str]:
    """What is wrong with a certificate, one text for each value off its limit; empty when it holds."""
    difference, kl = certificate["max_logit_difference"], certificate["mean_kl"]
    agreement, base = certificate["greedy_agreement"], certificate["base_difference"]
    failures = []
    # «not <=» rather than «>»: a NaN is off every limit.
    if not difference <= limits.max_logit_difference:
        failures.append(
            f"largest logit difference {difference:.4g}, limit merge.max_logit_difference={limits.max_logit_difference}"
        )
    if not agreement >= limits.min_greedy_agreement:
        failures.append(f"greedy agreement {agreement:.4f}, limit merge.min_greedy_agreement={limits.min_greedy_agreement}")
    if not kl <= limits.max_kl:
        failures.append(f"mean KL {kl:.3g} nats, limit merge.max_kl={limits.max_kl}")
    # Rounding alone moves logits too, by about as much as merging does.
    if not (math.isfinite(base) and base > 0 and (base > difference or failures)):
        failures.append(f"the base's logits differ by {base:.3g} only, no more than rounding: the adapter does nothing")
    return failures


def _merging(**arguments: Any) -> Any:
    from cai_bootstrap.training.merging import Merging

    return Merging(**arguments)


def _merge(work: Work, session: Session, **arguments: Path | str | list[str]) -> dict[str, Any]:
    config = session.config
    # In fp32 whatever the engine runs in: a bf16 sum rounds small changes of large weights away.
    settings = {**arguments, "num_tokens": _NUM_TOKENS, "dtype": "float32"}
    with work.progress.task("merge", 1 + 2 * _NUM_TOKENS) as task:
        if config.in_process:
            result: dict[str, Any] = _merging(**settings, threads=config.threads).run(on_done=task.update)
            return result
        child = Child(_merging, {**settings, "threads": config.threads})
        try:
            result = child.call("run", on_done=task.update)
        finally:
            child.close()
    return result
