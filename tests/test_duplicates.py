"""Duplicates among instructions, and held-out items that come back in another coat."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai_bootstrap.evals import english
from cai_bootstrap.stages import paths
from cai_bootstrap.steps.duplicates import DuplicateIndex, content_words, meets, quotes, shingles
from cai_bootstrap.steps.judgements import RULES

CHECKOUT = Path(__file__).resolve().parent.parent
THRESHOLD = 0.7
NAMES = "fox owl lake moon bread piano winter castle".split()
KEPT = (
    "What is the capital of Kenya?",
    "Complete: The early bird catches the",
    "Which animal carries its house on its back?",
    "Write a sentence about a castle.",
    "I lost my favourite umbrella on the bus today.",
)


@pytest.fixture
def index() -> DuplicateIndex:
    index = DuplicateIndex(THRESHOLD)
    index.add(KEPT)
    return index


@pytest.fixture(scope="module")
def heldout() -> list[str]:
    lines = (CHECKOUT / "data" / "heldout" / "explicit.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["instruction"] for line in lines]


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of Kenya?",
        "what is the capital of kenya",
        "  What is the  capital of «Kenya»?! ",
        "Whát is the capital of Kenya?",
        "COMPLETE: THE EARLY BIRD CATCHES THE…",
    ],
)
def test_case_accents_and_punctuation_make_no_new_text(index: DuplicateIndex, text: str) -> None:
    assert index.find(text) == "exact"


@pytest.mark.parametrize(
    "text",
    [
        "Answer this: What is the capital of Kenya?",
        "Finish the proverb: The early bird catches the",
        "Name the animal that carries its house on its back.",
        "Generate one short sentence with the word castle.",
        "Again I lost my favourite umbrella on the bus today!",
        "Write a sentence about castles.",
    ],
)
def test_another_frame_or_a_few_other_words_are_near(index: DuplicateIndex, text: str) -> None:
    assert index.find(text) == "near"


@pytest.mark.parametrize("text", ["Kenya: what is its capital?", "On its back there is a house: which animal carries it?"])
def test_the_same_words_in_another_order_are_found_by_content(index: DuplicateIndex, text: str) -> None:
    assert index.find(text) == "content"


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of Norway?",
        "Complete: The early train leaves the",
        "Which animal says quack?",
        "Write a sentence about a volcano.",
        "I lost my way in the forest today.",
        "What is the opposite of early?",
    ],
)
def test_an_unrelated_text_in_the_same_frame_is_new(index: DuplicateIndex, text: str) -> None:
    assert index.find(text) == ""


def test_an_empty_index_finds_nothing_and_counts(index: DuplicateIndex) -> None:
    assert DuplicateIndex(THRESHOLD).find("What is the capital of Kenya?") == ""
    assert len(DuplicateIndex(THRESHOLD)) == 0
    assert len(index) == len(KEPT)


@pytest.mark.parametrize("text", ["What is it?", "Write a story.", "?!", ""])
def test_texts_without_content_words_are_compared_as_they_are(index: DuplicateIndex, text: str) -> None:
    assert content_words(text) == frozenset()
    assert index.find(text) == ""
    index.add([text])
    assert index.find(text) == "exact"
    assert index.find("Who was that?") == ""


def test_every_held_out_item_is_found_again_in_another_coat(heldout: list[str]) -> None:
    """No generated copy of a held-out item may pass, whatever frame or punctuation the model gave it."""
    index = DuplicateIndex(THRESHOLD)
    index.add(heldout)
    for text in heldout:
        assert index.find(text) == "exact"
        for coat in (f"Answer this: {text}", f"Respond to: {text}", f"{text.rstrip('.?!').upper()}?", f"Question: {text}"):
            assert index.find(coat), coat
    for text in ("Explain how a steam engine turns heat into motion.", "Translate «good harvest» into Finnish for my aunt."):
        assert index.find(text) == ""


def test_the_index_finds_what_comparing_every_pair_finds(heldout: list[str]) -> None:
    """The prefix filter is a shortcut that loses nothing of what a full comparison gives."""
    texts = list(dict.fromkeys(heldout))
    variants = [" ".join(word for i, word in enumerate(text.split()) if i != len(text) % 7) for text in texts]
    index = DuplicateIndex(THRESHOLD)
    index.add(texts)
    sets, exact = [shingles(text) for text in texts], {english.plain(text) for text in texts}
    near = 0
    for variant in variants:
        if english.plain(variant) in exact:
            continue
        grams = shingles(variant)
        truth = any(len(grams & other) / len(grams | other) >= THRESHOLD for other in sets)
        assert (index.find(variant) == "near") == truth, variant
        near += truth
    assert near > 100


@given(
    texts=st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=9).map(" ".join), min_size=1, max_size=25),
    threshold=st.sampled_from([0.2, 0.3, 1 / 3, 0.5, 0.6, 0.7, 0.75, 0.8, 1.0]),
)
@settings(max_examples=300, deadline=None)
def test_near_is_what_every_comparison_says_at_any_threshold(texts: list[str], threshold: float) -> None:
    *kept, asked = texts
    index = DuplicateIndex(threshold)
    index.add(kept)
    grams, sets = shingles(asked), [shingles(text) for text in kept]
    near = any(len(grams & other) / len(grams | other) >= threshold for other in sets)
    if asked in kept:
        assert index.find(asked) == "exact"
    else:
        assert (index.find(asked) == "near") == near


def test_the_index_is_compact() -> None:
    """About 0.6 kB a text, so that a million of them fit beside everything else."""
    texts = [f"{a} {b} {c} {d} {a}{d}" for a, b, c, d in itertools.product(NAMES, repeat=4)]
    tracemalloc.start()
    index = DuplicateIndex(THRESHOLD)
    index.add(texts)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / len(texts) < 900


def test_shingles_leave_the_frame_out_and_fold_plurals() -> None:
    assert shingles("Write a sentence about red foxes.") == {"red", "fox", "red fox"}
    assert shingles("Answer this: What is a red fox?") == shingles("Write a sentence about red foxes.")
    assert content_words("Which foxes are red?") == {"fox", "red"}
    for first, second in itertools.combinations(KEPT, 2):
        assert not content_words(first) & content_words(second)


def test_found_duplicates_do_not_depend_on_the_process(heldout: list[str]) -> None:
    """A resumed run must drop what the interrupted one dropped: no hash may vary from process to process."""
    code = (
        "import json, sys\nfrom cai_bootstrap.steps.duplicates import DuplicateIndex\n"
        "texts = json.load(sys.stdin)\nindex = DuplicateIndex(0.3)\nfound = []\n"
        "for text in texts:\n    found.append(index.find(text))\n    index.add([text])\n"
        "print(json.dumps(found))"
    )
    outputs = set()
    for hash_seed in ("0", "1", "random"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(heldout[:200]),
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert "near" in outputs.pop()


def test_quotes_are_what_stands_between_a_mark_and_the_next() -> None:
    """Not what stands between two quotes: single words and pairs of them are quoted too."""
    asked = 'A: "Dew." B: "Hovering in the air." Which of the two is the better answer to "What do bees drink?"?'
    assert quotes(asked) == ["Hovering in the air.", "What do bees drink?"]


def test_rules_are_no_held_out_texts() -> None:
    """Stage 4's tasks and its suite quote the same few: with them as held-out texts a sixth of its pairs were dropped."""
    told = paths.heldout()
    assert not set(RULES.values()) & set(told)
    assert all(text == text.strip() for text in told)


@pytest.mark.parametrize(
    ("instruction", "answer", "met"),
    [
        ("What is the capital of Kenya?", "Nairobi.", True),
        ('Is "I lost my favourite umbrella on the bus today." a good sentence?', "Yes.", True),
        ('Mend this: "Today I lost my favourite umbrella on a bus."', "Yes.", True),
        ("What did you lose?", "I lost my favourite umbrella on the bus today.", True),
        ("What did you lose?", "I lost my favourite umbrella.", False),
        ('Is "A castle." a good title?', "Yes.", False),
        ('Is "It is a castle." right?', "Write a castle.", False),
    ],
)
def test_a_task_meets_what_it_asks_quotes_or_says(instruction: str, answer: str, met: bool) -> None:
    index = DuplicateIndex(THRESHOLD)
    index.add(KEPT)
    assert meets(index, instruction, answer) == met
