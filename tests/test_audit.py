"""The prompt audit: it passes a sound model, and each known way of going wrong fails it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cai_bootstrap.engines.audit import PROBES, SAMPLE_PROMPT, SENTINELS, audit
from cai_bootstrap.engines.engine import Generation, GenerationRequest, OnDone
from cai_bootstrap.engines.transformers import TransformersEngine

RIGHT = dict(
    zip(
        [prompt for prompt, _ in SENTINELS],
        [" 32 degrees", " Paris.", " Tokyo.", " 5, 6", " Thursday", " April", " cold.", " H2O"],
        strict=True,
    )
)


class ChangedEngine(TransformersEngine):
    """The real engine with one fault put in: other ids, or other outputs."""

    change: Callable[[list[int]], list[int]] | None = None
    answers: dict[str, str] | None = None
    num_proper_ends = 0

    def encode(self, text: str) -> list[int]:
        ids = super().encode(text)
        return self.change(ids) if self.change else ids

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        if self.answers is None:
            return super().generate(requests, on_done)
        probes = [r.prompt for r in requests if r.prompt.startswith("Instruction:")]
        return [
            Generation(
                text=self.answers.get(r.prompt, " text"),
                token_ids=(5,),
                finish="eos" if r.prompt in probes[: self.num_proper_ends] else "length",
                logprob=-1.0,
                num_prompt_tokens=3,
            )
            for r in requests
        ]


@pytest.fixture
def engine(tiny_model: Path) -> Iterator[ChangedEngine]:
    engine = ChangedEngine(tiny_model, device="cpu", dtype="float32", batch_size=8, threads=1)
    yield engine
    engine.close()


def test_the_tiny_model_passes_without_sentinels(engine: ChangedEngine, tiny_model: Path) -> None:
    result = audit(engine, tiny_model, sentinels=False)
    assert result["passed"]
    assert result["failures"] == result["warnings"] == []
    assert result["sample"]["tokens"][0] == "<bos>"
    assert result["sample"]["ids"] == engine.encode(SAMPLE_PROMPT)
    assert result["proper_ends"] is None


def test_random_weights_fail_the_sentinels(engine: ChangedEngine, tiny_model: Path) -> None:
    result = audit(engine, tiny_model, sentinels=True)
    assert not result["passed"]
    assert any("of 8 completions that every base model knows" in failure for failure in result["failures"])
    assert result["proper_ends"]["total"] == len(PROBES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids[1:], "occurs 0 times"),
        (lambda ids: [2, *ids], "occurs 2 times"),
        (lambda ids: [*ids[1:], ids[0]], "occurs 1 times and is not first"),
        (lambda ids: [*ids, 1], "special tokens that its text does not ask for: <eos>"),
        (lambda ids: [*ids[:3], *ids[4:]], "training would see other ids"),
    ],
)
def test_wrong_ids_fail(
    engine: ChangedEngine, tiny_model: Path, change: Callable[[list[int]], list[int]], message: str
) -> None:
    engine.change = change
    result = audit(engine, tiny_model, sentinels=False)
    assert not result["passed"]
    assert any(message in failure for failure in result["failures"]), result["failures"]


def test_forged_special_tokens_fail(engine: ChangedEngine, tiny_model: Path) -> None:
    def parse_specials(text: str) -> list[int]:
        ids: list[int] = engine.tokens.tokenizer(text)["input_ids"]
        return ids

    engine.encode = parse_specials  # type: ignore[method-assign]
    result = audit(engine, tiny_model, sentinels=False)
    assert any("forge" in failure for failure in result["failures"])


def test_lost_merges_fail(engine: ChangedEngine, tiny_model: Path) -> None:
    engine.answers = RIGHT
    result = audit(engine, tiny_model, sentinels=True)
    # The tiny vocabulary is near the limit from below: for a model that should be real it counts as broken.
    assert result["characters_per_token"] < 2.5
    assert any("merges are lost" in failure for failure in result["failures"])
    assert len(result["failures"]) == 1


@pytest.mark.parametrize(("num_wrong", "fails"), [(0, False), (2, False), (3, True)])
def test_three_quarters_of_the_sentinels_must_be_right(
    engine: ChangedEngine, tiny_model: Path, num_wrong: int, fails: bool
) -> None:
    engine.answers = dict(list(RIGHT.items())[num_wrong:])
    result = audit(engine, tiny_model, sentinels=True)
    assert any("every base model knows" in failure for failure in result["failures"]) == fails
    assert sum(row["passed"] for row in result["sentinels"]) == len(SENTINELS) - num_wrong


@pytest.mark.parametrize(("ended", "warns"), [(0, False), (2, False), (3, True), (12, True)])
def test_proper_ends_tell_an_instruction_tuned_model(engine: ChangedEngine, tiny_model: Path, ended: int, warns: bool) -> None:
    engine.answers, engine.num_proper_ends = RIGHT, ended
    result = audit(engine, tiny_model, sentinels=True)
    assert result["proper_ends"] == {"ended": ended, "total": len(PROBES)}
    assert any("looks instruction-tuned" in warning for warning in result["warnings"]) == warns


def test_knowing_the_made_up_fact_is_told(engine: ChangedEngine, tiny_model: Path) -> None:
    made_up = "The secret word that the lighthouse keeper of Varnholt chose for his cat was"
    engine.answers = {**RIGHT, made_up: " Quillfeather."}
    result: dict[str, Any] = audit(engine, tiny_model, sentinels=True)
    assert any("made-up fact" in warning for warning in result["warnings"])


def test_a_chat_template_is_told(engine: ChangedEngine, tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "copy")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    result = audit(engine, folder, sentinels=False)
    assert result["passed"]
    assert result["chat_template"]
    assert any("chat template" in warning for warning in result["warnings"])
