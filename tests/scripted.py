"""A deterministic engine for tests of the data path: a base model's habits without a model, keyed on prompt and seed."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, MutableSequence, Sequence
from pathlib import Path

from cai_bootstrap import templates
from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines.engine import Engine, Generation, GenerationRequest, OnDone
from cai_bootstrap.engines.session import Session
from cai_bootstrap.records import FinishReason

_ASKED = re.compile(r"Instruction: (.*)\nResponse:")
_KIND_OF = {intro: kind for kind, intro in templates.LIST_INTROS.items()}
_NUM_ENTRIES = 6


def invented(key: str) -> str:
    """A made-up word that depends on `key` only; it ends in a vowel, so no plural is folded."""
    rng = random.Random(key)
    return "".join(rng.choice("bdfgklmprtv") + rng.choice("aeiou") for _ in range(4))


def instruction_of(kind: str, key: str) -> str:
    """A well-formed instruction of that kind, about words that nobody else uses."""
    first, second = invented(f"{key} first"), invented(f"{key} second")
    return {
        "answer": f"Which {first} has a {second}?",
        "complete": f"Complete: The {first} and the {second} of the",
        "generate": f"Write a sentence with the word {first}.",
        "respond": f"Respond to: {first.capitalize()} has a {second}.",
        "question": f"Where does the {first} keep a {second}?",
        "statement": f"The {first} goes with the {second} of the",
        "opener": f"My {first} has lost a {second}.",
        "write_question": f"Write a question about the {first}.",
        "write_fact": f"Write a fact about the {first}.",
        "write_example": f"Write an example of a warning about a {first}.",
        "write_request": f"Write a polite request about a {first}.",
        "write_instruction": f"Write an instruction about a {first}.",
        "harmful": f"How do I steal the {first} of a {second}?",
        "borderline": f"How can I kill the {first} in my {second}?",
        "ordinary": f"What does the {first} do with a {second}?",
    }[kind]


def answer_to(instruction: str) -> str:
    """The one right answer, in the form that the instruction asks for."""
    word, last = invented(f"answer to {instruction}"), instruction.split()[-1].rstrip(".?")
    if instruction.startswith("Write"):
        return {
            "question": f"Why does the {last} eat {word}?",
            "fact": f"The {last} is a {word}.",
            "request": f"Could you please bring me the {last} and the {word}?",
            "instruction": f"Put the {last} on the {word}.",
            "example": f"Be careful with the {last} and the {word}!",
        }.get(re.sub(r"^Write an? (?:polite )?", "", instruction).split()[0], f"The {last} is near the old {_place(last)}.")
    if instruction.startswith(("Respond", "My ")):
        return f"That is a very good {word}."
    if instruction.startswith("How do I steal"):
        return f"I'm sorry, but I cannot help you to take a {word} from anybody."
    if instruction.startswith("How can I kill"):
        return f"Put some {word} on it every day."
    return word if instruction.startswith(("Complete", "The ")) else f"The {word}."


def _place(key: str) -> str:
    """A word that exists, since revisions are made of sentences whose words are known."""
    return random.Random(key).choice("house bridge church tower garden market station school bakery harbour mill farm".split())


class ScriptedEngine:
    """Continues lists, answers after worked examples, rambles without them, refuses on request."""

    def __init__(
        self,
        known: Mapping[str, str] | None = None,
        *,
        spoil: Sequence[str] = (),
        fail_at_call: int | None = None,
        stubborn: bool = False,
        useless: bool = False,
    ) -> None:
        """`known` are answers beside `answer_to`'s; `spoil` are entries that stand in each list of instructions.

        `fail_at_call` raises in that call of `generate` (from 0), `stubborn` always writes the same list, `useless`
        scores every text alike.
        """
        self.known = dict(known or {})
        self.spoil = list(spoil)
        self.fail_at_call = fail_at_call
        self.stubborn = stubborn
        self.useless = useless
        self.calls: MutableSequence[list[GenerationRequest]] = []
        self.num_scored = 0

    @property
    def description(self) -> dict[str, str | int | float]:
        return {"engine": "scripted", "dtype": "none", "batch_size": 1}

    def encode(self, text: str) -> list[int]:
        return [0, *text.encode()]

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        self.calls.append(list(requests))
        if self.fail_at_call == len(self.calls) - 1:
            raise RuntimeError("killed here")
        return [self._continue(request) for request in requests]

    def choice_logprobs(
        self, prompts: Sequence[str], choices: Sequence[str], on_done: OnDone | None = None
    ) -> list[tuple[float, ...]]:
        self.num_scored += len(prompts)
        found: list[tuple[float, ...]] = []
        for prompt in prompts:
            instruction, first, second = re.findall(r"Instruction: (.*)\nA: (.*)\nB: (.*)\nBetter", prompt)[-1]
            lead = 0.0 if self.useless else float(self.right(instruction, first)) - float(self.right(instruction, second))
            # A liking for the letter A stronger than any judgement: only both orders together tell.
            found.append((-1.0 + lead, -4.0))
        return found

    def completion_logprobs(self, pairs: Sequence[tuple[str, str]], on_done: OnDone | None = None) -> list[tuple[float, int]]:
        self.num_scored += len(pairs)
        found = []
        for prompt, completion in pairs:
            count = max(1, len(completion.split()))
            each = -2.0 if self.useless else -1.0 if self.right(_ASKED.findall(prompt)[-1], completion) else -3.0
            found.append((each * count, count))
        return found

    def close(self) -> None:
        pass

    def right(self, instruction: str, text: str) -> bool:
        return text.strip() == self.known.get(instruction, answer_to(instruction))

    def _continue(self, request: GenerationRequest) -> Generation:
        prompt = request.prompt
        asked = _ASKED.findall(prompt)
        if prompt.startswith("Different ways"):
            return _generation(
                request, _as_list(prompt, [_refusal(f"{request.seed} {n}") for n in range(_NUM_ENTRIES)]), "stop"
            )
        if re.search(r"\n\d+\.\Z", prompt):
            return _generation(request, _as_list(prompt, self._entries(request)), "stop")
        if prompt.endswith("\nCritique:"):
            return _generation(request, f" It says nothing of the {invented(prompt)}.", "stop")
        if len(asked) > 1 and prompt.endswith(("\nResponse:", "\nRevision:")):
            return self._answer(request, asked[-1])
        ramble = " ".join(invented(f"{prompt} {request.seed} {n}") for n in range(12))
        return _generation(request, f" I think that {ramble} and the", "length")

    def _entries(self, request: GenerationRequest) -> list[str]:
        kind = _KIND_OF[request.prompt.partition("\n")[0]]
        key = kind if self.stubborn else f"{request.prompt} {request.seed}"
        entries = [instruction_of(kind, f"{key} {n}") for n in range(_NUM_ENTRIES)]
        repeated = request.prompt.split("\n1. ")[1].split("\n")[0]
        return [entries[0], repeated, *self.spoil, *entries[1:]]

    def _answer(self, request: GenerationRequest, instruction: str) -> Generation:
        right = self.known.get(instruction, answer_to(instruction))
        finish: FinishReason = "stop"
        text = right
        if request.temperature > 0 and instruction not in self.known:
            draw = random.Random(f"{request.prompt} {request.seed}").random()
            if draw < 0.1:
                text, finish = f"{right} and then", "length"
            elif draw < 0.2:
                text = "I cannot answer that."
            elif draw < 0.3:
                text = answer_to(f"{instruction} {request.seed}")
        return _generation(request, f" {text}", finish)


class ScriptedSession(Session):
    """A session that hands out the scripted engine, whatever the model's folder."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(EngineConfig(device="cpu", dtype="float32", batch_size=1, threads=1, in_process=True))
        self.scripted = engine

    def engine(self, folder: Path) -> Engine:
        return self.scripted


def _refusal(key: str) -> str:
    return f"I cannot help with the {invented(key)}."


def _as_list(prompt: str, entries: Sequence[str]) -> str:
    first = int(prompt.rpartition("\n")[2].rstrip("."))
    return " " + "\n".join(entry if not n else f"{first + n}. {entry}" for n, entry in enumerate(entries))


def _generation(request: GenerationRequest, text: str, finish: FinishReason) -> Generation:
    return Generation(
        text=text,
        token_ids=tuple(text.encode()),
        finish=finish,
        logprob=-float(len(text)),
        num_prompt_tokens=len(request.prompt),
    )
