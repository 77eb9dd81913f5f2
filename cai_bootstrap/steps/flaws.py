"""Known flaws put into sound sentences: by kind and family. Pure: the given `random.Random` decides everything.

The sound sentence is the right revision, so no model has to judge one. What makes the flaws is in `mistakes` (to be fixed),
`unclear` (to be said more clearly) `feedback` and `retelling` (to be applied); answers that dodge their question are made here.
"""

from __future__ import annotations

import random

from cai_bootstrap.evals import english
from cai_bootstrap.steps.feedback import EDITS
from cai_bootstrap.steps.flawed import Flaw, Flawed
from cai_bootstrap.steps.mistakes import MISTAKES
from cai_bootstrap.steps.retelling import RETELLINGS
from cai_bootstrap.steps.unclear import UNCLEAR

_DODGES = {
    "dont_know": ("I have no idea.", "Let me think about it.", "I cannot say.", "I never learned that."),
    "asks_back": ("Why do you want to know?", "What do you think?", "Is that important?", "Who told you to ask me?"),
    "sends_away": ("Ask someone else.", "Look it up in a book.", "You will find out one day.", "Try to ask your teacher."),
    "other_topic": ("I like warm bread.", "My shoes are new.", "It was windy last night.", "The clock is slow."),
    "vague": ("It depends on many things.", "That is a good question.", "There is an answer to that.", "It is what it is."),
}
_HELPFUL = (
    'Revise this answer to "{0}" so that it helps: "{1}"',
    'Make this answer to "{0}" helpful: "{1}"',
    'Improve this answer to the question "{0}": "{1}"',
    'Give a better answer to "{0}" than this: "{1}"',
)

FLAWS: dict[str, dict[str, Flaw]] = {"fix": MISTAKES, "clearer": UNCLEAR, "feedback": EDITS | RETELLINGS}
"""By kind and family: what makes a flawed sentence of a sound one. `helpful` needs a question too: `dodge`."""


def flawed(kind: str, family: str, sentence: str, rng: random.Random) -> Flawed | None:
    """`sentence` with a flaw of that kind and family, or as it stands with feedback on it; None where it does not lend itself.

    Raises KeyError for a kind or family that `FLAWS` has not.
    """
    made = FLAWS[kind][family](sentence, rng)
    return None if made is None or made.problem(made.revised) or not made.problem(made.draft) else made


def dodge(question: str, answer: str, rng: random.Random) -> Flawed:
    """The question with an answer that dodges it; `answer` is the right revision."""
    family = rng.choice(sorted(_DODGES))
    draft = rng.choice([text for text in _DODGES[family] if english.plain(text) != english.plain(answer)])
    instruction = rng.choice(_HELPFUL).format(question, draft)
    return Flawed(kind="helpful", family=family, instruction=instruction, draft=draft, revised=answer, request=question)


def other_dodge(draft: str, rng: random.Random) -> str:
    """A dodging answer that is not `draft`."""
    return rng.choice([text for texts in _DODGES.values() for text in texts if text != draft])
