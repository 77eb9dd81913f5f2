"""Stage 5: revise drafts: fix an error, say it more clearly, make an answer helpful, apply feedback.

The parent's own kept answers are what the tasks are made of, so the right response is known.
"""

from __future__ import annotations

from cai_bootstrap.stages.explicit import STAGE as EXPLICIT
from cai_bootstrap.stages.paths import few_shot_pairs
from cai_bootstrap.stages.stage import Stage
from cai_bootstrap.steps.construct import construct_revisions
from cai_bootstrap.steps.filter import keep_best

STAGE = Stage(
    name="revision",
    suite="revision",
    seeds=("explicit",),
    kinds=EXPLICIT.kinds,
    path=few_shot_pairs,
    keep=keep_best,
    construct=construct_revisions,
)
