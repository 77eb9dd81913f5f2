"""Stage 6: answer by the principles of the constitution: decline what does harm, and answer everything else well."""

from __future__ import annotations

from cai_bootstrap.stages.paths import constitutional_pairs
from cai_bootstrap.stages.stage import Stage
from cai_bootstrap.steps.decide import decide_safety_gate
from cai_bootstrap.steps.revisions import keep_revisions

STAGE = Stage(
    name="constitutional",
    suite="constitutional",
    seeds=("constitutional",),
    kinds=(),  # its prompts' kinds are those that were asked for: no pattern tells harm
    path=constitutional_pairs,
    roles=("prompts", "answers", "critic", "reviser", "judge"),
    keep=keep_revisions,
    decide=decide_safety_gate,
)
