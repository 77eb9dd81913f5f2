"""Run a frozen held-out suite: every output recorded, every arm cut and scored by the same rule."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Sequence
from typing import Any

from cai_bootstrap import templates
from cai_bootstrap.engines.engine import Engine, GenerationRequest
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import UserError
from cai_bootstrap.evals import tasks
from cai_bootstrap.records import EvalRecord, HeldOutItem
from cai_bootstrap.steps.duplicates import NEAR_DUPLICATE, DuplicateIndex
from cai_bootstrap.steps.shards import FAILED, by_shards, start_engine, was_not_cut
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step
from cai_bootstrap.store.work import Rows

_DRAW_SEED = 20261121
_BETWEEN = "\n---\n"
"""Between the texts of a group's members."""
_DECIDED = ("\n\n", "\nInstruction:", "\nResponse:", "\nQuestion:", "\nQ:", "\nAnswer:")
"""The cut rule ends the answer here at the latest, in every arm: what would follow can change neither the content nor the
strict verdict (text behind the answer is no proper end), so it is not generated. The stop itself is kept in the output."""


@step(version=3, grows="max_tokens")
def write_outputs(
    work: Work, *, session: Session, model: Artifact, suite: str, split: str, arm: str, shots: list[list[str]]
) -> None:
    """`records.jsonl`: the model's greedy output for each item, zero-shot `raw` or `cued`, or `fewshot` with `shots`."""
    if arm not in ("raw", "cued", "fewshot", "trained"):
        raise UserError(f"arm {arm!r} is not known: write raw, cued, fewshot or trained")
    items = draw(tasks.load_suite(suite, split), work.settings.get("num_items", 0))
    engine, max_tokens = start_engine(work, session, model), int(work.settings["max_tokens"])

    def nothing(item: HeldOutItem) -> Rows:
        # An item that cannot be answered counts as one that was not.
        rendered = render(arm, item.instruction, shots)
        return [_output(item, arm, rendered, "", FAILED, 0)]

    rows = by_shards(
        work,
        session,
        f"evaluation, {arm}",
        items,
        len(items),
        lambda part, _: _outputs(engine, part, arm, shots, max_tokens),
        name=lambda item: item.id,
        by="item_id",
        uncut=work.uncut("item_id", was_not_cut),
        instead=nothing,
    )
    work.write_rows("records.jsonl", rows)


@step(version=4)
def score_outputs(work: Work, *, outputs: Artifact, suite: str, split: str, suite_sha256: str) -> None:
    """`records.jsonl` of EvalRecords. Apart from the outputs, so that a better verifier costs no generation."""
    items = {item.id: item for item in tasks.load_suite(suite, split)}
    rows = list(outputs.iter_rows())
    answered = [items[row["item_id"]] for row in rows]
    scored = [
        tasks.score(item, row["arm"], row["rendered_prompt"], row["output"], row["finish"], row["num_tokens"])
        for item, row in zip(answered, rows, strict=True)
    ]
    work.write_rows("records.jsonl", (record.to_row() for record in settle(suite, answered, scored)))


def settle(suite: str, items: Sequence[HeldOutItem], records: Sequence[EvalRecord]) -> list[EvalRecord]:
    """The outcomes of a suite, one for each unit: what only several outputs together can tell.

    A group of items is one unit, right where all of its records are. In `DIVERSE_SUITES` an output that an earlier right one
    nearly repeats fails.
    """
    seen = DuplicateIndex(NEAR_DUPLICATE)
    units: dict[str, list[EvalRecord]] = {}
    for item, record in zip(items, records, strict=True):
        if suite in tasks.DIVERSE_SUITES and record.content:
            if seen.find(record.answer):
                record = dataclasses.replace(record, content=False, strict=False, reason="nearly another item's answer")
            else:
                seen.add([record.answer])
        units.setdefault(item.group or item.id, []).append(record)
    return [members[0] if len(members) == 1 else _as_one(unit, members) for unit, members in units.items()]


def _as_one(unit: str, members: Sequence[EvalRecord]) -> EvalRecord:
    def joined(name: str) -> str:
        return _BETWEEN.join(getattr(member, name) for member in members)

    return dataclasses.replace(
        members[0],
        item_id=unit,
        rendered_prompt=joined("rendered_prompt"),
        output=joined("output"),
        answer=joined("answer"),
        finish=next((member.finish for member in members if member.finish != "eos"), "eos"),
        num_tokens=sum(member.num_tokens for member in members),
        content=all(member.content for member in members),
        strict=all(member.strict for member in members),
        reason="; ".join(dict.fromkeys(member.reason for member in members if member.reason)),
    )


def draw(items: list[HeldOutItem], num_items: int) -> list[HeldOutItem]:
    """All items for 0, else about `num_items`, every kind in its proportion, by a fixed seed and never by an answer.

    Groups are drawn whole. What is drawn of fewer is among what is drawn of more, so that arms on both can be compared.
    """
    if not num_items or num_items >= len(items):
        return items
    rng = random.Random(_DRAW_SEED)
    chosen: set[str] = set()
    for kind in dict.fromkeys(item.kind for item in items):
        units = list(dict.fromkeys(item.group or item.id for item in items if item.kind == kind))
        rng.shuffle(units)
        chosen.update(units[: max(1, round(num_items * len(units) / len(items)))])
    return [item for item in items if (item.group or item.id) in chosen]


def render(arm: str, instruction: str, shots: list[list[str]]) -> str:
    """The prompt of an arm."""
    if arm == "raw":
        return templates.raw(instruction)
    if arm == "fewshot":
        return templates.few_shot([(question, answer) for question, answer in shots], instruction)
    return templates.cued(instruction)


def _outputs(
    engine: Engine, items: list[HeldOutItem], arm: str, shots: list[list[str]], max_tokens: int
) -> list[dict[str, Any]]:
    requests = [
        GenerationRequest(
            prompt=render(arm, item.instruction, shots),
            max_tokens=max_tokens,
            stop=_DECIDED,
            stop_when=functools.partial(tasks.is_decided, item),
        )
        for item in items
    ]
    return [
        _output(item, arm, asked.prompt, got.text, got.finish, len(got.token_ids))
        for item, asked, got in zip(items, requests, engine.generate(requests), strict=True)
    ]


def _output(item: HeldOutItem, arm: str, rendered: str, output: str, finish: str, num_tokens: int) -> dict[str, Any]:
    return {
        "item_id": item.id,
        "arm": arm,
        "rendered_prompt": rendered,
        "output": output,
        "finish": finish,
        "num_tokens": num_tokens,
    }
