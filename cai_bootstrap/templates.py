"""Every text that a model is given, rendered in one place. Completions style: no chat template anywhere."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Sequence

Shots = Sequence[tuple[str, str]]

RESPONSE_STOPS = ("\nInstruction:",)
"""Ends a few-shot answer. A whole line start, so that lists, code and blank lines inside an answer survive."""

LIST_INTROS = {
    "answer": "Simple questions that every child can answer with a word or two:",
    "complete": "Unfinished sentences and phrases, each with one obvious ending that is left out:",
    "generate": "Short writing tasks, each done in one sentence or one word:",
    "respond": "Things that people say to each other and that want a friendly reply:",
    "question": "Questions that people ask each other, answered with a word or two:",
    "statement": "Beginnings of sentences and sayings that everybody knows how to end:",
    "write_question": "Writing tasks, each of which asks for one question:",
    "write_fact": "Writing tasks, each of which asks for one true statement:",
    "write_example": "Writing tasks, each of which asks for an example of a short text:",
    "write_request": "Writing tasks, each of which asks for one polite request:",
    "write_instruction": "Writing tasks, each of which asks for one instruction that tells somebody what to do:",
    "harmful": "Bad requests, each of which a good person would refuse to help with:",
    "borderline": "Harmless requests that sound worse than they are:",
    "ordinary": "Everyday questions and small tasks:",
    "opener": "What people say to a friend who then has something to say to it:",
}
"""The line above a list of instructions, by their kind."""


def raw(instruction: str) -> str:
    """The bare instruction on a line of its own."""
    return f"{instruction}\n"


def cued(instruction: str) -> str:
    """The format that is trained and evaluated."""
    return f"Instruction: {instruction}\nResponse:"


def response(text: str) -> str:
    """A response as it follows `cued`: one space, then the text."""
    return f" {text}"


def few_shot(shots: Shots, instruction: str) -> str:
    """Worked examples, then the instruction in the same format."""
    examples = "".join(f"{cued(question)}{response(answer)}\n\n" for question, answer in shots)
    return examples + cued(instruction)


def instruction_list(kind: str, examples: Sequence[str]) -> str:
    """A numbered list of one kind of instruction, ending where the next entry begins."""
    lines = "".join(f"{number}. {example}\n" for number, example in enumerate(examples, start=1))
    return f"{LIST_INTROS[kind]}\n\n{lines}{len(examples) + 1}."


def refusal_list(examples: Sequence[str]) -> str:
    """A numbered list of ways to refuse, ending where the next entry begins."""
    lines = "".join(f"{number}. {example}\n" for number, example in enumerate(examples, start=1))
    return f"Different ways to say that one cannot or will not help:\n\n{lines}{len(examples) + 1}."


_LABEL = re.compile(r"\b((?i:instruction|response|critique|revision|rule|question|better answer|answer)|A|B)\s*:")
"""What begins a part of these prompts."""


def quoted(text: str) -> str:
    """A text as it may stand inside a prompt that speaks about it: on one line, and without labels that the prompt has itself.

    Special tokens in it are plain characters to every engine.
    """
    return _LABEL.sub(r"\1 -", " ".join(text.split()))


def critic(principle: str, instruction: str, first: str, second: str) -> str:
    """A rubric with one principle of the constitution and two answers; the next token is « A» or « B»."""
    # What does not change stands first: its keys and values are computed once for all verdicts.
    return (
        "Two answers to an instruction are compared. The better one follows the rule.\n\n"
        "Rule: Answer what was asked.\nInstruction: Name the colour of grass.\nA: Green.\nB: I like turtles.\n"
        "Better answer: A\n\n"
        "Rule: Say something of your own.\nInstruction: Complete: Cats and\nA: Cats and Cats and\nB: dogs\n"
        "Better answer: B\n\n"
        f"Rule: {principle}\nInstruction: {quoted(instruction)}\nA: {quoted(first)}\nB: {quoted(second)}\nBetter answer:"
    )


CHOICES = (" A", " B")

LINE_STOP = ("\n",)
"""Ends a critique and a revision, which are one line each."""


def critique(principle: str, examples: Sequence[tuple[str, str, str]], instruction: str, answer: str) -> str:
    """Worked examples (instruction, response, critique) of one principle, then a response whose critique comes next."""
    told = "".join(f"{_criticised(*example[:2])} {example[2]}\n\n" for example in examples)
    return f"Responses are criticised by one rule.\nRule: {principle}\n\n{told}{_criticised(instruction, answer)}"


def revision(
    principle: str, examples: Sequence[tuple[str, str, str, str]], instruction: str, answer: str, criticism: str
) -> str:
    """Worked examples (instruction, response, critique, revision) of one principle, then what is to be revised."""
    told = "".join(f"{_criticised(*example[:2])} {example[2]}\nRevision: {example[3]}\n\n" for example in examples)
    return (
        f"Responses are criticised and revised by one rule.\nRule: {principle}\n\n{told}"
        f"{_criticised(instruction, answer)} {quoted(criticism)}\nRevision:"
    )


def _criticised(instruction: str, answer: str) -> str:
    return f"Instruction: {quoted(instruction)}\nResponse: {quoted(answer)}\nCritique:"


def digest() -> str:
    """SHA-256 of this module's source: recorded with every pair."""
    return hashlib.sha256(inspect.getsource(inspect.getmodule(digest)).encode()).hexdigest()  # type: ignore[arg-type]
