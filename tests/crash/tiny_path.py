"""Generation, training, merging and evaluation with a real model, the tiny one: what a kill may not change by a bit."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

from cai_bootstrap import templates
from cai_bootstrap.__main__ import compose_job
from cai_bootstrap.config import to_dict
from cai_bootstrap.engines.session import Session
from cai_bootstrap.evals import tasks
from cai_bootstrap.lineage import Parent
from cai_bootstrap.pipeline import evaluate, train_and_merge
from cai_bootstrap.records import Prompt
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.base import prepare_base
from cai_bootstrap.steps.generate import draft_candidates
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run, Work, step
from cai_bootstrap.store.runner import bind

CONFIG = [
    *("model=tiny-random", "engine.in_process=true", "engine.device=cpu", "engine.dtype=float32"),
    *("engine.batch_size=4", "engine.threads=1", "eval.split=dev", "train.num_epochs=3", "train.batch_size=4"),
    # Two forward passes a step, dropout and an optimizer with a state: everything that a checkpoint has to bring back.
    *("train.micro_batch_size=2", "train.lora.dropout=0.1", "train.checkpoint_steps=2", "train.max_length=128"),
]
_SAMPLING = {"temperature": 0.9, "max_tokens": 12}


@step(version=1)
def write_instructions(work: Work) -> None:
    """Some of the held-out instructions, as prompts."""
    items = tasks.load_suite("explicit", "dev")[:24]
    rows = [Prompt(id=item.id, kind=item.kind, instruction=item.instruction, source="test").to_row() for item in items]
    work.write_rows("records.jsonl", rows)


@step(version=1)
def write_pairs(work: Work, candidates: Artifact) -> None:
    """A pair of each instruction's first two candidates."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts: dict[str, list[dict[str, Any]]] = {}
    for row in candidates.iter_rows():
        texts.setdefault(row["prompt_id"], []).append(row)
    pairs = [
        {
            "id": id_,
            "prompt": templates.cued(id_),
            "chosen": templates.response(rows[0]["text"] or "yes"),
            "rejected": templates.response(rows[1]["text"] or "no"),
            "chosen_eos": True,
            "rejected_eos": False,
            "group": "",
        }
        for id_, rows in texts.items()
    ]
    data = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(pairs), data)
    work.write_bytes("pairs.parquet", data.getvalue())


def run(root: Path) -> int:
    """All of it in the run `default` under `root`; gives the exit code."""
    config = compose_job("explicit", [*CONFIG, f"paths.root={root}"], "")
    with Run(root, config.run) as held, Session(config.engine) as session:
        make = functools.partial(held.step, "explicit", seed=1)
        base = make("base", prepare_base, settings=to_dict(config.model))
        candidates = make(
            "candidates",
            bind(draft_candidates, session=session),
            settings={"num_candidates": 2, "sampling": _SAMPLING, "shard_size": 4},
            inputs={"model": base, "instructions": make("instructions", write_instructions, settings={})},
            values={"shots": load_seeds("explicit")["shots"]},
        )
        pairs = make("pairs", write_pairs, settings={}, inputs={"candidates": candidates})
        model = train_and_merge(make, session, config, "", Parent(base), pairs, base)
        evaluate(make, session, config, "eval", model, "explicit", "trained", [], 30)
    return 0
