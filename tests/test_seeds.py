"""The committed seeds: nothing of a held-out suite stands in them, and the shot sets fit their stage."""

from __future__ import annotations

from cai_bootstrap.config import InstructionsConfig, SamplingConfig
from cai_bootstrap.evals.tasks import KINDS, SPLITS, load_suite
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.duplicates import DuplicateIndex
from cai_bootstrap.steps.prompts import malformed

SEEDS = load_seeds("explicit")


def test_no_seed_and_no_shot_is_a_held_out_item() -> None:
    heldout = DuplicateIndex(0.7)
    heldout.add(item.instruction for split in SPLITS for item in load_suite("explicit", split))
    heldout.add(item.instruction for split in SPLITS for item in load_suite("constitutional", split))
    seeds = [text for forms in SEEDS["instructions"].values() for texts in forms.values() for text in texts]
    shots = [question for examples in SEEDS["shots"].values() for question, _ in examples]
    assert [(text, found) for text in seeds + shots if (found := heldout.find(text))] == []


def test_shot_sets_share_no_example() -> None:
    a, b = ({question for question, _ in examples} for examples in SEEDS["shots"].values())
    assert not a & b


def test_every_kind_has_seeds_that_are_well_formed() -> None:
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
    assert set(SEEDS["instructions"]) == set(KINDS)
    wrong = [
        (text, reason)
        for kind, forms in SEEDS["instructions"].items()
        for texts in forms.values()
        for text in texts
        if (reason := malformed(kind, text, config)) and reason != "personal or unclear reference"
    ]
    assert wrong == []
