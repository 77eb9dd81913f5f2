"""Safety classifiers by name. `check` refuses a wrong folder before any work; `start` gives a classifier in a child."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai_bootstrap.config import EngineConfig, SafetyConfig
from cai_bootstrap.engines import model_files
from cai_bootstrap.engines.classifiers.classifier import SafetyClassifier, SafetyVerdict
from cai_bootstrap.errors import MissingArtifact, UserError
from cai_bootstrap.store.provenance import digest, file_sha256

_READ = frozenset({".json", ".jinja", ".model", ".txt", ".safetensors"})
"""Endings of the files that can change a verdict: weights, configuration, tokenizer, chat template."""


@dataclass(frozen=True)
class Kind:
    """How a classifier is built, and which folders it takes."""

    build: Callable[[SafetyConfig, EngineConfig], SafetyClassifier]
    architecture: str
    """What the architecture in config.json ends with."""
    has_labels: bool
    """Whether its model has labels, of which `safety.unsafe_labels` names some."""


def _llama_guard(safety: SafetyConfig, engine: EngineConfig) -> SafetyClassifier:
    from cai_bootstrap.engines.classifiers.llama_guard import LlamaGuard

    return LlamaGuard(safety, engine)


def _sequence_classifier(safety: SafetyConfig, engine: EngineConfig) -> SafetyClassifier:
    from cai_bootstrap.engines.classifiers.sequence_classifier import SequenceClassifier

    return SequenceClassifier(safety, engine)


CLASSIFIERS = {
    "llama_guard": Kind(_llama_guard, "ForCausalLM", has_labels=False),
    "sequence_classifier": Kind(_sequence_classifier, "ForSequenceClassification", has_labels=True),
}


def check(safety: SafetyConfig) -> None:
    """Look at the configured folder without loading a model.

    Raises UserError for a classifier that is not known, settings that do not go with it, a folder that holds no such model,
    pickles, remote code or damaged weights; MissingArtifact for one that is not there.
    """
    if not safety.is_on:
        if safety.path is not None:
            kinds = " or safety=".join(CLASSIFIERS)
            raise UserError(f"safety.path={safety.path} has no effect with safety=none: write safety={kinds} as well")
        return
    kind = _kind(safety)
    if not safety.path:
        raise UserError("safety.path is missing: write safety.path=DIR, the classifier's folder")
    folder, wanted = Path(safety.path), "write a folder with config.json, safetensors and a tokenizer"
    if not folder.is_dir():
        raise MissingArtifact(f"safety.path={safety.path} is no folder: {wanted}")
    if not (folder / "config.json").is_file() or not model_files.tokenizer_files(folder):
        raise UserError(f"safety.path={safety.path} holds no model with its tokenizer: {wanted}")
    config = model_files.read_config(folder)
    names = config.get("architectures") or ["nothing"]
    if not any(str(name).endswith(kind.architecture) for name in names):
        raise UserError(
            f"safety.path={safety.path} holds {names[0]}, and safety={safety.name} needs a model …{kind.architecture}: write "
            "another folder, or another safety="
        )
    for path in model_files.weight_files(folder):
        model_files.num_weights(path)
    if kind.has_labels:
        _check_labels(safety, config)
    elif safety.unsafe_labels or not safety.with_instruction:
        raise UserError(
            f"safety.unsafe_labels and safety.with_instruction have no effect with safety={safety.name}: leave them out"
        )


def _check_labels(safety: SafetyConfig, config: dict[str, Any]) -> None:
    labels = [str(label) for label in dict(config.get("id2label") or {}).values()]
    unknown = [label for label in safety.unsafe_labels if label not in labels]
    if unknown or not safety.unsafe_labels:
        wrong = f"safety.unsafe_labels={safety.unsafe_labels} names {'an unknown' if unknown else 'no'} label"
        raise UserError(f"{wrong}: write those that mean unsafe, of [{', '.join(labels)}]")
    if config.get("problem_type") == "regression" or (len(labels) < 2 and not config.get("problem_type")):
        raise UserError(f"safety.path={safety.path} gives a score, no probabilities: write the folder of a classifier")


def _kind(safety: SafetyConfig) -> Kind:
    if safety.name not in CLASSIFIERS:
        raise UserError(f"safety.name={safety.name!r} is not known: write one of none, {', '.join(sorted(CLASSIFIERS))}")
    return CLASSIFIERS[safety.name]


@functools.cache
def folder_sha256(folder: str) -> str:
    """SHA-256 over the files of a classifier's folder that it reads, taken once a process."""
    return digest({path.name: file_sha256(path) for path in sorted(Path(folder).iterdir()) if path.suffix in _READ})


def start(safety: SafetyConfig, engine: EngineConfig) -> SafetyClassifier:
    """The configured classifier. `engine` (device, dtype, threads) has no `auto` left: see `measure.resolve`."""
    build = _kind(safety).build
    if engine.in_process:
        return build(safety, engine)
    return ChildClassifier(build, {"safety": safety, "engine": engine})


class ChildClassifier:
    """The classifier protocol, spoken to a classifier in a child."""

    def __init__(self, build: Callable[..., SafetyClassifier], arguments: dict[str, Any]) -> None:
        from cai_bootstrap.engines.child import Child

        self._child = Child(build, arguments)

    @property
    def description(self) -> dict[str, str | int | float]:
        """The child classifier's description."""
        value: dict[str, str | int | float] = self._child.call("description")
        return value

    def classify(self, pairs: Sequence[tuple[str, str]]) -> list[SafetyVerdict]:
        """See the protocol."""
        value: list[SafetyVerdict] = self._child.call("classify", list(pairs))
        return value

    def close(self) -> None:
        """End the child."""
        self._child.close()
