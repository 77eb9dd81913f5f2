"""The adapter merged into plain weights, with a certificate of how far the merged model is from what was trained."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cai_bootstrap.config import MergeConfig
from cai_bootstrap.engines.child import Child
from cai_bootstrap.engines.engine import GenerationRequest
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import StepFailed
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step

_NUM_TOKENS = 16
"""Length of the greedy continuations that the models are compared on."""


@step(version=1)
def merge_adapter(
    work: Work,
    *,
    session: Session,
    model: Artifact,
    adapter: Artifact,
    prompts: list[str],
    quantization: str = "none",
    share: float = 1.0,
    device: str = "auto",
) -> None:
    """The folder `model/` with safetensors and tokenizer, and `certificate.json`; `prompts` are held-out ones. It is made on
    `device`, for `auto` on the engine's. Of what the adapter changes `share` is merged.

    The certificate holds what `training.merging.merge` measured, and the limits. Of an adapter that was trained on weights in
    `quantization` that is also how far the merged model is from those, and how much of what the engine then writes by itself is
    what was trained (`engine_agreement`, see there). Raises StepFailed naming each value off its limit, and for an adapter that
    leaves the model as it was.
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
        share=share,
        device=session.config.device if device == "auto" else device,
        quantization=quantization,
        trained_device=session.config.device,
        trained_dtype=session.config.dtype,
        saved_dtype=limits.dtype,
    )
    if quantization != "none":
        told = certificate["quantized"]
        told["engine_agreement"] = _ask_engine(work, session, folder, prompts, told.pop("continuations"))
        told["limits"] = {
            "max_kl": limits.nf4_max_kl,
            "min_greedy_agreement": limits.nf4_min_greedy_agreement,
            "min_engine_agreement": limits.nf4_min_engine_agreement,
        }
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
    failures += off_quantized_limits(certificate["quantized"], limits) if "quantized" in certificate else []
    # Rounding alone moves logits too, by about as much as merging does.
    if not (math.isfinite(base) and base > 0 and (base > difference or failures)):
        failures.append(f"the base's logits differ by {base:.3g} only, no more than rounding: the adapter does nothing")
    return failures


def off_quantized_limits(told: dict[str, Any], limits: MergeConfig) -> list[str]:
    """The same of a certificate's part on 4 bits. What no engine wrote is off no limit."""
    failures = []
    if not told["mean_kl"] <= limits.nf4_max_kl:
        failures.append(f"mean KL from the 4-bit model {told['mean_kl']:.3g} nats, limit merge.nf4_max_kl={limits.nf4_max_kl}")
    if not (greedy := told["greedy_agreement"]) >= limits.nf4_min_greedy_agreement:
        least = limits.nf4_min_greedy_agreement
        failures.append(f"greedy agreement with the 4-bit model {greedy:.4f}, limit merge.nf4_min_greedy_agreement={least}")
    engine, least = told["engine_agreement"], limits.nf4_min_engine_agreement
    if engine is not None and not engine >= least:
        failures.append(f"engine's agreement with the 4-bit model {engine:.4f}, limit merge.nf4_min_engine_agreement={least}")
    return failures


def agreement(written: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> float:
    """The share of the written tokens that stand before a text's first difference from what was expected."""
    num_same = 0
    for ids, others in zip(written, expected, strict=True):
        num_same += next((i for i, (one, other) in enumerate(zip(ids, others, strict=False)) if one != other), len(ids))
    return num_same / sum(map(len, written))


def _ask_engine(work: Work, session: Session, folder: Path, prompts: list[str], expected: list[list[int]]) -> float | None:
    """`agreement` of what the engine writes with the model in `folder`; None of a scripted one, which runs no model."""
    if session.config.is_scripted:
        return None
    requests = [GenerationRequest(prompt=prompt, max_tokens=_NUM_TOKENS) for prompt in prompts[: len(expected)]]
    try:
        with work.progress.task("what the engine writes", len(requests)) as task:
            written = session.engine(folder).generate(requests, on_done=task.update)
    finally:
        session.release()  # the folder is about to get its name
    return agreement([generation.token_ids for generation in written], expected)


def _merging(**arguments: Any) -> Any:
    from cai_bootstrap.training.merging import Merging

    return Merging(**arguments)


def _merge(work: Work, session: Session, **arguments: Path | str | float | list[str]) -> dict[str, Any]:
    config = session.config
    # In fp32 whatever the engine runs in: a bf16 sum rounds small changes of large weights away.
    settings = {**arguments, "num_tokens": _NUM_TOKENS, "dtype": "float32"}
    num_passes = 1 + 2 * _NUM_TOKENS * (1 if arguments["quantization"] == "none" else 2)
    with work.progress.task("merge", num_passes) as task:
        if config.in_process:
            result: dict[str, Any] = _merging(**settings, threads=config.threads).run(on_done=task.update)
            return result
        child = Child(_merging, {**settings, "threads": config.threads})
        try:
            result = child.call("run", on_done=task.update)
        finally:
            child.close()
    return result
