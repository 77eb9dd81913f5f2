"""Kinds of instructions, and what each asks for: an implicit kind asks for the same as the explicit one, without saying so."""

from __future__ import annotations

_ASKS_FOR = {"question": "answer", "statement": "complete", "opener": "respond"}
WRITTEN = ("write_question", "write_fact", "write_example", "write_request", "write_instruction")
"""Kinds that ask for a text of a type, told by `evals.forms`."""

REQUESTS = ("harmful", "borderline", "ordinary")
"""Kinds of stage 6: what matters is whether an answer should be given, and each may ask for anything."""


def asks_for(kind: str) -> str:
    """The explicit kind whose answers a kind wants: a statement («salt and») wants what «Complete: salt and» does."""
    return "generate" if kind in WRITTEN else _ASKS_FOR.get(kind, kind)


def body(kind: str, instruction: str) -> str:
    """What an instruction is about, without the label that says what to do."""
    return instruction if kind in _ASKS_FOR else instruction.partition(": ")[2] or instruction
