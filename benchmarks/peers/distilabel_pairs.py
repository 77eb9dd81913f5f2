"""Preference data with distilabel (1.5), as a careful user would set it up on a CPU; in the peers' environment.

    .venv-peers/bin/python benchmarks/peers/distilabel_pairs.py MODEL THREADS ROWS REQUESTS.json ANSWERS.json

REQUESTS maps names to {"prompts", "num_generations", "max_tokens", "stop", "temperature", "top_k", "top_p"}. distilabel's own
TransformersLLM gives its pipeline one prompt at a time: here ROWS sequences run at once, with left padding, fp32 and string
stops.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from distilabel.models.llms import TransformersLLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration


class BatchedLLM(TransformersLLM):  # type: ignore[misc]
    """TransformersLLM with batches, and stops as the model's own generation config has them."""

    batch_size: int
    threads: int
    stop: list[str]

    def load(self) -> None:
        """Load the model, then what distilabel's own class has no setting for."""
        torch.set_num_threads(self.threads)
        super().load()
        pipeline: Any = self._pipeline
        pipeline._batch_size = self.batch_size
        pipeline.tokenizer.padding_side = "left"
        if self.stop:
            pipeline.generation_config.stop_strings = self.stop
            pipeline._forward_params["tokenizer"] = pipeline.tokenizer


def main() -> None:
    """Write the answers: {name: [[texts of one prompt]]}."""
    model, threads, num_rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    wanted = json.loads(Path(sys.argv[4]).read_text())
    answers = {}
    for name, request in wanted.items():
        with Pipeline(name=name) as pipeline:
            load = LoadDataFromDicts(
                data=[{"instruction": text} for text in request["prompts"]], batch_size=len(request["prompts"])
            )
            write = TextGeneration(
                llm=BatchedLLM(
                    model=model,
                    torch_dtype="float32",
                    batch_size=max(1, num_rows // request["num_generations"]),
                    threads=threads,
                    stop=request["stop"],
                    generation_kwargs={
                        "max_new_tokens": request["max_tokens"],
                        "temperature": request["temperature"],
                        "top_k": request["top_k"],
                        "top_p": request["top_p"],
                        "repetition_penalty": 1.0,
                    },
                ),
                num_generations=request["num_generations"],
                group_generations=True,
                input_batch_size=len(request["prompts"]),
            )
            load >> write
        rows = pipeline.run(use_cache=False)["default"]["train"]
        answers[name] = [row["generation"] for row in rows]
    Path(sys.argv[5]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
