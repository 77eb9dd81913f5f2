"""Outcomes of held-out items, for tests of what is counted and decided from them."""

from __future__ import annotations

from cai_bootstrap.records import EvalRecord


def outcome(
    item_id: str,
    *,
    content: bool,
    strict: bool,
    kind: str = "answer",
    family: str = "f",
    arm: str = "trained",
    reason: str = "",
) -> EvalRecord:
    """A record of an item of which only the outcome matters."""
    return EvalRecord(
        item_id=item_id,
        kind=kind,
        family=family,
        arm=arm,
        rendered_prompt="",
        output="",
        answer="",
        finish="eos",
        num_tokens=1,
        content=content,
        strict=strict,
        reason=reason,
    )
