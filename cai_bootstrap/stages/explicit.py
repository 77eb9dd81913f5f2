"""Stage 1: follow explicit, unambiguous instructions: answer, complete, generate, respond."""

from __future__ import annotations

from cai_bootstrap.stages.paths import few_shot_pairs
from cai_bootstrap.stages.stage import Stage
from cai_bootstrap.steps.filter import keep_best

STAGE = Stage(
    name="explicit",
    suite="explicit",
    seeds=("explicit",),
    kinds=(
        ("complete", r"Complete|Finish"),
        ("respond", r"Respond"),
        ("generate", r"Generate|Write|Describe|Give one word|Name one"),
        ("answer", r""),
    ),
    path=few_shot_pairs,
    keep=keep_best,
)
