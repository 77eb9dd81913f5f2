"""Tasks whose right answers are known by construction, made out of answers that the model gave and selection kept."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from cai_bootstrap.errors import StepFailed
from cai_bootstrap.evals import english
from cai_bootstrap.steps import flaws, judgements
from cai_bootstrap.steps.corruptions import CORRUPTIONS
from cai_bootstrap.steps.flawed import Flawed, is_sound, spelt
from cai_bootstrap.steps.judgements import Case
from cai_bootstrap.steps.kinds import body
from cai_bootstrap.steps.misrevisions import negatives
from cai_bootstrap.steps.negatives import Answer, Sources
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step

_REVISION_KINDS = (*flaws.FLAWS, "helpful")
_NUM_FAMILIES_TRIED = 6
_OF_CONDUCT = ("principle", "prefer")
"""Kinds of judge questions that name a rule."""


@step(version=10)
def construct_judgements(
    work: Work,
    *,
    kept: Artifact,
    refusals: list[str],
    conduct: dict[str, list[list[str]]],
    principles: dict[str, str],
    **earlier: Artifact,
) -> None:
    """`records.jsonl`: judge questions on the kept answers and on corruptions of them, with the right and the wrong label.

    A response is the label and, after it, what was asked: «No. What do bees make?» So it is no fixed string, and what follows
    the label is a copy that goes with either: the good answer there would tell the right label from the wrong one by itself.
    An answer gives `num_per_answer` groups with different corruptions, of two questions each, which are trained in one step; as
    many good answers are longer than their corruption as shorter. `conduct`, by rule [question, good answer, bad one], gives a
    group each on what no corruption of an honest answer breaks. Half of the rules are stated as `principles` (texts by id) do.
    `earlier` are kept answers of other stages. Raises StepFailed for a kind of question that is not known.
    """
    shares: dict[str, float] = work.settings["kind_shares"]
    _refuse_unknown(shares, judgements.KINDS)
    rng = random.Random(work.seed)
    rows = list(_answered(kept, *earlier.values()))
    sources = Sources(rows=[Answer.of(row) for row in rows], zero_shot={}, run_on={}, refusals=refusals)
    # Conduct first: it is asked for in one way only, and takes its place among the questions on rules.
    cases = _conduct(conduct) if any(shares.get(kind) for kind in _OF_CONDUCT) else ()
    made = [*cases, *_corruptions(rows, sources, work.settings["num_per_answer"], rng)]
    even = set(map(id, judgements.even_lengths([case for _, case in made], rng)))  # two answers may make equal cases
    left = [(row, case) for row, case in made if id(case) in even]
    used, corrupted = ({row["prompt_id"] for row, _ in some} for some in (left, made))
    work.drop([])
    for row in rows:
        if row["prompt_id"] not in used:
            reason = "its length would tell the label" if row["prompt_id"] in corrupted else "no corruption fits"
            work.drop([{**row, "step": "constructed", "reason": reason}])
    work.write_rows("records.jsonl", _judgements(left, shares, principles, rng))


@step(version=5)
def construct_revisions(work: Work, *, kept: Artifact, refusals: list[str], lexicon: list[str], **earlier: Artifact) -> None:
    """`records.jsonl`: drafts with a known flaw to revise; the kept answer is the right revision.

    Sentences get a flaw or a piece of feedback, `num_per_answer` of different kinds each; a question's answer gives a draft
    that dodges it, to be rejected by a refusal among others. Only sentences that rules find sound are used, of words that
    stand in `lexicon` or come twice at least among the kept answers; of other answers to questions only such drafts are made.
    `earlier` are kept answers of other stages. Raises StepFailed for an unknown kind of revision.
    """
    _refuse_unknown(work.settings["kind_shares"], _REVISION_KINDS)
    rng = random.Random(work.seed)
    rows = list(_answered(kept, *earlier.values()))
    used = Counter(word for row in rows for word in set(spelt(row["text"])) | set(spelt(row["instruction"])))
    known = {word for word, count in used.items() if count > 1}.union(lexicon)
    work.drop([])
    work.write_rows("records.jsonl", _revisions(work, rows, known, refusals, rng))


def _answered(*kept: Artifact) -> Iterator[dict[str, Any]]:
    """The rows of all these, an instruction once."""
    seen: set[str] = set()
    for row in itertools.chain.from_iterable(artifact.iter_rows() for artifact in kept):
        told = english.plain(row["instruction"])
        if told not in seen:
            seen.add(told)
            yield row


def _revisions(
    work: Work, rows: Sequence[dict[str, Any]], known: Collection[str], refusals: Sequence[str], rng: random.Random
) -> Iterator[dict[str, Any]]:
    shares: dict[str, float] = work.settings["kind_shares"]
    given = dict.fromkeys(shares, 0)
    for row in rows:
        sound = is_sound(row["text"], known)
        behind = sorted(shares, key=lambda kind: given[kind] / shares[kind])  # what is furthest behind its share first
        if not sound:
            # A draft that dodges needs no sound sentence, and few short answers are one: but not more of them than their share.
            behind = [kind for kind in behind[:-1] or behind if kind == "helpful"]
        made: list[Flawed] = []
        for kind in behind:
            found = _flaw(kind, row, rng)
            if found is not None and len(made) < work.settings["num_per_answer"]:
                made.append(found)
        if not made:
            reason = "no flaw fits" if sound else "not surely a sound sentence"
            work.drop([{**row, "step": "constructed", "reason": reason}])
        for task in made:
            wrong = negatives(task, rng)
            if task.kind == "helpful":
                wrong.append((rng.choice(refusals), "refusal"))
            if not wrong:
                continue
            given[task.kind] += 1
            yield {
                **row,
                "prompt_id": f"{row['prompt_id']}-{task.kind}",
                "kind": task.kind,
                "instruction": task.instruction,
                "text": task.revised,
                "wrong": [[text, f"{task.family}, {reason}", True] for text, reason in wrong],
            }


def _flaw(kind: str, row: dict[str, Any], rng: random.Random) -> Flawed | None:
    """A task of that kind on a kept answer, None where it lends itself to none."""
    if kind == "helpful":
        question = body(row["kind"], row["instruction"])
        return flaws.dodge(question, row["text"], rng) if question.endswith("?") else None
    families = sorted(flaws.FLAWS[kind])
    for family in rng.sample(families, min(len(families), _NUM_FAMILIES_TRIED)):
        made = flaws.flawed(kind, family, row["text"], rng)
        if made is not None:
            return made
    return None


def _refuse_unknown(shares: Collection[str], known: Sequence[str]) -> None:
    unknown = [kind for kind in shares if kind not in known]
    if unknown:
        raise StepFailed(f"stage.construction.kind_shares names {unknown[0]!r}: write one of {', '.join(known)}")


def _corruptions(
    rows: Sequence[dict[str, Any]], sources: Sources, num_per_answer: int, rng: random.Random
) -> Iterator[tuple[dict[str, Any], Case]]:
    """A kept answer and each of the cases made of it, the kinds of corruption in turn."""
    turns = itertools.cycle(CORRUPTIONS)
    for row, answer in zip(rows, sources.rows, strict=True):
        made = 0
        for corruption in itertools.islice(turns, len(CORRUPTIONS)):
            text = CORRUPTIONS[corruption](answer, sources, rng)
            if text and english.plain(text) != english.plain(answer.text):
                yield row, Case(answer.instruction, answer.text, text, corruption)
                made += 1
            if made == num_per_answer:
                break


def _conduct(cases: dict[str, list[list[str]]]) -> Iterator[tuple[dict[str, Any], Case]]:
    """The committed cases of conduct, each with what a kept answer would record."""
    for corruption, principle in judgements.CONDUCT.items():
        for number, (question, good, bad) in enumerate(cases.get(corruption, ())):
            row = {
                "prompt_id": f"conduct-{corruption}-{number}",
                "instruction_source": "worked example",
                "selection": "worked example",
                "score": 0.0,
                "scores": {},
                "principle": principle,
                "completion_seed": None,
                "rendered_prompt": None,
            }
            yield row, Case(question, good, bad, corruption)


def _judgements(
    cases: Sequence[tuple[dict[str, Any], Case]], shares: dict[str, float], principles: dict[str, str], rng: random.Random
) -> Iterator[dict[str, Any]]:
    given = dict.fromkeys(shares, 0)
    for row, case in cases:
        kinds = _OF_CONDUCT if case.corruption in judgements.CONDUCT else judgements.kinds_for(case.corruption)
        fitting = [kind for kind in kinds if shares.get(kind)]
        if not fitting:
            continue
        kind = min(fitting, key=lambda kind: given[kind] / shares[kind])  # whichever is furthest behind its share
        group = f"{row['prompt_id']}-{case.corruption}"
        asked = " ".join(case.question.split())
        asked_in = judgements.questions(case, rng, group=group, kinds=[kind], principles=principles)
        for number, made in enumerate(asked_in):
            given[kind] += 1
            yield {
                **row,
                "prompt_id": f"{made.group}-{number}",
                "group": made.group,
                "kind": kind,
                "instruction": made.instruction,
                "text": f"{made.right} {asked}",
                "wrong": [[f"{made.wrong} {asked}", f"{case.corruption}, the other label", True]],
            }
