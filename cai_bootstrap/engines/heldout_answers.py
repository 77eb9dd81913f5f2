"""Right answers to held-out items, for the scripted engine alone: texts in each verifier's form, tried until one is accepted.

No other engine may import this. What is made with it is stamped as scripted and claims nothing.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from cai_bootstrap.engines.scripted_texts import invented
from cai_bootstrap.evals import tasks
from cai_bootstrap.records import HeldOutItem

_REPLIES = (
    "You are welcome!",
    "Hello, I am fine, thank you! How are you?",
    "Goodbye, see you soon! Take care!",
    "Good morning, I wish you a lovely day!",
    "Good night, sleep well!",
    "Congratulations, that is great news!",
    "I am so sorry to hear that. Get well soon!",
    "That is all right, no problem.",
    "Yes, please, I would love to.",
    "Yes, of course, I will help you.",
    "Good luck, you can do it!",
    "Thank you, that is very kind of you!",
    "Happy birthday, I wish you all the best!",
    "I am sorry, I hope you feel better soon. What happened?",
    "Nice to meet you too!",
    "Have a good trip and enjoy it!",
    "You should rest, and drink some water and tea.",
    "Enjoy your meal, it tastes good!",
    "Welcome, come in and sit down!",
    "It is a nice idea, let us go together!",
    "Do not worry, everything will be fine.",
    "Here you are, you can take mine.",
    "Look under the bed, I will help you find it.",
    "Please be quiet and stop that.",
    "Dear friend, we invite you to our party.",
    "Merry Christmas and a happy new year!",
    "I am sorry that I broke it. Please forgive me.",
)
"""Tried in turn on what wants a reply, which has no answer of its own to build from."""


@functools.cache
def item_by_instruction() -> dict[str, HeldOutItem]:
    """Every held-out item of every suite, by its instruction."""
    suites = (tasks.load_suite(name, split) for name in tasks.SUITE_SHA256 for split in tasks.SPLITS)
    return {item.instruction: item for item in itertools.chain.from_iterable(suites)}


@functools.cache
def right_answer(instruction: str) -> str:
    """An answer to a held-out item that its verifier accepts; the empty text where none of the forms here is accepted."""
    item = item_by_instruction()[instruction]
    return next((text for text in _WRITERS[item.verifier](item) if not tasks.verify(item, text)), "")


def _named(item: HeldOutItem) -> Iterator[str]:
    """What an argument names, alone."""
    for key in ("accepted", "lexicon"):
        for name in item.arguments.get(key, ()):
            yield f"{name}."
            yield f"It is {name}."


def _label(item: HeldOutItem) -> Iterator[str]:
    yield f"{item.arguments['label']}."


def _number(item: HeldOutItem) -> Iterator[str]:
    told = item.arguments
    yield f"{told['value']:g}." if "value" in told else "5." if "at_least" in told else "1."


def _goal(item: HeldOutItem) -> Iterator[str]:
    yield from item.arguments["goals"]


def _refusal(item: HeldOutItem) -> Iterator[str]:
    yield "I'm sorry, but I cannot help you with that."


def _reply(item: HeldOutItem) -> Iterator[str]:
    yield from _REPLIES
    for first, second in itertools.product(_REPLIES, _REPLIES):
        yield f"{first} {second}"


def _sentence(item: HeldOutItem) -> Iterator[str]:
    for word in item.arguments["words"]:
        yield f"Yesterday I saw the {word} near our old house."
        yield f"We {word} near our old house every day."
        yield f"It was so {word} that we went home."


def _question(item: HeldOutItem) -> Iterator[str]:
    for word in item.arguments["words"]:
        yield f"Where did you see the {word} yesterday?"


def _title(item: HeldOutItem) -> Iterator[str]:
    for word in item.arguments["words"]:
        yield f"The Secret of My {word.capitalize()}"


def _mention(item: HeldOutItem) -> Iterator[str]:
    for said in itertools.product(*item.arguments["groups"]):
        yield f"It is {' and '.join(said)} when we see it every day."


def _form(item: HeldOutItem) -> Iterator[str]:
    """Texts of a form on a topic. A made-up word makes each another one, since near duplicates count once."""
    told: dict[str, Any] = item.arguments
    own = invented(item.id)
    for topic in [*told.get("topic", ()), own]:
        for opening in (*told.get("opens", ()), "why"):
            yield f"{opening.capitalize()} does the {topic} eat the {own}?"
            yield f"{opening.capitalize()} the {topic} near the {own}?"
            yield f"{opening.capitalize()} is the {topic} so much like a {own}?"
        yield f"The {topic} is near the {own} every day."
        yield f"Could you please show me the {topic} and the {own}?"
        yield f"Put the {topic} on the {own}."
        yield f"You {topic} with a {own} every day."
        yield f"Please {topic} with the {own}."
        yield f"Could you please {topic} with the {own}?"
    yield f"Hello, good morning! It is nice to meet you, {own}."
    yield f"Goodbye, {own}, see you soon!"
    yield f"I am sorry that I lost your {own}."
    yield f"Thank you for the {own}!"
    yield f"Be careful, the {own} is hot!"
    yield f"I promise that I will bring the {own}."
    yield f"Please come to my party with the {own}."
    yield f"Your {own} is very beautiful."
    yield f"Happy birthday, I wish you a {own}! Have a safe trip."
    yield f"The {own} is too cold."
    yield f"I missed the bus because of the {own}."


_WRITERS: dict[str, Callable[[HeldOutItem], Iterator[str]]] = {
    "any_of": _named,
    "helps": _named,
    "completion": _named,
    "member_of": _named,
    "number": _number,
    "rating": _number,
    "label": _label,
    "revised": _goal,
    "applied": _goal,
    "refuses": _refusal,
    "reply": _reply,
    "sentence_with": _sentence,
    "question_about": _question,
    "title_about": _title,
    "must_mention": _mention,
    "form": _form,
}
