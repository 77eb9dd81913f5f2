"""`engine=scripted`: a model's part, played without a model. For trying the whole curriculum and its failures in a minute.

It plays whichever model stands in the folder that it is given, which the manifests tell: a base model continues lists, answers
after worked examples, and rambles without them; a model of stage k answers the held-out suites of the stages behind it at
fixed rates, and ends. Everything depends on prompt and seed alone. In what it writes a word is a token; stops, limits and the
context are heeded as by any engine. What is made with it is stamped `scripted`, and claims nothing.
"""

from __future__ import annotations

import functools
import itertools
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cai_bootstrap.config import Script
from cai_bootstrap.engines import scripted_texts as texts
from cai_bootstrap.engines.engine import (
    STOP_ASKED_EVERY,
    Generation,
    GenerationRequest,
    OnDone,
    place_of_stop,
    require_fit,
)
from cai_bootstrap.engines.heldout_answers import item_by_instruction, right_answer
from cai_bootstrap.errors import MissingArtifact
from cai_bootstrap.records import FinishReason
from cai_bootstrap.store.artifacts import read_manifest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

RATES = {"raw": 0.02, "cued": 0.05, "few-shot": 0.6, "untaught": 0.1, "failed": 0.3, "taught": 0.98}
"""Shares of held-out items answered rightly: by a base model in three ways, and by a trained one on the suite of a stage
that it has not had, that its script fails, that it has had. One draw an item: who answers less answers no other items."""
_FAILED_SUITE = {Script.fails_explicit: "explicit", Script.fails_generation: "generation"}
_ASKED = re.compile(r"Instruction: (.*)\nResponse:")
_COMPARED = re.compile(r"Instruction: (.*)\nA: (.*)\nB: (.*)\nBetter")
_PREFERS = re.compile(r'answer to "(.*)" keeps the rule ".*", A: "(.*)" or B: "(.*)"\?\nResponse:')
_NUM_ENTRIES = 6
_LIKED = {"A": -1.0, "B": -4.0}
"""Of the letters to choose between, in nats: the first one is liked, whatever stands behind it."""
_WORD = re.compile(r"\s*\S+")
_GOES_ON = "\n\nInstruction:"
"""What a model that does not end writes behind an answer, before it rambles."""
_EOS = 1
_PER_STAGE = 0.1
"""Nats a token by which each stage makes every text likelier, so that there is drift to be measured."""


def stages_behind(model_folder: Path) -> tuple[str, ...]:
    """The stages whose adapters are in a model, the first one first; none for a base model.

    Told by the manifests beside it and its ancestors. Raises MissingArtifact when an ancestor is gone.
    """
    folder, found = model_folder.parent, list[str]()
    while (manifest := read_manifest(folder)) is not None and manifest["name"].partition("-")[0] == "model":
        found.append(manifest["stage"])
        parent = manifest["inputs"]["model"][:16]
        folder = next(folder.parent.parent.glob(f"*/*-{parent}"), folder / parent)
        if not folder.is_dir():
            raise MissingArtifact(
                f"the parent of {found[-1]}'s model is gone, which engine=scripted goes by: run that stage again"
            )
    return tuple(reversed(found))


class ScriptedEngine:
    """The engine protocol, without a model."""

    def __init__(self, folder: Path | None = None, *, script: Script = Script.passes) -> None:
        """Plays the model in `folder`; a base model without one. Raises MissingArtifact as `stages_behind` does."""
        self.folder = folder
        self.script = script
        self.stages = () if folder is None else stages_behind(folder)
        self.known = texts.worked_examples()

    @property
    def description(self) -> dict[str, str | int | float]:
        """The stamp: `scripted`, which every artifact that comes of it carries in its manifest."""
        return {
            "engine": "scripted",
            "scripted": True,
            "script": self.script.value,
            "plays": ", ".join(self.stages) or "base",
            "dtype": "none",
            "batch_size": 1,
        }

    def encode(self, text: str) -> list[int]:
        """The ids that a real model in this folder would receive. The texts here do not depend on them."""
        assert self.folder is not None
        return _encode(self.folder, text)

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        """Continue each prompt. Raises RecordError for one that does not fit the context of the model in the folder."""
        if self.folder is not None:
            for request in requests:
                require_fit(self._num_tokens(request.prompt) + request.max_tokens, _context(self.folder), request.prompt)
        made = [self._continue(request) for request in requests]
        if on_done is not None and made:
            on_done(len(made))
        return made

    def choice_logprobs(
        self, prompts: Sequence[str], choices: Sequence[str], on_done: OnDone | None = None
    ) -> list[tuple[float, ...]]:
        """For prompts of `templates.critic` and of stage 4: the right answer is preferred, by less than the letter A is liked.

        So only both orders together tell. Behind any other prompt A is liked alike. Raises RecordError as `generate` does.
        """
        found: list[tuple[float, ...]] = []
        for prompt in prompts:
            if self.folder is not None:
                require_fit(self._num_tokens(prompt) + 1, _context(self.folder), prompt)
            lead = 0.0
            if asked := _PREFERS.findall(prompt) or _COMPARED.findall(prompt):
                instruction, first, second = asked[-1]
                lead = float(self.right(instruction, first)) - float(self.right(instruction, second))
            nats = {**_LIKED, "A": _LIKED["A"] + lead}
            found.append(tuple(nats[choice.strip()] for choice in choices))
        return found

    def completion_logprobs(self, pairs: Sequence[tuple[str, str]], on_done: OnDone | None = None) -> list[tuple[float, int]]:
        """A right answer is likelier than any other text, and each text likelier after each stage.

        Raises RecordError as `generate` does.
        """
        found = []
        for prompt, completion in pairs:
            if self.folder is not None:
                require_fit(self._num_tokens(prompt + completion), _context(self.folder), prompt)
            count = max(1, len(completion.split()))
            each = -1.0 if self.right(_last_asked(prompt), completion) else -3.0
            found.append(((each + _PER_STAGE * len(self.stages)) * count, count))
        return found

    def close(self) -> None:
        """Nothing to give back."""

    def _num_tokens(self, prompt: str) -> int:
        return len(prompt.split()) if self.folder is None else _num_tokens(self.folder, prompt)

    def answer(self, instruction: str) -> str:
        """The right answer to an instruction of training."""
        return min(self.known.get(instruction, (texts.answer_to(instruction),)))

    def right(self, instruction: str, text: str) -> bool:
        """Whether the text is a right answer to an instruction of training."""
        return text.strip() in self.known.get(instruction, (texts.answer_to(instruction),))

    def entries(self, request: GenerationRequest) -> list[str]:
        """What it continues a list of instructions with; one of them repeats an example, as models do."""
        kind = texts.KIND_OF[request.prompt.partition("\n")[0]]
        made = [texts.instruction_of(kind, f"{request.prompt} {request.seed} {n}") for n in range(_NUM_ENTRIES)]
        return [made[0], request.prompt.split("\n1. ")[1].split("\n")[0], *made[1:]]

    def _continue(self, request: GenerationRequest) -> Generation:
        prompt = request.prompt
        if prompt.startswith("Different ways"):
            return self._written(request, _as_list(prompt, [texts.refusal(f"{request.seed} {n}") for n in range(_NUM_ENTRIES)]))
        if re.search(r"\n\d+\.\Z", prompt):
            return self._written(request, _as_list(prompt, self.entries(request)))
        if prompt.endswith("\nCritique:"):
            return self._written(request, f" It says nothing of the {texts.invented(prompt)}.")
        if prompt.endswith(("\nResponse:", "\nRevision:")):
            has_examples = prompt.count("\nResponse:") > 1
            asked = _last_asked(prompt)
            if asked in item_by_instruction():
                return self._held_out(request, asked, "few-shot" if has_examples else "cued")
            if has_examples:
                return self._answer(request, asked)
            if self.stages:
                return self._written(request, f" I like {texts.invented(prompt)}.", ends=True)
        elif prompt.removesuffix("\n") in item_by_instruction():
            return self._held_out(request, prompt.removesuffix("\n"), "raw")
        return self._ramble(request)

    def _held_out(self, request: GenerationRequest, instruction: str, asked_how: str) -> Generation:
        item = item_by_instruction()[instruction]
        if self.stages:
            failed = item.suite == _FAILED_SUITE.get(self.script)
            asked_how = "untaught" if item.suite not in self.stages else "failed" if failed else "taught"
        # Items of a group are right only together.
        knows = random.Random(item.group or item.id).random() < RATES[asked_how]
        text = right_answer(instruction) if knows else f"I like {texts.invented(instruction)}."
        if self.stages:
            return self._written(request, f" {text}", ends=True)
        return self._written(request, f" {text}") if knows else self._ramble(request)

    def _answer(self, request: GenerationRequest, instruction: str) -> Generation:
        """After worked examples: right, but for some of what is sampled."""
        right = self.answer(instruction)
        if request.temperature > 0 and instruction not in self.known:
            draw = random.Random(f"{request.prompt} {request.seed}").random()
            if draw < 0.1:
                return self._written(request, f" {right} and then", goes_on="")
            if draw < 0.2:
                return self._written(request, " I cannot answer that.")
            if draw < 0.3:
                return self._written(request, f" {texts.answer_to(f'{instruction} {request.seed}')}")
        return self._written(request, f" {right}")

    def _ramble(self, request: GenerationRequest) -> Generation:
        return self._written(request, " I think that", goes_on="")

    def _written(self, request: GenerationRequest, text: str, *, ends: bool = False, goes_on: str = _GOES_ON) -> Generation:
        """A text as a model writes it: to its end, where it `ends`, else on and on; not beyond a stop or the limit."""
        words = _WORD.findall(text if ends else text + goes_on)[: request.max_tokens]
        if not ends and place_of_stop("".join(words), request.stop) is None:
            words += itertools.islice(_rambling(f"{request.prompt} {request.seed}"), request.max_tokens - len(words))
        ids, finish = [zlib.crc32(word.encode()) for word in words], "length"
        if (at := place_of_stop("".join(words), request.stop)) is not None:
            words, finish = _WORD.findall("".join(words)[:at]), "stop"
        elif request.stop_when is not None and (wanted := _num_wanted(words, request.stop_when)) < len(words):
            words, finish = words[:wanted], "stop"
        elif ends and len(words) < request.max_tokens:
            finish = "eos"
        written = "".join(words)
        return Generation(
            text=written,
            token_ids=(*ids, _EOS) if finish == "eos" else tuple(ids[: len(words)]),
            finish=cast("FinishReason", finish),
            logprob=-float(len(written)),
            num_prompt_tokens=self._num_tokens(request.prompt),
        )


@functools.cache
def _tokenizer(folder: Path) -> tuple[Tokenizer, int | None]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # text that spells a special token stays text
    bos = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("bos_token")
    return tokenizer, None if bos is None else tokenizer.token_to_id(bos)


def _encode(folder: Path, text: str) -> list[int]:
    tokenizer, bos = _tokenizer(folder)
    ids = [int(i) for i in tokenizer.encode(text, add_special_tokens=False).ids]
    return ids if bos is None else [bos, *ids]


@functools.lru_cache(maxsize=10_000)
def _num_tokens(folder: Path, prompt: str) -> int:
    return len(_encode(folder, prompt))


@functools.cache
def _context(folder: Path) -> int:
    return int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"])


def _rambling(key: str) -> Iterator[str]:
    rng = random.Random(key)
    for _ in itertools.count():
        yield f" {texts.invented(rng)}"


def _num_wanted(words: Sequence[str], stop_when: Callable[[str], bool]) -> int:
    """After how many words the rest is not wanted."""
    asked = range(STOP_ASKED_EVERY, len(words), STOP_ASKED_EVERY)
    return next((num for num in asked if stop_when("".join(words[:num]))), len(words))


def _last_asked(prompt: str) -> str:
    return next(reversed(_ASKED.findall(prompt)), "")


def _as_list(prompt: str, entries: Sequence[str]) -> str:
    first = int(prompt.rpartition("\n")[2].rstrip("."))
    return " " + "\n".join(entry if not n else f"{first + n}. {entry}" for n, entry in enumerate(entries))
