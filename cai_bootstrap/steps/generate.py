"""Candidates: few-shot answers to every instruction; and what the base model writes where it should not."""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Sequence
from typing import Any

from cai_bootstrap import templates
from cai_bootstrap.config import SamplingConfig
from cai_bootstrap.engines.engine import Engine, GenerationRequest
from cai_bootstrap.engines.session import Session
from cai_bootstrap.evals import english
from cai_bootstrap.records import Completion, Prompt
from cai_bootstrap.steps.prompts import parse_list
from cai_bootstrap.steps.shards import by_shards, start_engine, was_not_cut
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step
from cai_bootstrap.store.work import Rows

_REFUSAL_LISTS = 40
"""Lists continued at once: as a rule one round gives enough, and a wide batch costs little more than a narrow one."""
Shots = dict[str, list[list[str]]]
"""Worked examples, [instruction, answer], by the name of their set."""
ByKind = dict[str, list[list[str]] | Shots]
"""Worked examples by the kind of instruction that they are for: one set, or several by their style."""
MIN_REFUSALS = 50
"""Different refusals that are asked for, where pairs need any; a fixed phrase would be learnt instead of the habit."""
_MAX_REFUSAL_SHARDS = 12
_DRY_SHARDS = 2
"""Shards in a row without a new refusal after which no more are asked for."""


def request(prompt: str, sampling: SamplingConfig, seed: int, stop: tuple[str, ...] = ()) -> GenerationRequest:
    """A generation request with these sampling settings."""
    return GenerationRequest(
        prompt=prompt,
        max_tokens=sampling.max_tokens,
        stop=stop,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        seed=seed,
    )


def sample_candidates(
    engine: Engine,
    prompts: Sequence[tuple[str, str]],
    shots: Shots,
    num_candidates: int,
    sampling: SamplingConfig,
    seeds: Sequence[int],
) -> list[list[Completion]]:
    """`num_candidates` few-shot answers to each (id, instruction), alternating between the shot sets.

    The first answer of each shot set is greedy, the others are sampled; `seeds` has one for each prompt.
    """
    drawn = [random.Random(seed) for seed in seeds]
    names = sorted(shots)
    results: list[list[Completion]] = [[] for _ in prompts]
    for number, name in enumerate(names):
        examples = [(question, answer) for question, answer in shots[name]]
        requests: list[GenerationRequest] = []
        owners: list[tuple[int, int]] = []
        for index, (_, instruction) in enumerate(prompts):
            for candidate in range(number, num_candidates, len(names)):
                greedy = SamplingConfig(temperature=0.0, max_tokens=sampling.max_tokens)
                settings = greedy if candidate == number else sampling
                text = templates.few_shot(examples, instruction)
                requests.append(request(text, settings, drawn[index].getrandbits(32), templates.RESPONSE_STOPS))
                owners.append((index, candidate))
        # One call per shot set: all its prompts share the examples, which are computed once.
        for (index, candidate), asked, got in zip(owners, requests, engine.generate(requests), strict=True):
            results[index].append(
                Completion(
                    id=f"{prompts[index][0]}-{candidate}",
                    prompt_id=prompts[index][0],
                    text=got.text.strip(),
                    finish=got.finish,
                    num_tokens=len(got.token_ids),
                    logprob=got.logprob,
                    rendered_prompt=asked.prompt,
                    seed=asked.seed,
                )
            )
    return results


@step(version=6, grows="sampling.max_tokens")
def draft_candidates(
    work: Work, *, session: Session, model: Artifact, instructions: Artifact, shots: Shots, examples: ByKind | None = None
) -> None:
    """Few-shot candidates for every instruction: `records.jsonl` of Completions.

    `examples` are worked examples by kind, or by kind and form («respond thanks»), which an instruction of these is answered
    after; others come after `shots`.
    """
    sampling = SamplingConfig(**work.settings["sampling"])
    engine, own = start_engine(work, session, model), bool(work.settings.get("own_answers"))

    def draft(part: Rows, seeds: list[int]) -> Rows:
        groups: dict[str, list[Completion]] = {}
        asked: dict[tuple[str, str], list[tuple[tuple[str, str], int]]] = {}
        for row, seed in zip(part, seeds, strict=True):
            form = Prompt.from_row(row).form
            key = (row["kind"], form if f"{row['kind']} {form}" in (examples or {}) else "")
            asked.setdefault(key, []).append(((row["id"], row["instruction"]), seed))
        for (kind, form), seeded in asked.items():
            sets = shots_of(kind, shots, examples or {}, own, form)
            prompts, of_prompts = [prompt for prompt, _ in seeded], [seed for _, seed in seeded]
            for group in sample_candidates(engine, prompts, sets, work.settings["num_candidates"], sampling, of_prompts):
                groups[group[0].prompt_id] = group
        return [candidate.to_row() for row in part for candidate in groups[row["id"]]]

    total = int(instructions.manifest["num_records"])
    before = work.uncut("prompt_id", was_not_cut)
    rows = by_shards(
        work, session, "candidates", instructions.iter_rows(), total, draft, name=lambda row: str(row["id"]), uncut=before
    )
    work.write_rows("records.jsonl", rows)


def shots_of(kind: str, shots: Shots, examples: ByKind, own: bool = False, form: str = "") -> Shots:
    """The sets of worked examples for a kind: its own by style, or its only one in two orders, or `shots` where it has none;
    with `own` an empty one too. Those of its `form`, where there are any, come before all of them, and without an empty one:
    they share a structure, which the answers are to have.

    The model leans towards what stands last, so that two orders disagree where it does not know; two styles even more.
    """
    if of_form := examples.get(f"{kind} {form}"):
        return shots_of(kind, shots, {kind: of_form})
    of_kind = examples.get(kind)
    if not of_kind:
        sets = shots
    else:
        sets = of_kind if isinstance(of_kind, dict) else {"forwards": of_kind, "backwards": of_kind[::-1]}
    return {**sets, "own": []} if own else sets


@step(version=5, grows="zero_shot.max_tokens")
def write_rejected(work: Work, *, session: Session, model: Artifact, kept: Artifact, refusals: list[str]) -> None:
    """What the pairs reject, from the model itself: zero-shot outputs, run-ons of the chosen answers, refusals.

    Writes `zero_shot.jsonl` and `run_on.jsonl` (Completions, prompt_id an instruction) and `refusals.json`. Only as many
    instructions get either as the shares of `rejected_mix` ask for. Where fewer different refusals come than pairs need (or
    than 50, where these are fewer), a warning says so and those of the seeds are used as well.
    """
    mix = work.settings["rejected_mix"]
    rows = [(row["prompt_id"], row["instruction"], row["text"]) for row in kept.iter_rows()]
    order = random.Random(work.seed).sample(rows, len(rows))
    habitual = order[: math.ceil(mix.get("zero_shot", 0) * len(rows))]
    rambling = order[len(rows) - math.ceil(mix.get("rambling", 0) * len(rows)) :]
    sampling = SamplingConfig(**work.settings["zero_shot"])
    size = int(work.settings["shard_size"])
    engine = start_engine(work, session, model)
    num_shards = -(-len(rows) // size)

    def go_on(part: list[tuple[str, str]], seeds: list[int]) -> Rows:
        return _continue(engine, part, sampling, seeds)

    asked = [(id_, templates.cued(instruction)) for id_, instruction, _ in habitual]
    whole, of = work.uncut("prompt_id", was_not_cut, "zero_shot.jsonl"), operator.itemgetter(0)
    written = by_shards(work, session, "zero-shot answers", asked, len(asked), go_on, name=of, uncut=whole)
    work.write_rows("zero_shot.jsonl", written)
    asked = [(id_, templates.cued(instruction) + templates.response(text)) for id_, instruction, text in rambling]
    whole = work.uncut("prompt_id", was_not_cut, "run_on.jsonl")
    written = by_shards(work, session, "run-on answers", asked, len(asked), go_on, first=num_shards, name=of, uncut=whole)
    work.write_rows("run_on.jsonl", written)
    found: dict[str, None] = {}
    needed, dry = math.ceil(mix.get("refusal", 0) * len(rows)), 0
    with work.progress.task("refusals", MIN_REFUSALS) as task:
        for index in range(2 * num_shards, 2 * num_shards + (_MAX_REFUSAL_SHARDS if needed else 0)):
            work.shard(index, lambda seed: _refusals(engine, refusals, seed))
            before = len(found)
            found |= {row["text"]: None for row in work.rows_of([index])}
            dry = dry + 1 if len(found) == before else 0
            task.update(len(found))
            if len(found) >= MIN_REFUSALS or dry == _DRY_SHARDS:
                break
    if len(found) < min(needed, MIN_REFUSALS):  # a trained model hardly refuses any more
        work.warn(f"too few different refusals came ({len(found)}): those of the seeds are rejected too")
        found |= dict.fromkeys(refusals)
    work.write_json("refusals.json", list(found))


def _continue(engine: Engine, prompts: Sequence[tuple[str, str]], sampling: SamplingConfig, seeds: Sequence[int]) -> Rows:
    requests = [request(text, sampling, seed) for (_, text), seed in zip(prompts, seeds, strict=True)]
    return [
        Completion(
            id=f"{prompt_id}-r",
            prompt_id=prompt_id,
            text=got.text,
            finish=got.finish,
            num_tokens=len(got.token_ids),
            logprob=got.logprob,
            rendered_prompt=asked.prompt,
            seed=asked.seed,
        ).to_row()
        for (prompt_id, _), asked, got in zip(prompts, requests, engine.generate(requests), strict=True)
    ]


def _refusals(engine: Engine, examples: Sequence[str], seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    sampling = SamplingConfig(temperature=0.9, max_tokens=120)
    requests = []
    for _ in range(_REFUSAL_LISTS):
        order = rng.sample(list(examples), len(examples))
        requests.append(request(templates.refusal_list(order), sampling, rng.getrandbits(32), ("\n\n",)))
    rows = []
    for got in engine.generate(requests):
        entries = parse_list(got.text, len(examples) + 1)
        for text in entries[:-1] if got.finish == "length" else entries:
            if english.is_refusal(text) and text not in examples and len(text.split()) >= 4 and text[-1] in ".!":
                rows.append({"text": text})
    return rows
