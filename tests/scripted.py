"""The package's scripted engine as tests need it: told what it knows, made to fail at a call, watched."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence, Sequence
from pathlib import Path

from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines import scripted, scripted_texts
from cai_bootstrap.engines.engine import Engine, Generation, GenerationRequest, OnDone
from cai_bootstrap.engines.scripted_texts import answer_to, instruction_of, invented
from cai_bootstrap.engines.session import Session

__all__ = ["ScriptedEngine", "ScriptedSession", "answer_to", "instruction_of", "invented"]


class ScriptedEngine(scripted.ScriptedEngine):
    """A base model without a folder, which knows only what it is told."""

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
        super().__init__()
        self.known = {question: frozenset([answer]) for question, answer in (known or {}).items()}
        self.spoil = list(spoil)
        self.fail_at_call = fail_at_call
        self.stubborn = stubborn
        self.useless = useless
        self.calls: MutableSequence[list[GenerationRequest]] = []
        self.num_scored = 0

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        self.calls.append(list(requests))
        if self.fail_at_call == len(self.calls) - 1:
            raise RuntimeError("killed here")
        return super().generate(requests, on_done)

    def choice_logprobs(
        self, prompts: Sequence[str], choices: Sequence[str], on_done: OnDone | None = None
    ) -> list[tuple[float, ...]]:
        self.num_scored += len(prompts)
        return super().choice_logprobs(prompts, choices, on_done)

    def completion_logprobs(self, pairs: Sequence[tuple[str, str]], on_done: OnDone | None = None) -> list[tuple[float, int]]:
        self.num_scored += len(pairs)
        return super().completion_logprobs(pairs, on_done)

    def right(self, instruction: str, text: str) -> bool:
        return not self.useless and super().right(instruction, text)

    def entries(self, request: GenerationRequest) -> list[str]:
        made = super().entries(request)
        if self.stubborn:
            kind = scripted_texts.KIND_OF[request.prompt.partition("\n")[0]]
            made = [scripted_texts.instruction_of(kind, f"{kind} {n}") for n in range(len(made))]
        return [*made[:2], *self.spoil, *made[2:]]


class ScriptedSession(Session):
    """A session that hands out the scripted engine, whatever the model's folder."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(EngineConfig(device="cpu", dtype="float32", batch_size=1, threads=1, in_process=True))
        self.scripted = engine

    def engine(self, folder: Path) -> Engine:
        return self.scripted
