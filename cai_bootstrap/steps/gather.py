"""Stage 6's prompts: committed ones, where a small model writes few of a kind, and what the model wrote."""

from __future__ import annotations

import itertools
import random

from cai_bootstrap.errors import UserError
from cai_bootstrap.records import Prompt
from cai_bootstrap.steps.duplicates import DuplicateIndex
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step


@step(version=3)
def gather_prompts(work: Work, *, instructions: Artifact, seeds: dict[str, dict[str, list[str]]], heldout: list[str]) -> None:
    """`records.jsonl`: of each kind as many of the committed seeds as `num_committed` says, by turns of each form, then what
    the model wrote. A seed that a held-out suite asks or quotes is dropped. UserError when too few are left.
    """
    rng = random.Random(work.seed)
    index = DuplicateIndex(work.settings["near_duplicate_similarity"])
    index.add(heldout)
    chosen: list[tuple[str, str, str]] = []
    work.drop([])
    for kind, number in work.settings["num_committed"].items():
        forms = {form: rng.sample(texts, len(texts)) for form, texts in sorted(seeds[kind].items())}
        turns = [
            (form, texts[i]) for i in range(max(map(len, forms.values()))) for form, texts in forms.items() if i < len(texts)
        ]
        met = {text: found for _, text in turns if (found := index.find(text))}
        work.drop([{"kind": kind, "instruction": text, "step": "prompts", "reason": f"held-out ({met[text]})"} for text in met])
        left = [(kind, form, text) for form, text in turns if text not in met]
        if number > len(left):
            raise UserError(
                f"stage.num_committed.{kind}={number}: the seed pool has {len(left)} of that kind: write that number or less"
            )
        chosen += left[:number]
    committed = (
        Prompt(id=f"{work.digest[:8]}-{i:05d}", kind=kind, instruction=text, source=f"form {form}, committed").to_row()
        for i, (kind, form, text) in enumerate(chosen)
    )
    work.write_rows("records.jsonl", itertools.chain(committed, instructions.iter_rows()))
