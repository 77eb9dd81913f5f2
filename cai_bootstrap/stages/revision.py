"""Stage 5: revise drafts: fix an error, say it more clearly, make an answer helpful, apply feedback.

The parent's own kept answers are what the tasks are made of, so the right response is known.
"""

from __future__ import annotations

from dataclasses import replace

from cai_bootstrap.stages.explicit import STAGE as EXPLICIT
from cai_bootstrap.steps.construct import construct_revisions

STAGE = replace(
    EXPLICIT,
    name="revision",
    suite="revision",
    construct=construct_revisions,
    constructed_from=("refusals", "lexicon", "sentences", "worked"),
)
