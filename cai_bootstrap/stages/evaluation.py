"""Stage 4: judge answers: is it correct, does it help, does it break a rule, how good is it, which of two is better.

The parent's own kept answers are what the tasks are made of, so the right response is known.
"""

from __future__ import annotations

from dataclasses import replace

from cai_bootstrap.stages.implicit import STAGE as IMPLICIT
from cai_bootstrap.steps.construct import construct_judgements
from cai_bootstrap.steps.decide import decide_judging_gate

STAGE = replace(
    IMPLICIT,
    name="evaluation",
    suite="evaluation",
    seeds=("explicit", "implicit"),
    construct=construct_judgements,
    constructed_from=("evasions", "conduct", "worked", "principles"),
    decide=decide_judging_gate,
    decided_from_pairs=True,
)
