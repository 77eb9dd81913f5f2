"""Scores for candidates, each method calibrated on planted good and bad answers before it may choose anything."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

from cai_bootstrap import templates
from cai_bootstrap.config import SamplingConfig, SelectionMethod
from cai_bootstrap.engines.engine import Engine
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import JudgeError, StepFailed
from cai_bootstrap.evals import english, statistics
from cai_bootstrap.records import Completion, Prompt, Verdict
from cai_bootstrap.steps.generate import Shots, sample_candidates
from cai_bootstrap.steps.judgements import preference
from cai_bootstrap.steps.shards import by_shards, start_engine
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step

_NULL_INSTRUCTION = "Say something."
"""What relevance compares with: an instruction that makes no answer more likely than another."""


_CHOICE = re.compile(r"\b(\w+) or (?:an? |the )?(\w+)")


def answer_key(text: str, instruction: str) -> frozenset[str]:
    """What an answer says beyond its instruction: two answers with the same key agree. Empty for an echo.

    The two things between which a question asks to choose («a fruit or a vegetable») are no echo.
    """
    options = {english.singular(word) for word in (_CHOICE.findall(english.plain(instruction)) or [()])[-1]}
    said_by_it = set(english.words(instruction)) - options
    return frozenset(english.words(text)) - said_by_it - {"is", "are", "it", "in", "of", "to", "answer"}


def agreement(text: str, sets: Sequence[Sequence[str]], instruction: str, own: Sequence[str] = ()) -> float:
    """Share of all answers (the candidate itself among them) that say the same; 0 for an echo, and where none after one of the
    sets of worked examples does.

    `sets` are the answers after each set, `own` the ones after no example. Sets of another style or order err in other ways.
    """
    key = answer_key(text, instruction)
    same = [[answer_key(other, instruction) == key for other in said] for said in (*sets, own)]
    if not key or not all(map(any, same[:-1])):
        return 0.0
    return sum(map(sum, same)) / sum(map(len, same))


def fewshot_logprob(engine: Engine, shots: Sequence[tuple[str, str]], items: Sequence[tuple[str, str]]) -> list[float]:
    """For (instruction, text): mean log-probability per token of the text after the shots and the instruction, natural log."""
    once = list(dict.fromkeys(items))  # candidates often say the same
    asked = [(templates.few_shot(shots, instruction), templates.response(text)) for instruction, text in once]
    scores = {item: total / max(1, count) for item, (total, count) in zip(once, engine.completion_logprobs(asked), strict=True)}
    return [scores[item] for item in items]


def relevance(engine: Engine, shots: Sequence[tuple[str, str]], items: Sequence[tuple[str, str]]) -> list[float]:
    """For (instruction, text): how much the log-probability per token after the instruction is above the one after a null
    instruction (pointwise mutual information per token, natural log)."""
    own = fewshot_logprob(engine, shots, items)
    null = fewshot_logprob(engine, shots, [(_NULL_INSTRUCTION, text) for _, text in items])
    return [a - b for a, b in zip(own, null, strict=True)]


def critic_margins(engine: Engine, items: Sequence[tuple[str, str, str, str]]) -> list[tuple[float, float, float]]:
    """For (principle, instruction, text, opponent): (margin, log-odds as A, log-odds as B); margin is their mean.

    Positive favours `text`. Both orders, so that a preference for a letter cancels. Raises JudgeError for a verdict that
    is no number.
    """
    forward = [templates.critic(p, i, text, other) for p, i, text, other in items]
    backward = [templates.critic(p, i, other, text) for p, i, text, other in items]
    return _margins(engine, forward, backward)


def preference_margins(engine: Engine, items: Sequence[tuple[str, str, str, str]]) -> list[tuple[float, float, float]]:
    """As `critic_margins`, of a model that stage 4 taught to judge: asked as there, without worked examples."""
    forward = [templates.cued(preference(p, i, text, other)) for p, i, text, other in items]
    backward = [templates.cued(preference(p, i, other, text)) for p, i, text, other in items]
    return _margins(engine, forward, backward)


def _margins(engine: Engine, forward: Sequence[str], backward: Sequence[str]) -> list[tuple[float, float, float]]:
    """(margin, log-odds as A, log-odds as B) of what stands first in `forward` and second in `backward`."""
    scores = engine.choice_logprobs([*forward, *backward], templates.CHOICES)
    results = []
    for (a1, b1), (a2, b2) in zip(scores[: len(forward)], scores[len(forward) :], strict=True):
        as_first, as_second = a1 - b1, b2 - a2
        margin = (as_first + as_second) / 2
        if margin != margin:
            raise JudgeError("the critic's log-probability is not a number: the model's weights are damaged")
        results.append((margin, as_first, as_second))
    return results


@step(version=6)
def calibrate(
    work: Work,
    *,
    session: Session,
    model: Artifact,
    shots: Shots,
    kinds: list[list[str]],
    principles: list[str],
    planted: list[list[str]] | None = None,
) -> None:
    """`calibration.json`: for each method in use its AUC with 95 % interval on planted good and bad answers of the kinds that
    the config names it for: by kind, and of all of them (`in use`).

    Planted are the worked examples themselves: each set is judged with the other set as examples. `planted` are more of them,
    [instruction, answer], judged with all sets. Good is the example's answer, bad are an answer of the same form to another
    instruction and one of another form. `kinds` are [kind, pattern] pairs: the first pattern that an instruction begins with
    tells its kind. Raises StepFailed when a method does not separate good from bad.
    """
    engine = start_engine(work, session, model)
    with work.progress.task("calibration", None):
        work.shard(0, lambda seed: _calibration_rows(engine, work.settings, shots, kinds, principles, planted or [], seed))
    rows = list(work.rows_of([0]))
    methods = {kind: SelectionMethod(name) for kind, name in work.settings["methods"].items()}
    table: dict[str, Any] = {}
    for method in sorted(set(methods.values())):
        using = [kind for kind, name in methods.items() if name is method]
        groups = {kind: [kind] for kind in using} | {"in use": using}
        table[method.value] = {}
        for group, members in groups.items():
            good = [row["scores"][method.value] for row in rows if row["good"] and row["kind"] in members]
            if not good:
                continue  # no worked example is of this kind
            bad = [row["scores"][method.value] for row in rows if not row["good"] and row["kind"] in members]
            value, low, high = statistics.auc(good, bad)
            table[method.value][group] = {
                "auc": value,
                "low": low,
                "high": high,
                "num_good": len(good),
                "num_bad": len(bad),
                "useful": low >= work.settings["min_auc"],
            }
    for method in set(methods.values()):
        found = table[method.value]["in use"]
        if not found["useful"]:
            raise StepFailed(
                f"selection method {method.value!r} does not separate good from bad answers (AUC {found['auc']:.2f}, 95 % "
                f"interval {found['low']:.2f} to {found['high']:.2f}, needed {work.settings['min_auc']}): name another one "
                "in stage.selection.methods"
            )
    work.write_json("calibration.json", table)
    work.write_rows("records.jsonl", rows)


def _calibration_rows(
    engine: Engine,
    settings: dict[str, Any],
    shots: Shots,
    kinds: list[list[str]],
    principles: list[str],
    more: list[list[str]],
    seed: int,
) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    methods = settings["methods"]
    rows: list[dict[str, Any]] = []
    for name, of_set in (*sorted(shots.items()), *([("more", more)] if more else [])):
        others = {key: value for key, value in shots.items() if key != name}
        examples = [(q, a) for other in sorted(others) for q, a in others[other]]
        items = [(question, answer, kind_of(question, kinds)) for question, answer in of_set]
        planted: list[tuple[int, str, bool, str]] = []
        for i, (_, answer, kind) in enumerate(items):
            same = [a for _, a, k in items if k == kind and a != answer]
            other = [a for _, a, k in items if k != kind]
            bads = [rng.choice(same or other), rng.choice(other)]
            planted += [(i, answer, True, bads[0])] + [(i, bad, False, answer) for bad in bads]
        for method in sorted(set(methods.values())):
            of = [entry for entry in planted if methods.get(items[entry[0]][2]) == method]
            if not of:
                continue  # this set shows no kind that it is for
            texts = [(items[i][0], text) for i, text, _, _ in of]
            if method == "agreement":
                asked = sorted({i for i, *_ in of})
                questions = [(f"planted-{name}-{i}", items[i][0]) for i in asked]
                sampling, seeds = SamplingConfig(**settings["sampling"]), [rng.getrandbits(32) for _ in items]
                drawn = [seeds[i] for i in asked]
                sampled = sample_candidates(engine, questions, others, settings["num_candidates"], sampling, drawn)
                said = {i: [candidate.text for candidate in group] for i, group in zip(asked, sampled, strict=True)}
                scores = [agreement(text, [said[i]], items[i][0]) for i, text, _, _ in of]
            elif method == "fewshot_logprob":
                scores = fewshot_logprob(engine, examples, texts)
            elif method == "relevance":
                scores = relevance(engine, examples, texts)
            else:
                rubric = [(principles[i % len(principles)], items[i][0], text, rival) for i, text, _, rival in of]
                scores = [margin for margin, _, _ in critic_margins(engine, rubric)]
            for (i, text, good, _), score in zip(of, scores, strict=True):
                question, _, kind = items[i]
                rows.append({"kind": kind, "instruction": question, "text": text, "good": good, "scores": {method: score}})
    return rows


def kind_of(question: str, kinds: list[list[str]]) -> str:
    """The kind in `kinds`, [kind, pattern] pairs, whose pattern the question begins with first."""
    return next(kind for kind, pattern in kinds if re.match(pattern, question))


@step(version=3)
def judge_candidates(
    work: Work,
    *,
    session: Session,
    model: Artifact,
    instructions: Artifact,
    candidates: Artifact,
    shots: Shots,
    principles: list[list[str]],
) -> None:
    """Verdicts: each candidate's score by the method in use for its kind, and its few-shot log-probability (free)."""
    methods = work.settings["methods"]
    examples = [(q, a) for q, a in shots[sorted(shots)[0]]]
    engine, total = start_engine(work, session, model), int(instructions.manifest["num_records"])
    groups = enumerate(answered(instructions, candidates))
    rows = by_shards(
        work,
        session,
        "verdicts",
        groups,
        total,
        lambda part, _: _verdicts(engine, part, methods, examples, principles),
        name=lambda group: group[1][0].id,
        instead=lambda group: [Verdict(prompt_id=c.prompt_id, completion_id=c.id, scores={}).to_row() for c in group[1][1]],
    )
    work.write_rows("records.jsonl", rows)


def answered(instructions: Artifact, candidates: Artifact) -> Iterator[tuple[Prompt, list[Completion]]]:
    """Each instruction with its candidates, which stand in the order of the instructions.

    Reads both row by row. Raises StepFailed for candidates in another order, or of an instruction that is not there.
    """
    groups = itertools.groupby(candidates.iter_rows(), key=lambda row: row["prompt_id"])
    of, group = next(groups, (None, iter(())))
    for row in instructions.iter_rows():
        found: list[Completion] = []
        if row["id"] == of:
            found = [Completion.from_row(candidate) for candidate in group]
            of, group = next(groups, (None, iter(())))
        yield Prompt.from_row(row), found
    if of is not None:
        raise StepFailed(f"candidates of {of!r} stand where no such instruction does: one of the two files was reordered")


def _by_prompt(group: Sequence[Completion]) -> dict[str, list[str]]:
    """What an instruction's candidates say, by the prompt that they answer."""
    found: dict[str, list[str]] = {}
    for candidate in group:
        found.setdefault(candidate.rendered_prompt, []).append(candidate.text)
    return found


def _verdicts(
    engine: Engine,
    part: Sequence[tuple[int, tuple[Prompt, list[Completion]]]],
    methods: dict[str, str],
    examples: list[tuple[str, str]],
    principles: list[list[str]],
) -> list[dict[str, Any]]:
    scores: dict[str, dict[str, float]] = {}
    relevant: list[tuple[Prompt, Completion]] = []
    critical: list[tuple[Prompt, Completion, Completion, list[str]]] = []
    named: dict[str, str] = {}
    for number, (prompt, group) in part:
        method = methods[prompt.kind]
        sets = _by_prompt(group)
        alone = sets.pop(templates.cued(prompt.instruction), [])
        for candidate in group:
            own = scores[candidate.id] = {"fewshot_logprob": candidate.logprob / max(1, candidate.num_tokens)}
            if method == "agreement":
                own["agreement"] = agreement(candidate.text, list(sets.values()), prompt.instruction, alone)
            elif method == "relevance":
                relevant.append((prompt, candidate))
            elif method == "critic":
                principle = principles[number % len(principles)]
                named[candidate.id] = principle[0]
                critical.append((prompt, candidate, group[0] if candidate is not group[0] else group[-1], principle))
    if relevant:
        items = [(prompt.instruction, c.text) for prompt, c in relevant]
        for (_, candidate), score in zip(relevant, relevance(engine, examples, items), strict=True):
            scores[candidate.id]["relevance"] = score
    if critical:
        rubric = [(principle[1], prompt.instruction, c.text, other.text) for prompt, c, other, principle in critical]
        for (_, candidate, _, _), (margin, first, second) in zip(critical, critic_margins(engine, rubric), strict=True):
            scores[candidate.id] |= {"critic": margin, "critic_as_a": first, "critic_as_b": second}
    return [
        Verdict(prompt_id=c.prompt_id, completion_id=c.id, scores=scores[c.id], principle=named.get(c.id)).to_row()
        for _, (_, group) in part
        for c in group
    ]
