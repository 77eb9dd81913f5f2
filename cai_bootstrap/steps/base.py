"""The base model as an artifact: prepared once, audited before anything is asked of it."""

from __future__ import annotations

import shutil
from typing import Any

from cai_bootstrap.config import ModelConfig, ModelSource
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import StepFailed
from cai_bootstrap.steps.shards import start_engine
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step


@step(version=1)
def prepare_base(work: Work) -> None:
    """The folder `model/` with safetensors and tokenizer, and `facts.json` with licence, hash and size."""
    from cai_bootstrap.engines import base_models

    config = ModelConfig(**{**work.settings, "source": ModelSource(work.settings["source"])})
    folder = work.folder / "model"
    if folder.exists():  # left by a kill: a model is written whole or again
        shutil.rmtree(folder)
    folder.mkdir()
    with work.progress.task(f"base model {config.name}", None) as task:
        facts = base_models.prepare(config, folder, task.line)
    for warning in facts["warnings"]:
        work.warn(warning)
    if not config.base:
        work.warn(f"{config.name} is instruction-tuned, no base model: its baseline already follows instructions")
    work.write_json("facts.json", facts)


@step(version=1)
def audit_model(work: Work, *, session: Session, model: Artifact) -> None:
    """`audit.json`: what the model really receives. Raises StepFailed with the reasons when it is not sound."""
    from cai_bootstrap.engines.audit import audit

    engine = start_engine(work, session, model)
    with work.progress.task("prompt audit", None):
        result: dict[str, Any] = audit(engine, model.path / "model", sentinels=bool(work.settings["sentinels"]))
    if not result["passed"]:
        raise StepFailed(f"the prompt audit failed: {'; '.join(result['failures'])}")
    for warning in result["warnings"]:
        work.warn(warning)
    work.write_json("audit.json", result)
