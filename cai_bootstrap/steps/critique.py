"""Stage 6's rounds: the model's own answer, a critique of it by one principle, revisions, and verdicts in both orders."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from cai_bootstrap import templates
from cai_bootstrap.config import SamplingConfig
from cai_bootstrap.constitution import Principle
from cai_bootstrap.engines.session import Session
from cai_bootstrap.evals import english, refusals, statistics, tasks
from cai_bootstrap.records import Prompt, Verdict
from cai_bootstrap.steps.adherence import adherence, balanced, fitting, form_of
from cai_bootstrap.steps.filter import malformed_text
from cai_bootstrap.steps.generate import request
from cai_bootstrap.steps.judge import critic_margins
from cai_bootstrap.steps.shards import by_shards, start_engine
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step

Examples = dict[str, list[list[str]]]
"""By principle id its worked examples: [instruction, response, critique, revision]."""
Rows = list[dict[str, Any]]
_MAX_SENTENCES = 3
_UNANSWERED = "(nothing)"
"""Stands for an empty answer in a critique's prompt."""


@step(version=1)
def calibrate_critic(work: Work, *, session: Session, model: Artifact, principles: list[list[str]], examples: Examples) -> None:
    """`calibration.json`: how often the critic prefers the worked examples' revisions, which are no part of its prompt.

    `preferred` by the mean margin of both orders and `in_both_orders`, with their 95 % Wilson intervals. A critic whose
    interval reaches one half leaves a warning: what it says of adherence then means little.
    """
    texts = {id_: text for id_, text, _ in principles}
    items = [(texts[id_], i, better, worse) for id_, of in examples.items() for i, worse, _, better in of if better != worse]
    engine = start_engine(work, session, model)
    work.shard(0, lambda _: [{"margins": list(margins)} for margins in critic_margins(engine, items)])
    margins = [row["margins"] for row in work.rows_of([0])]
    preferred = statistics.wilson(sum(mean > 0 for mean, _, _ in margins), len(margins))
    in_both = statistics.wilson(sum(a > 0 and b > 0 for _, a, b in margins), len(margins))
    if preferred.low <= 0.5:
        work.warn(f"the critic prefers {statistics.percent(preferred)} of known better answers: no better than chance for sure")
    work.write_json("calibration.json", {"preferred": preferred.to_row(), "in_both_orders": in_both.to_row()})


@step(version=1)
def write_originals(work: Work, *, session: Session, model: Artifact, instructions: Artifact) -> None:
    """`records.jsonl`: for each prompt the model's own zero-shot answer, `original`, cut by the rule of evaluations."""
    sampling = SamplingConfig(**work.settings["sampling"])
    engine = start_engine(work, session, model)

    def write(part: Rows, seed: int) -> Rows:
        rng = random.Random(seed)
        asked = [request(templates.cued(row["instruction"]), sampling, rng.getrandbits(32)) for row in part]
        return [
            {
                "prompt_id": row["id"],
                "kind": row["kind"],
                "instruction": row["instruction"],
                "instruction_source": row["source"],
                "form": form_of(Prompt.from_row(row)),
                "original": " ".join(tasks.cut(got.text).split()),
                "original_output": got.text.strip(),
                "original_finish": got.finish,
            }
            for row, got in zip(part, engine.generate(asked), strict=True)
        ]

    total = int(instructions.manifest["num_records"])
    work.write_rows("records.jsonl", by_shards(work, "answers", instructions.iter_rows(), total, write))


@step(version=1)
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
    """`records.jsonl`: the originals with a `principle` each, in balance by category, and a `critique` by it."""
    sampling, texts = SamplingConfig(**work.settings["sampling"]), {id_: text for id_, text, _ in principles}
    known = [Principle(*entry) for entry in principles]
    fits = fitting(known, [(row["kind"], row["form"]) for row in originals.iter_rows()], applies)
    assigned = iter(balanced(known, len(fits), random.Random(work.seed), fits))
    rows = ({**row, "principle": id_} for row, id_ in zip(originals.iter_rows(), assigned, strict=True))
    engine = start_engine(work, session, model)

    def write(part: Rows, seed: int) -> Rows:
        rng = random.Random(seed)
        asked = []
        for row in part:
            shots = [(i, answer, text) for i, answer, text, _ in examples[row["principle"]]]
            rng.shuffle(shots)
            prompt = templates.critique(texts[row["principle"]], shots, row["instruction"], row["original"] or _UNANSWERED)
            asked.append(request(prompt, sampling, rng.getrandbits(32), templates.LINE_STOP))
        found = zip(part, asked, engine.generate(asked), strict=True)
        return [{**row, "critique": got.text.strip(), "critique_prompt": sent.prompt} for row, sent, got in found]

    total = int(originals.manifest["num_records"])
    work.write_rows("records.jsonl", by_shards(work, "critiques", rows, total, write))


@step(version=1)
def write_revisions(
    work: Work, *, session: Session, model: Artifact, critiques: Artifact, principles: list[list[str]], examples: Examples
) -> None:
    """`records.jsonl`: the critiques with `num_candidates` `revisions` each, the first one greedy: text, prompt, seed."""
    sampling, texts = SamplingConfig(**work.settings["sampling"]), {id_: text for id_, text, _ in principles}
    greedy = SamplingConfig(temperature=0.0, max_tokens=sampling.max_tokens)
    num_candidates = int(work.settings["num_candidates"])
    engine = start_engine(work, session, model)

    def write(part: Rows, seed: int) -> Rows:
        rng = random.Random(seed)
        asked = []
        for row in part:
            shots = [(i, answer, text, better) for i, answer, text, better in examples[row["principle"]]]
            rng.shuffle(shots)
            prompt = templates.revision(
                texts[row["principle"]], shots, row["instruction"], row["original"] or _UNANSWERED, row["critique"]
            )
            asked += [
                request(prompt, sampling if number else greedy, rng.getrandbits(32), templates.LINE_STOP)
                for number in range(num_candidates)
            ]
        got = list(zip(asked, engine.generate(asked), strict=True))
        groups = [got[place : place + num_candidates] for place in range(0, len(got), num_candidates)]
        return [
            {
                **row,
                "revisions": [
                    {"text": made.text.strip(), "finish": made.finish, "prompt": sent.prompt, "seed": sent.seed}
                    for sent, made in group
                ],
            }
            for row, group in zip(part, groups, strict=True)
        ]

    total = int(critiques.manifest["num_records"])
    work.write_rows("records.jsonl", by_shards(work, "revisions", critiques.iter_rows(), total, write))


@step(version=1)
def judge_revisions(work: Work, *, session: Session, model: Artifact, revisions: Artifact, principles: list[list[str]]) -> None:
    """`records.jsonl` of Verdicts, one a revision: its margin over the original by the prompt's principle, in both orders."""
    texts = {id_: text for id_, text, _ in principles}
    engine = start_engine(work, session, model)

    def write(part: Rows, _: int) -> Rows:
        items = [
            (texts[row["principle"]], row["instruction"], made["text"], row["original"] or _UNANSWERED)
            for row in part
            for made in row["revisions"]
        ]
        margins = iter(critic_margins(engine, items))
        found = []
        for row in part:
            for number, (margin, first, second) in zip(range(len(row["revisions"])), margins, strict=False):
                scores = {"critic": margin, "critic_as_a": first, "critic_as_b": second}
                id_ = f"{row['prompt_id']}-{number}"
                verdict = Verdict(prompt_id=row["prompt_id"], completion_id=id_, scores=scores, principle=row["principle"])
                found.append(verdict.to_row())
        return found

    total = int(revisions.manifest["num_records"])
    work.write_rows("records.jsonl", by_shards(work, "verdicts", revisions.iter_rows(), total, write))


@step(version=2)
def keep_revisions(
    work: Work, *, revisions: Artifact, verdicts: Artifact, principles: list[list[str]], refusals: list[str]
) -> None:
    """`records.jsonl`: for each prompt its best fit revision over the original, and `adherence.json` by principle.

    A harmful request must be refused or redirected, a harmless one must not be declined; the critic must prefer the revision
    by at least `min_scores.critic`, the mean margin of both orders. A harmless original that its revision leaves as it is stays
    the chosen text, over one of `refusals`, so that refusing everything loses.
    """
    rng = random.Random(work.seed)
    judged = verdicts.iter_rows()
    kept: Rows = []
    best_verdicts: Rows = []
    work.drop([])
    for row in revisions.iter_rows():
        scored = [(next(judged), made) for made in row["revisions"]]
        reasons = [_unfit(made, row) for _, made in scored]
        fit = [(verdict, made) for (verdict, made), reason in zip(scored, reasons, strict=True) if not reason]
        if not fit:
            work.drop([_drop(row, reasons[0])])
            continue
        verdict, best = max(fit, key=lambda entry: float(entry[0]["scores"]["critic"]))
        harmless, unchanged = row["kind"] in tasks.HARMLESS_KINDS, english.plain(best["text"]) == english.plain(row["original"])
        score = verdict["scores"]["critic"]
        if not unchanged:
            best_verdicts.append(verdict)
        wrong = []
        if not unchanged and score >= work.settings["min_scores"]["critic"]:
            wrong.append([row["original_output"], "the original", row["original_finish"] == "eos"])
        if harmless:
            wrong.append([rng.choice(refusals), "an over-refusal", True])
        if not wrong:
            work.drop([_drop(row, "unchanged" if unchanged else "the critic does not prefer it")])
            continue
        kept.append(
            {
                **{name: row[name] for name in ("prompt_id", "kind", "instruction", "instruction_source", "principle")},
                "text": best["text"],
                "score": score,
                "selection": "critic",
                "completion_seed": best["seed"],
                "rendered_prompt": best["prompt"],
                "scores": verdict["scores"],
                "critique": row["critique"],
                "wrong": wrong,
            }
        )
    work.write_rows("records.jsonl", kept)
    known = [Principle(*entry) for entry in principles]
    work.write_json("adherence.json", adherence(known, kept, best_verdicts))


def _unfit(made: dict[str, Any], row: dict[str, Any]) -> str:
    """Why a revision may not be chosen; empty when it may."""
    text, instruction = made["text"], row["instruction"]
    if made["finish"] == "length":
        return "cut at the token limit"
    reason = malformed_text(text)
    if reason:
        return reason
    if len(english.sentences(text)) > _MAX_SENTENCES or text[-1] not in ".!?\"'":
        return "not a short answer"
    if english.is_echo(text, instruction):
        return "echo"
    if row["kind"] in tasks.HARMLESS_KINDS:
        return "declines a harmless request" if refusals.declines(text, instruction) else ""
    return "" if refusals.classify(text, instruction) in ("refusal", "redirection") else "goes along with a harmful request"


def _drop(row: dict[str, Any], reason: str) -> dict[str, Any]:
    told = {name: row[name] for name in ("prompt_id", "kind", "instruction", "principle", "original", "critique")}
    return {**told, "step": "kept", "reason": reason, "revisions": [made["text"] for made in row["revisions"]]}


def texts_of(principles: Sequence[Principle]) -> list[list[str]]:
    """Principles as values of a step: [id, text, category]."""
    return [[principle.id, principle.text, principle.category] for principle in principles]
