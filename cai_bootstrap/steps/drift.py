"""How far a trained model has come from the base model: in what it writes, not in what it can."""

from __future__ import annotations

import random
from typing import Any

from cai_bootstrap import templates
from cai_bootstrap.config import SamplingConfig
from cai_bootstrap.engines.session import Session
from cai_bootstrap.evals import refusals, statistics
from cai_bootstrap.steps.generate import request
from cai_bootstrap.steps.shards import start_engine
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step


@step(version=1)
def measure_drift(work: Work, *, session: Session, model: Artifact, base: Artifact, instructions: list[str]) -> None:
    """`drift.json`: `kl_per_token` from the base model with its 95 % interval, `tokens`, `ended` and `declines`.

    The divergence is estimated on the model's own samples: the mean of log π(token) − log π_base(token), natural logarithm,
    over all tokens but the end of the text, which a base model hardly ever writes. `tokens` is the mean length of a response,
    `ended` the share that ended by itself, `declines` the share that declined these harmless instructions; with 95 %
    intervals. `records.jsonl` holds the samples.
    """
    sampling = SamplingConfig(**work.settings["sampling"])
    prompts = [templates.cued(instruction) for instruction in instructions]

    def write(seed: int) -> list[dict[str, Any]]:
        rng, engine = random.Random(seed), start_engine(work, session, model)
        found = engine.generate([request(prompt, sampling, rng.getrandbits(32)) for prompt in prompts])
        own = engine.completion_logprobs([(prompt, got.text) for prompt, got in zip(prompts, found, strict=True)])
        return [
            {"instruction": told, "text": got.text, "finish": got.finish, "logprob": total, "num_tokens": count}
            for told, got, (total, count) in zip(instructions, found, own, strict=True)
        ]

    with work.progress.task("drift", None):
        work.shard(0, write)
        samples = list(work.rows_of([0]))
        texts = [(prompt, row["text"]) for prompt, row in zip(prompts, samples, strict=True)]
        # The other model is loaded only now: two at a time would need twice the memory.
        work.shard(
            1, lambda _: [{"logprob": total} for total, _ in session.engine(base.path / "model").completion_logprobs(texts)]
        )
    rows = [{**row, "base_logprob": scored["logprob"]} for row, scored in zip(samples, work.rows_of([1]), strict=True)]
    lengths = [float(row["num_tokens"]) for row in rows]
    differences = [row["logprob"] - row["base_logprob"] for row in rows]
    work.write_rows("records.jsonl", rows)
    work.write_json(
        "drift.json",
        {
            "kl_per_token": statistics.ratio(differences, lengths),
            "tokens": statistics.ratio(lengths, [1.0] * len(rows)),
            "ended": statistics.wilson(sum(row["finish"] == "eos" for row in rows), len(rows)).to_row(),
            "declines": statistics.wilson(
                sum(refusals.declines(row["text"], row["instruction"]) for row in rows), len(rows)
            ).to_row(),
        },
    )
