"""Keep at most one answer an instruction; everything else is dropped with its reason."""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from cai_bootstrap.config import SelectionMethod
from cai_bootstrap.errors import StepFailed
from cai_bootstrap.evals import english, forms
from cai_bootstrap.records import Completion, Prompt, Verdict
from cai_bootstrap.steps.duplicates import NEAR_DUPLICATE, DuplicateIndex, content_words
from cai_bootstrap.steps.judge import answer_key, answered
from cai_bootstrap.steps.kinds import WRITTEN, asks_for, body
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step

_FORGED = re.compile(r"\b(?:Instruction|Response)\s*:|<[a-z_|/]+>|\[(?:INST|/INST)\]", re.IGNORECASE)
_ONE_WORD = re.compile(
    r"\b(?:one|a|an) (?:\w+ )?word\b|\bname (?:of|one|an?)\b|^name\b|\bgive (?:one|a) word|\badjective\b|\bexample of\b"
)
_APOLOGY = re.compile(r"\b(?:sorry|apolog|excuse me)")
NOT_JUDGED = "not judged"
_EMPTY_WORDS = frozenset("i you it he she we they is are was its im".split())


def unfit(completion: Completion, prompt: Prompt) -> str:
    """Why a candidate may not be chosen, whatever its score; empty when it may."""
    if completion.finish == "length":
        return "cut at the token limit"
    return unfit_text(completion.text, prompt)


def malformed_text(text: str) -> str:
    """Why a text may not be chosen, whatever was asked; empty when it may."""
    if not text:
        return "empty"
    if _FORGED.search(text):
        return "forges a delimiter"
    if not text.isascii() or re.search(r"[<>{}\[\]|*#=\\_]|\.\.\.|__", text):
        return "malformed"
    if text[-1] in ",;:-":
        return "breaks off"
    if english.is_loop(text):
        return "loop"
    return "tautology" if any(english.is_tautology(sentence) for sentence in english.sentences(text)) else ""


@functools.lru_cache(maxsize=256)  # several candidates of a prompt say the same as a rule
def unfit_text(text: str, prompt: Prompt) -> str:
    """As `unfit`, for a text that was not cut at the limit."""
    instruction = prompt.instruction
    if reason := malformed_text(text):
        return reason
    if english.is_refusal(text):
        return "refusal"
    asked = asks_for(prompt.kind)
    if not answer_key(text, instruction) or (asked != "complete" and english.is_echo(text, instruction)):
        return "echo"
    if asked != "answer" and set(english.words(text)) <= {*english.words(instruction), *_EMPTY_WORDS}:
        return "says nothing of its own"  # an answer may be one of two that the question names
    return wrong_form(text, prompt)


def wrong_form(text: str, prompt: Prompt) -> str:
    """Why the text does not have the form that the instruction itself asks for; empty when it has."""
    asked, words, kind = prompt.instruction.lower(), text.split(), asks_for(prompt.kind)
    ends = text[-1] in ".!?\"'"
    if "\n" in text:
        return "more than one line"
    if prompt.kind in WRITTEN:
        return ""  # told by `forms.on_type`
    if kind in ("answer", "complete"):
        return "more than one sentence" if len(english.sentences(text)) > 1 else ""
    if kind == "respond":
        message = content_words(body(prompt.kind, asked))
        said = content_words(text)
        if len(words) < 2 or not ends:
            return "not a reply"
        if _APOLOGY.search(asked) and _APOLOGY.search(text.lower()):
            return "apologises in return"
        return "repeats the message" if message and len(said & message) / len(message) > 0.6 else ""
    if "question" in asked:
        return "" if text.endswith("?") and len(words) >= 3 else "not a question"
    if re.search(r"\btitle\b", asked):
        return "" if 2 <= len(words) <= 10 and text[-1] not in ".?" else "not a title"
    if _ONE_WORD.search(asked) and "sentence" not in asked:
        return "" if len(words) <= 4 else "more than was asked for"
    if len(words) < 4 or not ends or not english.has_verb(text):
        return "not a sentence"
    if len(english.sentences(text)) > 2:
        return "more than was asked for"
    named = re.search(r"\b(?:with the word|contains the word|use the word|uses the word|using the word) \"?(\w+)", asked)
    if named and not english.find(english.words(named.group(1)), english.words(text)):
        return "does not use the word"
    topic = re.search(r"\babout (?:an? |the )?(?:\w+ )*?(\w+)\.$", asked)
    if topic and topic.group(1) not in ("something", "anything", "someone") and not _mentions(topic.group(1), text):
        return "off topic"
    return ""


def _mentions(word: str, text: str) -> bool:
    stem = english.singular(word)[:5]
    return any(other.startswith(stem) for other in english.words(text))


@step(version=6)
def keep_best(work: Work, *, instructions: Artifact, candidates: Artifact, verdicts: Artifact) -> None:
    """`records.jsonl`: for each kept instruction its chosen answer, score and where both came from.

    Reads the three artifacts row by row, side by side. Raises StepFailed when they do not stand in one order.
    """
    work.drop([])
    work.write_rows("records.jsonl", _kept(work, answered(instructions, candidates), verdicts.iter_rows(), unfit))


@step(version=5)
def keep_diverse(work: Work, *, instructions: Artifact, candidates: Artifact, verdicts: Artifact) -> None:
    """As `keep_best`, for texts that are asked for by their type: only those on type, and none that nearly repeats another."""
    seen = DuplicateIndex(NEAR_DUPLICATE)

    def reason_against(candidate: Completion, prompt: Prompt) -> str:
        reason = unfit(candidate, prompt)
        if not reason and prompt.kind in WRITTEN:
            reason = forms.on_type(prompt.instruction, candidate.text)
            if not reason and seen.find(candidate.text):
                reason = "nearly another answer"
        return reason

    def rows() -> Iterator[dict[str, Any]]:
        for row in _kept(work, answered(instructions, candidates), verdicts.iter_rows(), reason_against):
            seen.add([row["text"]])
            yield row

    work.drop([])
    work.write_rows("records.jsonl", rows())


def _kept(
    work: Work,
    groups: Iterator[tuple[Prompt, list[Completion]]],
    verdicts: Iterator[dict[str, Any]],
    reason_against: Callable[[Completion, Prompt], str],
) -> Iterator[dict[str, Any]]:
    methods = {kind: SelectionMethod(name).value for kind, name in work.settings["methods"].items()}
    for prompt, group in groups:
        method = methods[prompt.kind]
        fit: list[tuple[float, float, Completion, Verdict]] = []
        reasons: Counter[str] = Counter()
        dropped: list[dict[str, Any]] = []
        judged = [Verdict.from_row(row) for row in itertools.islice(verdicts, len(group))]
        if [verdict.completion_id for verdict in judged] != [candidate.id for candidate in group]:
            raise StepFailed(f"the verdicts on the candidates of {prompt.id!r} do not stand where these do")
        for candidate, verdict in zip(group, judged, strict=True):
            reason = reason_against(candidate, prompt)
            if not reason and method not in verdict.scores:
                reason = NOT_JUDGED
            if reason:
                reasons[reason] += 1
                dropped.append(_drop(prompt, candidate, reason))
                continue
            fit.append((verdict.scores[method], verdict.scores["fewshot_logprob"], candidate, verdict))
        if not fit:
            dropped.append(_drop(prompt, None, f"no fit candidate ({reasons.most_common(1)[0][0] if reasons else 'none'})"))
            work.drop(dropped)
            continue
        fit.sort(key=lambda entry: (-entry[0], -entry[1], entry[2].id))
        score, _, best, verdict = fit[0]
        dropped += [_drop(prompt, other, "another candidate is better") for _, _, other, _ in fit[1:]]
        if score < work.settings["min_scores"][method]:
            work.drop([*dropped, _drop(prompt, best, f"{method} too low")])
            continue
        work.drop(dropped)
        yield {
            "prompt_id": prompt.id,
            "kind": prompt.kind,
            "instruction": prompt.instruction,
            "text": best.text,
            "score": score,
            "selection": method,
            "completion_id": best.id,
            "completion_logprob": best.logprob,
            "completion_seed": best.seed,
            "rendered_prompt": best.rendered_prompt,
            "scores": verdict.scores,
            "principle": verdict.principle,
            "instruction_source": prompt.source,
        }


def _drop(prompt: Prompt, candidate: Completion | None, reason: str) -> dict[str, Any]:
    return {
        "step": "kept",
        "reason": reason,
        "prompt_id": prompt.id,
        "kind": prompt.kind,
        "instruction": prompt.instruction,
        "text": None if candidate is None else candidate.text,
    }
