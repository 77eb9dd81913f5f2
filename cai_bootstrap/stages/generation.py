"""Stage 3: write material of a type that is asked for: questions, facts, examples, requests, instructions."""

from __future__ import annotations

from cai_bootstrap.stages.implicit import STAGE as IMPLICIT
from cai_bootstrap.stages.paths import few_shot_pairs
from cai_bootstrap.stages.stage import Stage
from cai_bootstrap.steps.filter import keep_diverse

_SORTS = (
    "question|fact|request|instruction|greeting|farewell|apology|thank|warning|promise|invitation|compliment|wish|"
    "complaint|excuse"
)

STAGE = Stage(
    name="generation",
    suite="generation",
    seeds=("generation", "implicit", "explicit"),
    kinds=(
        ("write_example", rf"(?:\w+ ){{1,4}}examples? of (?:an? )?(?:[a-z-]+ )?(?:{_SORTS})"),
        ("write_question", r"(?:Generate|Write|Make up|Create|Think of|Come up with|Ask)\b[^:]*\bquestion\b"),
        ("write_fact", r"(?:Write|Give|State|Tell me|Generate|Make up|Say|Create)\b[^:]*\b(?:fact|statement|true)\b"),
        ("write_request", r"[^:]*\brequest\b|(?:Politely ask|Ask)\b[^:?]*\b(?:politely|nicely|kindly)\b|Politely ask\b"),
        ("write_instruction", r"[^:]*\binstruction\b"),
        *IMPLICIT.kinds,
    ),
    path=few_shot_pairs,
    keep=keep_diverse,
)
