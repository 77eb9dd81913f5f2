"""Stage 4: judge answers: is it correct, does it help, does it break a rule, how good is it, which of two is better.

The parent's own kept answers are what the tasks are made of, so the right response is known.
"""

from __future__ import annotations

from cai_bootstrap.stages.explicit import STAGE as EXPLICIT
from cai_bootstrap.stages.paths import few_shot_pairs
from cai_bootstrap.stages.stage import Stage
from cai_bootstrap.steps.construct import construct_judgements
from cai_bootstrap.steps.filter import keep_best

STAGE = Stage(
    name="evaluation",
    suite="evaluation",
    seeds=("explicit",),
    kinds=EXPLICIT.kinds,
    path=few_shot_pairs,
    keep=keep_best,
    construct=construct_judgements,
)
