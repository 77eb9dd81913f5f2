"""Stage 4: judge answers: is it correct, does it help, does it break a rule, how good is it, which of two is better.

The parent's own kept answers are what the tasks are made of, so the right response is known.
"""

from __future__ import annotations

from dataclasses import replace

from cai_bootstrap.stages.explicit import STAGE as EXPLICIT
from cai_bootstrap.steps.construct import construct_judgements

STAGE = replace(EXPLICIT, name="evaluation", suite="evaluation", construct=construct_judgements)
