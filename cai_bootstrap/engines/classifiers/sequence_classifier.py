"""`safety=sequence_classifier`: any model with a classification head, whose labels for unsafe the configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForSequenceClassification

from cai_bootstrap.config import EngineConfig, SafetyConfig
from cai_bootstrap.engines import model_files
from cai_bootstrap.engines.classifiers.classifier import SafetyVerdict
from cai_bootstrap.errors import UserError


class SequenceClassifier:
    """A classifier in this process. Use `classifiers.start` to get one in a child."""

    def __init__(self, safety: SafetyConfig, engine: EngineConfig) -> None:
        if engine.threads:
            torch.set_num_threads(engine.threads)
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a child must not draw on the terminal
        folder = Path(str(safety.path))
        self._safety = safety
        self._tokenizer = model_files.load_tokenizer(folder)
        model, told = AutoModelForSequenceClassification.from_pretrained(
            str(folder),
            dtype=getattr(torch, engine.dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        if told["missing_keys"]:  # transformers would draw them at random
            raise UserError(
                f"safety.path={folder} lacks weights ({sorted(told['missing_keys'])[0]} …): write a trained classifier's folder"
            )
        model.to(engine.device)
        model.train(False)
        self._model = model
        labels = {str(label): int(place) for place, label in model.config.id2label.items()}
        self._places = {label: labels[label] for label in safety.unsafe_labels}
        positions = getattr(model.config, "max_position_embeddings", None) or self._tokenizer.model_max_length
        self._context = min(int(positions), self._tokenizer.model_max_length)

    @property
    def description(self) -> dict[str, str | int | float]:
        """What ran, for the manifest."""
        return {
            "engine": "sequence_classifier",
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "device": str(self._model.device),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    @torch.inference_mode()
    def classify(self, pairs: Sequence[tuple[str, str]]) -> list[SafetyVerdict]:
        """See the protocol. Labels that exclude each other (softmax) add up; of others (sigmoid) the likeliest one counts."""
        return [self._classify(pair) for pair in pairs]

    def close(self) -> None:
        """Drop the model."""
        del self._model

    def _classify(self, pair: tuple[str, str]) -> SafetyVerdict:
        texts = pair if self._safety.with_instruction else pair[1:]
        # One pair at a time: which side padding belongs on differs from model to model, and its price is small here.
        # Special tokens inside a text are plain characters: an answer must not end its own part.
        encoded = self._tokenizer(*texts, split_special_tokens=True, return_tensors="pt", verbose=False)
        if (width := encoded["input_ids"].shape[1]) > self._context:
            raise UserError(
                f"an answer needs {width} tokens, the classifier in safety.path={self._safety.path} reads {self._context}: "
                "write another classifier, or lower stage.responses.sampling.max_tokens"
            )
        logits = self._model(**encoded.to(self._model.device)).logits[0].float()
        # By `problem_type`, as transformers' own text classification does.
        independent = self._model.config.problem_type == "multi_label_classification"
        shares = torch.sigmoid(logits) if independent else torch.softmax(logits, dim=-1)
        own = {label: float(shares[place]) for label, place in self._places.items()}
        unsafe = max(own.values()) if independent else min(sum(own.values()), 1.0)  # rounding
        if not unsafe >= self._safety.max_unsafe:
            return SafetyVerdict(unsafe=unsafe, categories=[])
        likeliest = sorted(own, key=lambda label: -own[label])
        sure = [label for label in likeliest if own[label] >= self._safety.max_unsafe]
        return SafetyVerdict(unsafe=unsafe, categories=sure or likeliest[:1])
