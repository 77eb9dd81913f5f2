"""What the scripted engine writes: instructions about made-up things, and the one right answer to each. Deterministic."""

from __future__ import annotations

import functools
import itertools
import random
import re

from cai_bootstrap import templates
from cai_bootstrap.critiques import load_critiques
from cai_bootstrap.evals.messages import sort_of
from cai_bootstrap.resources import read_yaml, resource

KIND_OF = {intro: kind for kind, intro in templates.LIST_INTROS.items()}
"""By the line above a list of instructions, their kind."""

# Words that exist, each often enough in a run: revisions are made of sentences whose words come twice.
_ADJECTIVES = """old new small large quiet empty wooden white yellow narrow famous broken pretty round heavy
bright strange modern lonely dusty""".split()
_NOUNS = """house church tower market school bakery mill farm castle library museum hotel barn factory theatre chapel
cottage kiosk workshop windmill""".split()
_PLACES = """river forest bridge garden station harbour lake road hill beach field canal valley island meadow
square park fountain pond border""".split()

_MESSAGES = (
    "Thanks for the {} and the {}.",
    "Hello from the {} and the {}.",
    "Goodbye to the {} and the {}.",
    "How are the {} and the {}?",
    "My {} won the {}.",
    "Our {} lost the {}.",
    "Sorry about the {} and the {}.",
    "Would you like the {} and the {}?",
    "Our {} needs a {}.",
    "I wonder about the {} and the {}.",
)
"""A message of each sort that `evals.messages` knows."""
_HARMS = """annoy bully cheat deceive frighten humiliate hurt insult kidnap mock poison punish rob sabotage scare shame slap
steal torment trick whip""".split()


def invented(key: str | random.Random) -> str:
    """A made-up word that depends on `key` only, or is drawn; it ends in a vowel, so no plural is folded."""
    rng = key if isinstance(key, random.Random) else random.Random(key)
    return "".join(rng.choice("bdfgklmprtv") + rng.choice("aeiou") for _ in range(4))


def instruction_of(kind: str, key: str) -> str:
    """A well-formed instruction of that kind, about things that depend on `key`.

    It begins as no committed seed does, so that it counts for whichever form was asked for, and repeats no content word, since
    a topic may fill up.
    """
    first, second = invented(f"{key} first"), invented(f"{key} second")
    rng = random.Random(key)
    adjective, noun, place = (rng.choice(words) for words in (_ADJECTIVES, _NOUNS, _PLACES))
    message = rng.choice(_MESSAGES).format(first, second)
    return {
        "answer": f"Which {first} has a {second}?",
        "complete": f"Complete: The {first} and the {second} of the",
        "generate": f"Describe the {adjective} {noun} by the {place}.",
        "respond": f"Respond to: {message}",
        "question": f"In which {first} is a {second}?",
        "statement": f"The {first} and the {second} of the",
        "opener": message,
        "write_question": f"Say a question about the {first}.",
        "write_fact": f"Say a fact about the {first}.",
        "write_example": f"Say an example of a warning about a {first}.",
        "write_request": f"Say a polite request about a {first}.",
        "write_instruction": f"Say an instruction about a {first}.",
        "harmful": f"How can I {rng.choice(_HARMS)} the {first} and the {second}?",
        "borderline": f"How do you {first} a {second}?",
        "ordinary": f"What is {first.capitalize()} to a {second}?",
    }[kind]


def answer_to(instruction: str) -> str:
    """The one right answer to what `instruction_of` wrote, in the form that it asks for; some answer to anything else."""
    word, last = invented(f"answer to {instruction}"), instruction.split()[-1].rstrip(".?!")
    rng = random.Random(instruction)
    if asked := re.match(r"Say an? (?:polite )?(question|fact|request|instruction|example)", instruction):
        return {
            "question": f"Why does the {last} eat {word}?",
            "fact": f"The {last} is a {word}.",
            "request": f"Could you please bring me the {last} and the {word}?",
            "instruction": f"Put the {last} on the {word}.",
            "example": f"Be careful with the {last} and the {word}!",
        }[asked.group(1)]
    if told := re.match(r"Describe (the .+) by (the .+)\.", instruction):
        return f"{told.group(1).capitalize()} stands near {told.group(2)}."
    if instruction.startswith(("Respond", "My ", "Our ")) or sort_of(instruction, "wonder"):
        return f"That is a very good {word}."
    if instruction.startswith("How can one"):
        return f"I'm sorry, but I cannot help you to take a {word} from anybody."
    if instruction.startswith("How do you"):
        return f"Put some {word} on it every day."
    if instruction.startswith(("Complete", "The ")):
        return word
    return f"It stands near the {rng.choice(_ADJECTIVES)} {rng.choice(_PLACES)}."


def refusal(key: str) -> str:
    """A refusal that no other key gives."""
    return f"I cannot help with the {invented(key)}."


@functools.cache
def worked_examples() -> dict[str, frozenset[str]]:
    """By instruction the answers of the committed worked examples: what the scripted model knows by heart."""
    found: dict[str, set[str]] = {}
    for path in sorted(resource("data/seeds").glob("*.yaml")):
        seeds = read_yaml(path)
        of_forms = {name: given for name, given in seeds.get("examples", {}).items() if " " in name}
        for question, answer in itertools.chain(*seeds["shots"].values(), *of_forms.values()):
            found.setdefault(question, set()).add(answer)
        for question, short, *_ in seeds.get("worked", []):
            found.setdefault(question, {short})
        for request in itertools.chain(*seeds["instructions"].get("harmful", {}).values()):  # prompts themselves in stage 6
            found.setdefault(request, {f"I won't help you with the {invented(request)}, because that is wrong."})
    for critique in itertools.chain.from_iterable(load_critiques().values()):
        found.setdefault(critique.instruction, set()).add(critique.revision)
    return {question: frozenset(answers) for question, answers in found.items()}
