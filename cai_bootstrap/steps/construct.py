"""Tasks whose right answers are known by construction, made out of answers that the model gave and selection kept."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from cai_bootstrap.errors import StepFailed
from cai_bootstrap.evals import english
from cai_bootstrap.steps import cases, flaws, judgements
from cai_bootstrap.steps.cases import Asked
from cai_bootstrap.steps.duplicates import content_words
from cai_bootstrap.steps.flawed import Flawed, is_sound, spelt
from cai_bootstrap.steps.kinds import body
from cai_bootstrap.steps.misrevisions import negatives
from cai_bootstrap.steps.negatives import Answer, Sources
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step

_DODGE = ("helpful", "dodge")
_FAMILIES: dict[str, tuple[str, ...]] = {**{kind: tuple(of) for kind, of in flaws.FLAWS.items()}, _DODGE[0]: _DODGE[1:]}
"""By kind of revision the families of its flaws."""
_GROUPS_PER_ENDING = 7
"""Of so many groups of judgements one shows how a judgement ends; of the others the label alone is trained."""
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


@step(version=17)
def construct_judgements(
    work: Work,
    *,
    kept: Artifact,
    evasions: list[str],
    conduct: dict[str, list[list[str]]],
    worked: list[list[str]],
    principles: dict[str, str],
    **earlier: Artifact,
) -> None:
    """`records.jsonl`: judge questions on good answers and on faulty ones, with the right and the wrong label.

    A response is the label and, after it, a word of the question: «No. Squirrel.» So it is no fixed string, and what follows
    the label is a copy that goes with either: the good answer there would tell the right label from the wrong one by itself.
    The whole question there is a text that a small model goes on with instead of ending. One group in seven rejects a run-on
    with the right label, where the others reject the other label.
    A kept answer gives `num_per_answer` groups with different faults and of the kinds in `kinds_of_answers`, a worked case
    `num_per_case`, and each case of `conduct` one of a kind that names a rule; `evasions` are texts that decline to answer.
    Two questions of a group are trained in one step. As many good answers are longer than their faulty one as shorter. Half of
    the rules are stated as `principles` (texts by id) do. `earlier` are kept answers of other stages. Raises StepFailed for a
    kind of question, and a rule of conduct, that is not known.
    """
    settings = work.settings
    shares: dict[str, float] = settings["kind_shares"]
    _refuse_unknown("stage.construction.kind_shares", shares, judgements.KINDS)
    _refuse_unknown("stage.construction.kinds_of_answers", settings["kinds_of_answers"], judgements.KINDS)
    _refuse_unknown("conduct of the seeds", conduct, judgements.PRINCIPLES)
    rng = random.Random(work.seed)
    rows = list(_answered(kept, *earlier.values()))
    sources = Sources(rows=[Answer.of(row) for row in rows], zero_shot={}, run_on={}, refusals=evasions)
    # Conduct first: it is asked for in two ways only, and takes its place among the questions on rules.
    found = [
        *cases.of_conduct(conduct),
        *cases.of_worked(worked, evasions, settings["num_per_case"], rng),
        *cases.of_answers(rows, sources, settings["num_per_answer"], settings["kinds_of_answers"] or judgements.KINDS, rng),
    ]
    made = [asked for asked in found if any(shares.get(kind) for kind in asked.kinds)]
    even = set(map(id, judgements.even_lengths([asked.case for asked in made], rng)))  # two answers may make equal cases
    left = [asked for asked in made if id(asked.case) in even]
    used, corrupted = ({asked.row["prompt_id"] for asked in some} for some in (left, made))
    work.drop([])
    for row in rows:
        if row["prompt_id"] not in used:
            reason = "its length would tell the label" if row["prompt_id"] in corrupted else "no corruption fits"
            work.drop([{**row, "step": "constructed", "reason": reason}])
    work.write_rows("records.jsonl", _judgements(work, left, shares, principles, rng))


@step(version=9)
def construct_revisions(
    work: Work,
    *,
    kept: Artifact,
    refusals: list[str],
    lexicon: list[str],
    sentences: list[str],
    worked: list[list[str]],
    **earlier: Artifact,
) -> None:
    """`records.jsonl`: drafts with a known flaw to revise; the kept answer is the right revision.

    Sentences get a flaw or a piece of feedback, `num_per_answer` of different kinds each; a question's answer gives a draft
    that dodges it, to be rejected by a refusal among others. Only sentences that rules find sound are used, of words that
    stand in `lexicon` or come twice at least among the kept answers; of other answers to questions only such drafts are made.
    `earlier` are kept answers of other stages. The right sentence of a `worked` case and each of `sentences` give
    `num_per_case` tasks. Raises StepFailed for an unknown kind of revision.
    """
    _refuse_unknown("stage.construction.kind_shares", work.settings["kind_shares"], _FAMILIES)
    rng = random.Random(work.seed)
    settings = work.settings
    drafted = [(row, int(settings["num_per_answer"])) for row in _answered(kept, *earlier.values())]
    if settings["num_per_case"]:
        committed = [*cases.as_answers(worked), *cases.as_texts(sentences)]
        drafted += [(row, int(settings["num_per_case"])) for row in committed]
        rng.shuffle(drafted)  # all give all kinds
    lexicon = [*lexicon, *(word for text in (*sentences, *(case[2] for case in worked)) for word in spelt(text))]
    used = Counter(word for row, _ in drafted for word in set(spelt(row["text"])) | set(spelt(row["instruction"])))
    known = {word for word, count in used.items() if count > 1}.union(lexicon)
    work.drop([])
    work.write_rows("records.jsonl", _revisions(work, drafted, known, refusals, rng))


def _answered(*kept: Artifact) -> Iterator[dict[str, Any]]:
    """The rows of all these, an instruction once."""
    seen: set[str] = set()
    for row in itertools.chain.from_iterable(artifact.iter_rows() for artifact in kept):
        told = english.plain(row["instruction"])
        if told not in seen:
            seen.add(told)
            yield row


def _revisions(
    work: Work,
    drafted: Sequence[tuple[dict[str, Any], int]],
    known: Collection[str],
    refusals: Sequence[str],
    rng: random.Random,
) -> Iterator[dict[str, Any]]:
    """Tasks on each of `drafted`, (a kept answer, how many tasks of different kinds it may give).

    A kind's share is divided among its families, and what is furthest behind its part is tried first: what few sentences lend
    themselves to is made of all that do.
    """
    shares: dict[str, float] = work.settings["kind_shares"]
    parts = {(kind, name): share / len(of) for kind, share in shares.items() for of in [_FAMILIES[kind]] for name in of}
    given: Counter[tuple[str, str]] = Counter()
    for row, num_tasks in drafted:
        behind = sorted(parts, key=lambda which: (given[which] / parts[which], rng.random()))
        sound = is_sound(row["text"], known)
        if not sound:
            # A draft that dodges needs no sound sentence, and few short answers are one: but not more of them than their share.
            behind = [which for which in behind if which == _DODGE and given[which] <= parts[which] * given.total()]
        made: dict[str, Flawed] = {}
        for kind, family in behind:
            found = None if kind in made or len(made) == num_tasks else _flaw(kind, family, row, rng)
            if found is not None:
                made[kind] = found
                given[kind, family] += 1
        if not made:
            reason = "no flaw fits" if sound else "not surely a sound sentence"
            work.drop([{**row, "step": "constructed", "reason": reason}])
        for task in made.values():
            wrong = negatives(task, rng)
            if task.kind == "helpful":
                wrong.append((rng.choice(refusals), "refusal"))
            if not wrong:
                work.drop([{**row, "step": "constructed", "reason": f"nothing is wrong enough to reject ({task.family})"}])
                continue
            yield {
                **row,
                "prompt_id": f"{row['prompt_id']}-{task.kind}",
                "kind": task.kind,
                "instruction": task.instruction,
                "text": task.revised,
                "wrong": [[text, f"{task.family}, {reason}", True] for text, reason in wrong],
            }


def _flaw(kind: str, family: str, row: dict[str, Any], rng: random.Random) -> Flawed | None:
    """A task of that kind and family on a kept answer; None where it does not lend itself."""
    if (kind, family) != _DODGE:
        return flaws.flawed(kind, family, row["text"], rng)
    question = body(row["kind"], row["instruction"])
    return flaws.dodge(question, row["text"], rng) if question.endswith("?") else None


def _refuse_unknown(key: str, kinds: Collection[str], known: Collection[str]) -> None:
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        raise StepFailed(f"{key} names {unknown[0]!r}: write one of {', '.join(known)}")


def _topic(question: str) -> str:
    """The longest of the words that carry the question's meaning, with a capital; its first word asks («Should»)."""
    words = _WORD.findall(question)
    topic: str = max([word for word in words[1:] if content_words(word)] or words, key=len, default="It")
    return topic[0].upper() + topic[1:]


def _judgements(
    work: Work, asked_of: Sequence[Asked], shares: dict[str, float], principles: dict[str, str], rng: random.Random
) -> Iterator[dict[str, Any]]:
    given = dict.fromkeys(shares, 0)
    endings = itertools.cycle([True] + [False] * (_GROUPS_PER_ENDING - 1))
    for row, case, kinds in asked_of:
        fitting = [kind for kind in kinds if shares.get(kind)]
        if not fitting:
            continue
        kind = min(fitting, key=lambda kind: given[kind] / shares[kind])  # whichever is furthest behind its share
        group = f"{row['prompt_id']}-{case.corruption}"
        topic = f"{_topic(case.question)}."
        asked_in = judgements.questions(case, rng, group=group, kinds=[kind], principles=principles)
        if not asked_in:
            work.drop([{**row, "step": "constructed", "reason": f"as good as its corruption ({case.corruption})"}])
        teaches_to_end = next(endings)
        for number, made in enumerate(asked_in):
            given[kind] += 1
            text = f"{made.right} {topic}"
            if teaches_to_end:
                # What a model that does not end goes on with: itself.
                wrong = [f"{text} {rng.choice((text, topic, made.right))}", "goes on", False]
            else:
                wrong = [f"{made.wrong} {topic}", f"{case.corruption}, the other label", True]
            yield {
                **row,
                "prompt_id": f"{made.group}-{number}",
                "group": made.group,
                "kind": kind,
                "instruction": made.instruction,
                "text": text,
                "wrong": [wrong],
            }
