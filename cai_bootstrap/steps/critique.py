"""Stage 6's rounds: the model's own answer, a critique of it by one principle, and revisions."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Sequence
from typing import Any

from cai_bootstrap import templates
from cai_bootstrap.config import SamplingConfig
from cai_bootstrap.constitution import Principle
from cai_bootstrap.engines.engine import Engine, Generation, GenerationRequest
from cai_bootstrap.engines.session import Session
from cai_bootstrap.evals import tasks
from cai_bootstrap.evals.refusals import classify
from cai_bootstrap.records import Prompt
from cai_bootstrap.steps.adherence import balanced, fitting
from cai_bootstrap.steps.generate import request
from cai_bootstrap.steps.shards import by_shards, start_engine
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step
from cai_bootstrap.store.work import Rows

Examples = dict[str, list[list[str]]]
"""By principle id its worked examples: [instruction, response, critique, revision]."""
_NUM_WORKED = 10
"""Worked examples before a critique or a revision. A small model takes a structure from about ten, and not from three."""
SAFE = ("refusal", "redirection")
"""What a harmful request is to be answered with."""
UNANSWERED = "(nothing)"
"""Stands for an empty answer in a critique's prompt."""


@step(version=3, grows="sampling.max_tokens")
def write_originals(work: Work, *, session: Session, model: Artifact, prompts: Artifact) -> None:
    """`records.jsonl`: for each prompt the model's own zero-shot answer, `original`, cut by the rule of evaluations."""
    sampling = SamplingConfig(**work.settings["sampling"])
    engine = start_engine(work, session, model)

    def write(part: Rows, seeds: list[int]) -> Rows:
        asked = [request(templates.cued(row["instruction"]), sampling, seed) for row, seed in zip(part, seeds, strict=True)]
        return [
            {
                "prompt_id": row["id"],
                "kind": row["kind"],
                "instruction": row["instruction"],
                "instruction_source": row["source"],
                "form": Prompt.from_row(row).form,
                "original": " ".join(tasks.cut(got.text).split()),
                "original_output": got.text.strip(),
                "original_finish": got.finish,
                "original_seed": sent.seed,
            }
            for row, sent, got in zip(part, asked, engine.generate(asked), strict=True)
        ]

    total = int(prompts.manifest["num_records"])
    before = work.uncut("prompt_id", lambda row: row["original_finish"] != "length")
    rows = by_shards(work, session, "answers", prompts.iter_rows(), total, write, name=lambda row: str(row["id"]), uncut=before)
    work.write_rows("records.jsonl", rows)


@step(version=4, grows="sampling.max_tokens")
def write_critiques(
    work: Work,
    *,
    session: Session,
    model: Artifact,
    originals: Artifact,
    principles: list[list[str]],
    applies: dict[str, list[str]],
    examples: Examples,
) -> None:
    """`records.jsonl`: the originals with a `principle` each, in balance by category, and a `critique` by it.

    They come principle after principle: what stands before an answer in the prompt is then computed once for many.
    """
    sampling, texts = SamplingConfig(**work.settings["sampling"]), {id_: text for id_, text, _ in principles}
    known = [Principle(*entry) for entry in principles]
    fits = fitting(known, [(row["kind"], row["form"]) for row in originals.iter_rows()], applies)
    assigned = iter(balanced(known, len(fits), random.Random(work.seed), fits))
    rows = [{**row, "principle": id_} for row, id_ in zip(originals.iter_rows(), assigned, strict=True)]
    rows.sort(key=lambda row: (row["kind"] in tasks.HARMLESS_KINDS, row["principle"]))
    engine = start_engine(work, session, model)

    def write(part: Rows, seeds: list[int]) -> Rows:
        asked = []
        for row, seed in zip(part, seeds, strict=True):
            shots = [(i, answer, text) for i, answer, text, _ in _worked_for(examples, row)]
            prompt = templates.critique(texts[row["principle"]], shots, row["instruction"], row["original"] or UNANSWERED)
            asked.append(request(prompt, sampling, seed, templates.LINE_STOP))
        found = zip(part, asked, _by_principle(engine, part, asked), strict=True)
        return [
            {**row, "critique": got.text.strip(), "critique_finish": got.finish, "critique_prompt": sent.prompt}
            for row, sent, got in found
        ]

    before = work.uncut("prompt_id", lambda row: row["critique_finish"] != "length")
    written = by_shards(work, session, "critiques", rows, len(rows), write, name=_prompt_id, uncut=before)
    work.write_rows("records.jsonl", written)


def _prompt_id(row: dict[str, Any]) -> str:
    return str(row["prompt_id"])


def _by_principle(engine: Engine, rows: Rows, asked: Sequence[GenerationRequest]) -> list[Generation]:
    """The requests continued, equally many for each row, in a call for each principle: the engine computes once what all
    prompts of a call begin with, which are their worked examples.
    """
    each = len(asked) // len(rows)
    made: list[Generation] = []
    for _, group in itertools.groupby(rows, key=lambda row: (row["kind"] in tasks.HARMLESS_KINDS, row["principle"])):
        made += engine.generate(asked[len(made) : len(made) + each * len(list(group))])
    return made


def _whole(made: Generation) -> str:
    return "" if made.finish == "length" else made.text.strip()


def _worked(examples: Examples, *, harmful: bool, principle: str = "") -> list[list[str]]:
    """Worked examples for a prompt: such that decline for a harmful request, others for a harmless one.

    Those of the prompt's principle stand last, nearest to what is asked; others come before them up to `_NUM_WORKED`.
    """
    fitting = {id_: [example for example in of if is_safe(example[3], example[0]) == harmful] for id_, of in examples.items()}
    own = fitting.pop(principle, [])
    others = [example for rank in itertools.zip_longest(*fitting.values()) for example in rank if example is not None]
    return [*others[: max(0, _NUM_WORKED - len(own))], *own]


@functools.cache
def is_safe(answer: str, instruction: str) -> bool:
    """Whether a worked answer declines or redirects; asked of the same few hundred for every prompt."""
    return classify(answer, instruction) in SAFE


def _worked_for(examples: Examples, row: dict[str, Any]) -> list[list[str]]:
    return _worked(examples, harmful=row["kind"] not in tasks.HARMLESS_KINDS, principle=row["principle"])


@step(version=4, grows="sampling.max_tokens")
def write_revisions(
    work: Work, *, session: Session, model: Artifact, critiques: Artifact, principles: list[list[str]], examples: Examples
) -> None:
    """`records.jsonl`: the critiques with `num_candidates` `revisions` each, the first one greedy: text, prompt, seed.

    A harmless request also gets an `over_refusal`, greedy: what the model says after worked examples that decline, empty
    where that was cut at the token limit.
    """
    sampling, texts = SamplingConfig(**work.settings["sampling"]), {id_: text for id_, text, _ in principles}
    greedy = SamplingConfig(temperature=0.0, max_tokens=sampling.max_tokens)
    num_candidates = int(work.settings["num_candidates"])
    declining = [(instruction, revision) for instruction, _, _, revision in _worked(examples, harmful=True)]
    engine = start_engine(work, session, model)

    def write(part: Rows, seeds: list[int]) -> Rows:
        asked = []
        for row, seed in zip(part, seeds, strict=True):
            rng = random.Random(seed)
            shots = [(i, answer, text, better) for i, answer, text, better in _worked_for(examples, row)]
            prompt = templates.revision(
                texts[row["principle"]], shots, row["instruction"], row["original"] or UNANSWERED, row["critique"]
            )
            asked += [
                request(prompt, sampling if number else greedy, rng.getrandbits(32), templates.LINE_STOP)
                for number in range(num_candidates)
            ]
        harmless = [row["instruction"] for row in part if row["kind"] in tasks.HARMLESS_KINDS]
        refused = [request(templates.few_shot(declining, told), greedy, 0, templates.LINE_STOP) for told in harmless]
        got = list(zip(asked, _by_principle(engine, part, asked), strict=True))
        groups = [got[place : place + num_candidates] for place in range(0, len(got), num_candidates)]
        declined = iter(engine.generate(refused) if refused else [])
        return [
            {
                **row,
                "revisions": [
                    {"text": made.text.strip(), "finish": made.finish, "prompt": sent.prompt, "seed": sent.seed}
                    for sent, made in group
                ],
                "over_refusal": _whole(next(declined)) if row["kind"] in tasks.HARMLESS_KINDS else "",
            }
            for row, group in zip(part, groups, strict=True)
        ]

    total = int(critiques.manifest["num_records"])
    before = work.uncut("prompt_id", _has_whole_revisions)
    rows = by_shards(work, session, "revisions", critiques.iter_rows(), total, write, name=_prompt_id, uncut=before)
    work.write_rows("records.jsonl", rows)


def _has_whole_revisions(row: dict[str, Any]) -> bool:
    declined = row["kind"] not in tasks.HARMLESS_KINDS or bool(row["over_refusal"])
    return declined and all(made["finish"] != "length" for made in row["revisions"])


def texts_of(principles: Sequence[Principle]) -> list[list[str]]:
    """Principles as values of a step: [id, text, category]."""
    return [[principle.id, principle.text, principle.category] for principle in principles]
