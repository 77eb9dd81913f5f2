"""`transformers.generate` as a careful user would call it: fp32, left padding, sorted by length, string stops, best batch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteriaList, StopStringCriteria


class Generator:
    """A loaded model; `run` continues prompts in batches."""

    def __init__(self, model: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.tokenizer = AutoTokenizer.from_pretrained(str(model), padding_side="left")
        self.model: Any = AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32)
        self.model.train(False)

    @torch.inference_mode()
    def run(self, prompts: list[str], max_tokens: int, stop: list[str], batch_size: int) -> tuple[list[str], float]:
        """The texts, in order, up to the first stop string, and the seconds they took."""
        begin = time.perf_counter()
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        texts = [""] * len(prompts)
        for at in range(0, len(order), batch_size):
            part = order[at : at + batch_size]
            batch = self.tokenizer([prompts[i] for i in part], return_tensors="pt", padding=True)
            stops = StoppingCriteriaList([StopStringCriteria(self.tokenizer, stop)]) if stop else None
            given: Any = self.model.generate(**batch, max_new_tokens=max_tokens, do_sample=False, stopping_criteria=stops)
            new = given[:, batch["input_ids"].shape[1] :]
            for i, text in zip(part, self.tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                texts[i] = _cut(text, stop)
        return texts, time.perf_counter() - begin


def _cut(text: str, stop: list[str]) -> str:
    """The text before the first stop string that follows its first visible character."""
    lead = len(text) - len(text.lstrip())
    return text[: min((at for word in stop if (at := text.find(word, lead)) >= 0), default=len(text))]
