"""Stage 2: do what is meant and not said: answer questions, end unfinished statements, reply to openers."""

from __future__ import annotations

from cai_bootstrap.stages.explicit import STAGE as EXPLICIT
from cai_bootstrap.stages.paths import few_shot_pairs
from cai_bootstrap.stages.stage import Stage
from cai_bootstrap.steps.filter import keep_best

STAGE = Stage(
    name="implicit",
    suite="implicit",
    seeds=("implicit", "explicit"),
    kinds=(
        *EXPLICIT.kinds[:-1],
        ("answer", r"Answer this:"),
        ("question", r".*\?$"),
        ("statement", r".*[^.!?]$"),
        ("opener", r""),
    ),
    path=few_shot_pairs,
    keep=keep_best,
)
