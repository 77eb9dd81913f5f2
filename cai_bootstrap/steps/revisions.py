"""What becomes of stage 6's revisions: which are fit by rules, a calibrated critic's verdicts on them, and which is kept."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

from cai_bootstrap import templates
from cai_bootstrap.constitution import Principle
from cai_bootstrap.engines.session import Session
from cai_bootstrap.evals import english, statistics, tasks
from cai_bootstrap.evals.harm import speaks_of_harm
from cai_bootstrap.evals.refusals import classify, declines
from cai_bootstrap.records import Verdict
from cai_bootstrap.steps.adherence import adherence
from cai_bootstrap.steps.critique import SAFE, UNANSWERED, Examples, is_safe
from cai_bootstrap.steps.duplicates import content_words
from cai_bootstrap.steps.filter import NOT_JUDGED, malformed_text
from cai_bootstrap.steps.judge import preference_margins
from cai_bootstrap.steps.shards import by_shards, start_engine
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step
from cai_bootstrap.store.work import Rows

_MAX_SENTENCES = 3
_CALIBRATED = ("harmful", "harmless")
"""What the critic is calibrated on apart: a critic may know that declining is right and not what a better answer is."""
_MIN_AGAIN = 2
"""Content words of a harmful request that tell its deed when they come again in what is offered instead."""


@step(version=4)
def calibrate_critic(work: Work, *, session: Session, model: Artifact, principles: list[list[str]], examples: Examples) -> None:
    """`calibration.json`: how often the critic prefers the worked examples' revisions, which it was never shown.

    For `harmful` requests, whose revisions decline, and `harmless` ones, each `preferred` by the mean margin of both orders and
    `in_both_orders`, with their 95 % Wilson intervals; None for a kind that no worked example shows. A critic whose interval
    reaches one half has no vote on what is kept of that kind, and leaves a warning.
    """
    texts = {id_: text for id_, text, _ in principles}
    known = {id_: of for id_, of in examples.items() if id_ in texts}
    planted = [(id_, i, worse, better) for id_, of in known.items() for i, worse, _, better in of if better != worse]
    engine = start_engine(work, session, model)
    items = [(texts[id_], i, better, worse) for id_, i, worse, better in planted]
    work.shard(0, lambda _: [{"margins": list(margins)} for margins in (preference_margins(engine, items) if items else [])])
    margins = [row["margins"] for row in work.rows_of([0])]
    told: dict[str, Any] = {}
    for kind in _CALIBRATED:
        declined = kind == "harmful"
        of_kind = [m for m, (_, i, _, better) in zip(margins, planted, strict=True) if is_safe(better, i) == declined]
        told[kind] = None
        if not of_kind:
            work.warn(f"no worked example has a better answer to a {kind} request: rules alone choose there")
            continue
        preferred = statistics.wilson(sum(mean > 0 for mean, _, _ in of_kind), len(of_kind))
        in_both = statistics.wilson(sum(a > 0 and b > 0 for _, a, b in of_kind), len(of_kind))
        told[kind] = {"preferred": preferred.to_row(), "in_both_orders": in_both.to_row()}
        if not _has_vote(told, kind):
            found = statistics.percent(preferred)
            work.warn(f"the critic prefers {found} of known better answers to {kind} requests, so rules alone choose there")
    work.write_json("calibration.json", told)


def _has_vote(calibration: dict[str, Any], kind: str) -> bool:
    """Whether a critic with this `calibration.json` chooses among answers to requests of that kind, of `_CALIBRATED`."""
    return calibration[kind] is not None and float(calibration[kind]["preferred"]["low"]) > 0.5


@step(version=3)
def judge_revisions(
    work: Work,
    *,
    session: Session,
    model: Artifact,
    revisions: Artifact,
    calibration: Artifact,
    principles: list[list[str]],
    examples: Examples,
) -> None:
    """`records.jsonl` of Verdicts: a revision's margin over the original by the prompt's principle, in both orders.

    Judged is what may be kept: every revision that is fit by the rules where `calibration` gives the critic a vote, and the one
    that the rules alone choose where it has none.
    """
    texts = {id_: text for id_, text, _ in principles}
    contenders = _Contenders(calibration, examples)
    engine = start_engine(work, session, model)

    def write(part: Rows, _: list[int]) -> Rows:
        judged = [(row, number) for row in part for number in contenders.of(row)]
        items = [
            (texts[row["principle"]], row["instruction"], row["revisions"][number]["text"], row["original"] or UNANSWERED)
            for row, number in judged
        ]
        return [
            _verdict(row, number, {"critic": margin, "critic_as_a": first, "critic_as_b": second}).to_row()
            for (row, number), (margin, first, second) in zip(judged, preference_margins(engine, items), strict=True)
        ]

    total = int(revisions.manifest["num_records"])
    rows = by_shards(
        work,
        session,
        "verdicts",
        revisions.iter_rows(),
        total,
        write,
        name=lambda row: str(row["prompt_id"]),
        instead=lambda row: [_verdict(row, number, {}).to_row() for number in contenders.of(row)],
    )
    work.write_rows("records.jsonl", rows)


def _verdict(row: dict[str, Any], number: int, scores: dict[str, float]) -> Verdict:
    id_ = f"{row['prompt_id']}-{number}"
    return Verdict(prompt_id=row["prompt_id"], completion_id=id_, scores=scores, principle=row["principle"])


@step(version=8)
def keep_revisions(
    work: Work,
    *,
    revisions: Artifact,
    verdicts: Artifact,
    calibration: Artifact,
    principles: list[list[str]],
    examples: Examples,
    refusals: list[str],
) -> None:
    """`records.jsonl`: for each prompt its best fit revision over the original, and `adherence.json` by principle.

    A harmful request must be refused or redirected, by an alternative that does not do what was asked and is no worked
    example's, in a revision that the critic prefers by at least `min_scores.critic`, the mean margin of both orders. What is
    harmless must not be declined: the original stays the chosen text where it is fit, over the row's `over_refusal` (one of
    `refusals` where that declines nothing), so that refusing everything loses. A revision takes its place where the critic
    prefers it in both orders. Where `calibration` gives the critic no vote, the first fit revision of a harmful request is
    kept, the greedy one if that is fit, and every fit original of a harmless one; `selection` says which it was. The score is
    the critic's margin of a revision over the original; an original has none, and 0.
    """
    rng = random.Random(work.seed)
    judged = verdicts.iter_rows()
    contenders = _Contenders(calibration, examples)
    kept: Rows = []
    best_verdicts: Rows = []
    work.drop([])
    for row in revisions.iter_rows():
        scored = [(next(judged), row["revisions"][number]) for number in contenders.of(row)]
        if not all(verdict["scores"] for verdict, _ in scored):
            work.drop([_drop(row, NOT_JUDGED)])
            continue
        harmless, vote = row["kind"] in tasks.HARMLESS_KINDS, contenders.has_vote(row)
        if vote:
            scored.sort(key=lambda entry: -float(entry[0]["scores"]["critic"]))
        best = scored[0][1] if scored else row["revisions"][0]
        changed = bool(scored) and english.plain(best["text"]) != english.plain(row["original"])
        if changed:
            best_verdicts.append(scored[0][0])
        scores = scored[0][0]["scores"] if scored else {}
        chosen, wrong = best, [[row["original_output"], "the original", row["original_finish"] == "eos"]]
        if harmless and not (vote and changed and scores["critic_as_a"] > 0 and scores["critic_as_b"] > 0):
            prompt, finish = templates.cued(row["instruction"]), row["original_finish"]
            chosen, wrong = {"text": row["original"], "finish": finish, "prompt": prompt, "seed": row["original_seed"]}, []
            scores = {}
            reason = _unfit(chosen, row, contenders.shown)
        elif not changed:
            reason = "unchanged" if scored else _unfit(best, row, contenders.shown)
        else:
            preferred = not vote or scores["critic"] >= work.settings["min_scores"]["critic"]
            reason = "" if preferred else "the critic does not prefer it"
        if reason:
            work.drop([_drop(row, reason)])
            continue
        if harmless:
            declined = str(row["over_refusal"])
            if not declines(declined, row["instruction"]):
                declined = rng.choice(refusals)
            wrong.append([declined, "an over-refusal", True])
        kept.append(
            {
                **{name: row[name] for name in ("prompt_id", "kind", "instruction", "instruction_source", "principle")},
                "text": chosen["text"],
                "score": scores.get("critic", 0.0),
                "selection": "critic" if vote else "rules",
                "completion_seed": chosen["seed"],
                "rendered_prompt": chosen["prompt"],
                "scores": scores,
                "critique": row["critique"],
                "wrong": wrong,
            }
        )
    work.write_rows("records.jsonl", kept)
    known = [Principle(*entry) for entry in principles]
    work.write_json("adherence.json", adherence(known, kept, best_verdicts))


class _Contenders:
    """Which revisions of a prompt may be kept by the rules, hence which are judged."""

    def __init__(self, calibration: Artifact, examples: Examples) -> None:
        told = calibration.json("calibration.json")
        self._votes = {kind: _has_vote(told, kind) for kind in _CALIBRATED}
        self.shown = {_alternative(revision) for of in examples.values() for *_, revision in of}

    def has_vote(self, row: dict[str, Any]) -> bool:
        """Whether the critic has one on requests of this kind."""
        return self._votes["harmless" if row["kind"] in tasks.HARMLESS_KINDS else "harmful"]

    def of(self, row: dict[str, Any]) -> list[int]:
        """The places of all fit revisions, or of the first, the greedy one if that is fit, where the critic has no vote."""
        fit = [number for number, made in enumerate(row["revisions"]) if not _unfit(made, row, self.shown)]
        return fit if self.has_vote(row) else fit[:1]


def _unfit(made: dict[str, Any], row: dict[str, Any], shown: Collection[str]) -> str:
    """Why a revision may not be chosen; empty when it may. `shown` are the alternatives of the worked examples."""
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
        return "declines a harmless request" if declines(text, instruction) else ""
    if classify(text, instruction) not in SAFE:
        return "goes along with a harmful request"
    alternative = _alternative(text)
    if alternative and alternative in shown:
        return "offers what a worked example does"
    again = content_words(alternative) & content_words(instruction)
    return "offers the harm that was asked for" if speaks_of_harm(alternative) or len(again) >= _MIN_AGAIN else ""


def _alternative(text: str) -> str:
    """What a refusal offers instead, plainly: all behind its first sentence."""
    return english.plain(" ".join(english.sentences(text)[1:]))


def _drop(row: dict[str, Any], reason: str) -> dict[str, Any]:
    told = {name: row[name] for name in ("prompt_id", "kind", "instruction", "principle", "original", "critique")}
    return {**told, "step": "kept", "reason": reason, "revisions": [made["text"] for made in row["revisions"]]}
