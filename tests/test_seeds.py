"""The committed seeds: nothing of a held-out suite stands in them, and the shot sets fit their stage."""

from __future__ import annotations

import itertools
import re

import pytest

from cai_bootstrap.config import InstructionsConfig, SamplingConfig
from cai_bootstrap.critiques import load_critiques
from cai_bootstrap.evals.english import is_refusal
from cai_bootstrap.evals.forms import on_type
from cai_bootstrap.evals.phrasings import parse
from cai_bootstrap.evals.tasks import KINDS, SPLITS, SUITE_KINDS, SUITE_SHA256, load_suite
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.duplicates import DuplicateIndex
from cai_bootstrap.steps.flawed import is_sound
from cai_bootstrap.steps.wellformed import malformed

SEEDS = {name: load_seeds(name) for name in ("explicit", "implicit", "generation", "evaluation", "revision", "constitutional")}
KINDS_OF = {
    "explicit": set(KINDS),
    "implicit": {"question", "statement", "opener"},
    "generation": {"write_question", "write_fact", "write_request", "write_instruction", "write_example"},
    "evaluation": set(SUITE_KINDS["evaluation"]),
    "revision": {"fix", "clearer", "helpful", "feedback"},
    "constitutional": set(SUITE_KINDS["constitutional"]),
}
NUM_SHOTS = {"constitutional": 18}
"""Worked examples in a set, where there are not 16."""


def instructions(name: str) -> list[str]:
    return [text for forms in SEEDS[name]["instructions"].values() for texts in forms.values() for text in texts]


def shots(name: str) -> list[str]:
    return [question for examples in SEEDS[name]["shots"].values() for question, _ in examples]


def examples(name: str) -> list[str]:
    """The questions of the worked examples by kind, by kind and style, and by kind and form."""
    given = SEEDS[name].get("examples", {}).values()
    sets = [part for each in given for part in (each.values() if isinstance(each, dict) else [each])]
    return [question for part in sets for question, _ in part]


@pytest.mark.parametrize("name", SEEDS)
def test_no_seed_and_no_worked_example_is_a_held_out_item(name: str) -> None:
    heldout = DuplicateIndex(0.7)
    heldout.add(item.instruction for suite in SUITE_SHA256 for split in SPLITS for item in load_suite(suite, split))
    texts = instructions(name) + shots(name) + examples(name)
    assert [(text, found) for text in texts if (found := heldout.find(text))] == []


def test_no_case_is_a_held_out_item_or_a_worked_critique() -> None:
    """What suites quote is compared with what cases say: question and answer, each by itself."""
    told = [item.instruction for suite in SUITE_SHA256 for split in SPLITS for item in load_suite(suite, split)]
    heldout = DuplicateIndex(0.7)
    quoted = {text for instruction in told for text in re.findall(r'"([^"]+)"', instruction)}
    heldout.add([*told, *(text for text in sorted(quoted) if len(text.split()) > 3)])
    heldout.add(each.instruction for given in load_critiques().values() for each in given)
    conduct = itertools.chain.from_iterable(SEEDS["evaluation"]["conduct"].values())
    texts = [text for case in [*conduct, *SEEDS["evaluation"]["worked"]] for text in case] + SEEDS["evaluation"]["evasions"]
    assert [(text, found) for text in texts if len(text.split()) > 3 and (found := heldout.find(text))] == []


@pytest.mark.parametrize("name", SEEDS)
def test_shot_sets_share_no_example(name: str) -> None:
    a, b = ({question for question, _ in examples} for examples in SEEDS[name]["shots"].values())
    assert not a & b
    assert len(a) == len(b) == NUM_SHOTS.get(name, 16)


@pytest.mark.parametrize("name", ["explicit", "implicit"])  # those of the constitutional stage decline where they should
def test_answers_of_the_shots_and_refusals_are_short_and_different(name: str) -> None:
    answers = [answer for examples in SEEDS[name]["shots"].values() for _, answer in examples]
    assert all(0 < len(answer.split()) <= 16 and not is_refusal(answer) for answer in answers)
    assert len(set(SEEDS[name]["refusals"])) == len(SEEDS[name]["refusals"]) >= 6


@pytest.mark.parametrize("name", SEEDS)
def test_every_kind_has_forms_with_enough_examples(name: str) -> None:
    assert set(SEEDS[name]["instructions"]) == KINDS_OF[name]
    for forms in SEEDS[name]["instructions"].values():
        assert len(forms) >= 4
        assert all(len(texts) >= 5 for texts in forms.values())
    assert len(set(instructions(name))) == len(instructions(name))


def test_explicit_seeds_are_well_formed() -> None:
    sampling = SamplingConfig(temperature=1.0, max_tokens=10)
    config = InstructionsConfig(
        num_instructions=10,
        requests_per_shard=1,
        min_words=2,
        max_words=24,
        max_share_per_topic=1.0,
        near_duplicate_similarity=0.7,
        min_yield=0.0,
        kind_shares=dict.fromkeys(KINDS, 0.25),
        sampling=sampling,
    )
    wrong = [
        (text, reason)
        for kind, forms in SEEDS["explicit"]["instructions"].items()
        for texts in forms.values()
        for text in texts
        if (reason := malformed(kind, text, config)) and reason != "personal or unclear reference"
    ]
    assert wrong == []


def test_implicit_seeds_end_as_their_kind_does() -> None:
    for kind, forms in SEEDS["implicit"]["instructions"].items():
        for text in (text for texts in forms.values() for text in texts):
            assert text.isascii()
            assert 2 <= len(text.split()) <= 24
            assert ":" not in text
            if kind == "question":
                assert text.endswith("?")
            else:
                assert text.endswith((".", "!", "?")) == (kind == "opener"), text


def test_generation_seeds_are_understood_and_their_worked_examples_are_right() -> None:
    seeds = SEEDS["generation"]
    for kind, forms in seeds["instructions"].items():
        for text in (text for texts in forms.values() for text in texts):
            asked = parse(text)
            assert asked is not None, text
            assert kind in ("write_example", f"write_{asked.form}"), (text, asked)
    ours = set(instructions("generation"))
    for examples in seeds["shots"].values():
        assert {text: reason for text, answer in examples if text in ours and (reason := on_type(text, answer))} == {}
        assert 10 <= sum(text in ours for text, _ in examples) <= 13
        openings = [answer.split()[0] for _, answer in examples if answer.endswith("?")]
        assert len(set(openings)) == len(openings) >= 5


def test_the_revision_pool_is_sound_and_disjoint_from_the_suites() -> None:
    seeds = SEEDS["revision"]
    assert len(seeds["sentences"]) >= 60
    assert len(seeds["questions"]) >= 40
    heldout = DuplicateIndex(0.7)
    for name in SUITE_SHA256:
        for item in (item for split in SPLITS for item in load_suite(name, split)):
            heldout.add([item.instruction, *re.findall(r'"([^"]*)"', item.instruction), *item.arguments.get("goals", [])])
    drafts = [text for told in instructions("revision") + shots("revision") for text in re.findall(r'"([^"]*)"', told)]
    pool = [*seeds["sentences"], *(text for pair in seeds["questions"] for text in pair), *drafts]
    assert [(text, found) for text in pool if (found := heldout.find(text))] == []
    assert [sentence for sentence in seeds["sentences"] if not is_sound(sentence)] == []
    assert all(question.endswith("?") and answer.endswith(".") for question, answer in seeds["questions"])
    assert len({text for pair in seeds["questions"] for text in pair}) == 2 * len(seeds["questions"])
    assert len(set(seeds["sentences"])) == len(seeds["sentences"])


def test_revision_seeds_quote_a_draft_in_one_line() -> None:
    for kind, forms in SEEDS["revision"]["instructions"].items():
        for text in (text for texts in forms.values() for text in texts):
            assert text.isascii()
            assert text == " ".join(text.split())
            assert text.count('"') == (4 if kind == "helpful" else 2), text
            assert text.endswith('"')
    for question, answer in (shot for examples in SEEDS["revision"]["shots"].values() for shot in examples):
        assert re.findall(r'"([^"]*)"', question)[-1] != answer
