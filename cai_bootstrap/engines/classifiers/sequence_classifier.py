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

_BATCH = 16


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
        self._places = [labels[label] for label in safety.unsafe_labels]
        # Without padding tokens rows of different lengths cannot stand side by side.
        can_pad = self._tokenizer.pad_token_id is not None and model.config.pad_token_id is not None
        self._batch_size = _BATCH if can_pad else 1
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
        verdicts: list[SafetyVerdict] = []
        for begin in range(0, len(pairs), self._batch_size):
            part = pairs[begin : begin + self._batch_size]
            texts = [[text for text, _ in part], [text for _, text in part]][0 if self._safety.with_instruction else 1 :]
            # Special tokens inside a text are plain characters: an answer must not end its own part.
            encoded = self._tokenizer(
                *texts, padding=self._batch_size > 1, split_special_tokens=True, return_tensors="pt", verbose=False
            )
            if (width := encoded["input_ids"].shape[1]) > self._context:
                raise UserError(
                    f"an answer needs {width} tokens, the classifier in safety.path={self._safety.path} reads {self._context}: "
                    "write another classifier, or lower stage.responses.sampling.max_tokens"
                )
            logits = self._model(**encoded.to(self._model.device)).logits.float()
            verdicts += [self._verdict(row) for row in self._probabilities(logits).tolist()]
        return verdicts

    def close(self) -> None:
        """Drop the model."""
        del self._model

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """By `problem_type`, as transformers' own text classification does."""
        independent = self._model.config.problem_type == "multi_label_classification"
        return torch.sigmoid(logits) if independent else torch.softmax(logits, dim=-1)

    def _verdict(self, row: list[float]) -> SafetyVerdict:
        own = dict(zip(self._safety.unsafe_labels, (row[place] for place in self._places), strict=True))
        independent = self._model.config.problem_type == "multi_label_classification"
        unsafe = max(own.values()) if independent else sum(own.values())
        if not unsafe >= self._safety.max_unsafe:
            return SafetyVerdict(unsafe=unsafe, categories=[])
        likeliest = sorted(own, key=lambda label: -own[label])
        sure = [label for label in likeliest if own[label] >= self._safety.max_unsafe]
        return SafetyVerdict(unsafe=unsafe, categories=sure or likeliest[:1])
