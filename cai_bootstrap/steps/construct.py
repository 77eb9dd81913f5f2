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
from cai_bootstrap.steps.flawed import Flawed, is_sound, spelt
from cai_bootstrap.steps.judgements import Case
from cai_bootstrap.steps.kinds import asks_for, body
from cai_bootstrap.steps.misrevisions import negatives
from cai_bootstrap.steps.negatives import NEGATIVES, Answer, Sources
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step

_CORRUPTIONS = {"wrong_fact": "factual", "off_topic": "off_topic", "echo": "echo", "refusal": "refusal"}
"""Corruptions that are made as the rejected answers of the stages before are, and from which kind."""
_CUT = (0.3, 0.6)
"""Shares of an answer's words that are left where it breaks off."""
_FEW_WORDS = 4
"""Shorter answers that break off leave nothing."""


_REVISION_KINDS = (*flaws.FLAWS, "helpful")
_NUM_FAMILIES_TRIED = 6


@step(version=2)
def construct_judgements(work: Work, *, kept: Artifact, refusals: list[str]) -> None:
    """`records.jsonl`: judge questions on the kept answers and on corruptions of them, with the right and the wrong label.

    A response is the label and, after it, the good answer: «No. Honey.» So it is no fixed string, and a pair's two texts differ
    in the label alone. Each answer gives the two questions of one group; as many good answers are longer than their
    corruption as shorter. Raises StepFailed for a kind of question that is not known.
    """
    shares: dict[str, float] = work.settings["kind_shares"]
    _refuse_unknown(shares, judgements.KINDS)
    rng = random.Random(work.seed)
    rows = {row["prompt_id"]: row for row in kept.iter_rows()}
    answers = [Answer.of(row) for row in rows.values()]
    cases = dict(_cases(answers, Sources(rows=answers, zero_shot={}, run_on={}, refusals=refusals), rng))
    even = set(judgements.even_lengths(list(cases.values()), rng))
    left = [(prompt_id, case) for prompt_id, case in cases.items() if case in even]
    for prompt_id in rows.keys() - dict(left).keys():
        reason = "its length would tell the label" if prompt_id in cases else "no corruption fits"
        work.drop([{**rows[prompt_id], "step": "constructed", "reason": reason}])
    work.drop([])
    work.write_rows("records.jsonl", _judgements(left, rows, shares, rng))


@step(version=1)
def construct_revisions(work: Work, *, kept: Artifact, refusals: list[str]) -> None:
    """`records.jsonl`: drafts with a known flaw to revise; the kept answer is the right revision.

    Sentences get a flaw or a piece of feedback, `num_per_answer` of different kinds each; a question's answer gives a draft
    that dodges it, to be rejected by a refusal among others. Only sentences that rules find sound are used, of words that
    come twice at least among the kept answers. Raises StepFailed for a kind of revision that is not known.
    """
    _refuse_unknown(work.settings["kind_shares"], _REVISION_KINDS)
    rng = random.Random(work.seed)
    used = Counter(word for row in kept.iter_rows() for word in set(spelt(row["text"])) | set(spelt(row["instruction"])))
    known = {word for word, count in used.items() if count > 1}
    work.drop([])
    work.write_rows("records.jsonl", _revisions(work, kept, known, refusals, rng))


def _revisions(
    work: Work, kept: Artifact, known: Collection[str], refusals: Sequence[str], rng: random.Random
) -> Iterator[dict[str, Any]]:
    shares: dict[str, float] = work.settings["kind_shares"]
    given = dict.fromkeys(shares, 0)
    for row in kept.iter_rows():
        if not is_sound(row["text"], known):
            work.drop([{**row, "step": "constructed", "reason": "not surely a sound sentence"}])
            continue
        made: list[Flawed] = []
        for kind in sorted(shares, key=lambda kind: given[kind] / shares[kind]):  # what is furthest behind its share first
            found = _flaw(kind, row, rng)
            if found is not None and len(made) < work.settings["num_per_answer"]:
                made.append(found)
        if not made:
            work.drop([{**row, "step": "constructed", "reason": "no flaw fits"}])
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


def _cases(answers: Sequence[Answer], sources: Sources, rng: random.Random) -> Iterator[tuple[str, Case]]:
    """An answer's id and the case made of it, the kinds of corruption in turn."""
    turns = itertools.cycle([*_CORRUPTIONS, "incomplete"])
    for answer in answers:
        for corruption in itertools.islice(turns, len(_CORRUPTIONS) + 1):
            text = _corrupted(answer, corruption, sources, rng)
            if text and english.plain(text) != english.plain(answer.text):
                yield answer.prompt_id, Case(answer.instruction, answer.text, text, corruption)
                break


def _corrupted(answer: Answer, corruption: str, sources: Sources, rng: random.Random) -> str:
    if corruption == "incomplete":
        words = answer.text.split()
        return " ".join(words[: max(1, int(rng.choice(_CUT) * len(words)))]) if len(words) >= _FEW_WORDS else ""
    if corruption == "wrong_fact" and asks_for(answer.kind) not in ("answer", "complete"):
        return ""
    text, _, origin = NEGATIVES[_CORRUPTIONS[corruption]](answer, sources, rng)
    # Where a kind has nothing to work with it gives an answer to something else.
    fell_back = corruption != "off_topic" and origin.startswith("answer to") and not origin.endswith("of the same kind")
    return "" if fell_back else text.strip()


def _judgements(
    cases: Sequence[tuple[str, Case]], rows: dict[str, dict[str, Any]], shares: dict[str, float], rng: random.Random
) -> Iterator[dict[str, Any]]:
    given = dict.fromkeys(shares, 0)
    for prompt_id, case in cases:
        fitting = [kind for kind in judgements.kinds_for(case.corruption) if shares.get(kind)]
        if not fitting:
            continue
        kind = min(fitting, key=lambda kind: given[kind] / shares[kind])  # whichever is furthest behind its share
        for number, made in enumerate(judgements.questions(case, rng, group=prompt_id, kinds=[kind])):
            given[kind] += 1
            yield {
                **rows[prompt_id],
                "prompt_id": f"{made.group}-{number}",
                "kind": kind,
                "instruction": made.instruction,
                "text": f"{made.right} {case.good}",
                "wrong": [[f"{made.wrong} {case.good}", f"{case.corruption}, the other label", True]],
            }
