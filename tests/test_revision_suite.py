"""The revision suite: balanced, unique, and each item accepts better texts than its draft and nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from cai_bootstrap.evals.english import plain, words
from cai_bootstrap.evals.tasks import SPLITS, SUITE_SHA256, load_suite, score, verify
from cai_bootstrap.records import HeldOutItem
from cai_bootstrap.steps.duplicates import DuplicateIndex
from cai_bootstrap.steps.feedback import SYNONYMS
from cai_bootstrap.steps.flawed import MISSPELT
from cai_bootstrap.steps.flaws import FLAWS
from cai_bootstrap.steps.mistakes import REGULARISED, SOUNDS
from cai_bootstrap.steps.unclear import FRAMING, LONG

DEV, TEST = (load_suite("revision", split) for split in ("dev", "test"))
ITEMS = sorted(DEV + TEST, key=lambda item: item.id)
ANSWERS = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "data" / "calibration" / "revisions.jsonl").read_text("utf-8").splitlines()
]
KINDS = ("fix", "clearer", "helpful", "feedback")
NOT_MADE = {"fix": "wrong_fact", "clearer": "garbled", "feedback": "more_of_them"}
"""By kind the family that no rule makes; of `helpful` it is `other_question`."""
MISREVISIONS = [
    "",
    "I do not know.",
    "I can't do that.",
    "The sentence is now correct.",
    "It is a thing that has a name.",
    "Hmm, blah blah and so on.",
]


def draft_of(item: HeldOutItem) -> str:
    """The draft, which is the last quoted text of the instruction."""
    return item.instruction.split('"')[-2]


def references(item: HeldOutItem) -> list[str]:
    """Right revisions of the item's draft."""
    if item.verifier == "helps":
        return [f"It is the {answer}." for answer in item.arguments["accepted"]]
    goals: list[str] = item.arguments["goals"]
    return goals


def test_kinds_and_families_are_spread_evenly() -> None:
    assert len(TEST) >= 300
    assert len(DEV) >= 110
    assert {item.kind for item in ITEMS} == set(KINDS)
    assert min(Counter(item.kind for item in TEST).values()) >= 50
    dev, both = Counter(item.family for item in DEV), Counter(item.family for item in ITEMS)
    keys = {(item.kind, item.family) for item in ITEMS}
    sizes = Counter((item.kind, item.family) for item in ITEMS)
    dev_sizes = Counter((item.kind, item.family) for item in DEV)
    assert set(dev) == set(both)
    assert len(keys) == len(both)  # reports go by family
    assert all(dev_sizes[key] == round(sizes[key] / 3) for key in keys)
    for kind in KINDS:  # no kind comes late in the file
        places = [i for i, item in enumerate(ITEMS) if item.kind == kind]
        assert abs(sum(places) / len(places) / len(ITEMS) - 0.5) < 0.05


def test_every_family_that_is_generated_is_in_the_suite_and_others_too() -> None:
    families = defaultdict(set)
    for item in ITEMS:
        families[item.kind].add(item.family)
    for kind, made in FLAWS.items():
        assert set(made) <= families[kind]
        assert families[kind] - set(made) == {NOT_MADE[kind]}
    told = (Path(__file__).parent.parent / "data" / "heldout" / "README.md").read_text("utf-8")
    assert "wrong_fact, garbled, other_question and more_of_them are made by no rule" in " ".join(told.split())


def test_no_flaw_of_the_generator_is_asked_for() -> None:
    """Nor an equal one: what the suite shows is known from no table."""
    asked = {word for item in ITEMS for word in plain(item.instruction).split()}
    assert not asked & {*MISSPELT.values(), *REGULARISED.values()}
    gone = {(item.family, plain(flaw)) for item in ITEMS for flaw in item.arguments.get("gone", [])}
    assert not {flaw for family, flaw in gone if family == "wrong_word"} & {*SOUNDS, *SOUNDS.values()}
    assert not {flaw for family, flaw in gone if family == "other_word"} & set(SYNONYMS)
    drafts = [f" {plain(draft_of(item))} " for item in ITEMS]
    wordy = [*LONG.values(), *FRAMING]
    assert [words for words in wordy if any(f" {plain(words)} " in draft for draft in drafts)] == []


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
def test_right_revisions_are_accepted_and_the_draft_is_not(item: HeldOutItem) -> None:
    right = references(item)
    assert {answer: reason for answer in right if (reason := verify(item, answer))} == {}
    draft, frame = draft_of(item), item.instruction.split('"')[0]
    wrong = [*MISREVISIONS, draft, f'"{draft}"', f"{draft} {right[0]}", item.instruction, frame, f"{frame}{draft}"]
    wrong += [f"{right[0].rstrip('.?!')} {' '.join([plain(right[0])] * 3)}."]
    if item.verifier != "helps":
        wrong += [f"{frame}{right[0]}", " ".join(right[0].split()[::-1]), right[0].split()[0], f"The {right[0].split()[-1]}"]
    assert draft == item.arguments["draft"]
    assert [answer for answer in wrong if not verify(item, answer)] == []


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
def test_what_comes_after_a_right_revision_costs_only_the_strict_verdict(item: HeldOutItem) -> None:
    good = references(item)[0]
    ramble = "The children play outside. The children play outside. The children play outside."
    for output, strict in [(good, True), (f"{good}\n{ramble}", False), ("\n".join([good] * 4), False)]:
        record = score(item, "base", "prompt", output, "eos", 9)
        assert (record.content, record.strict) == (True, strict), (output, record.reason)


def test_no_item_accepts_a_right_revision_of_another() -> None:
    for item, other in [*pairwise(ITEMS), (ITEMS[-1], ITEMS[0])]:
        assert verify(item, references(other)[0]), (item.instruction, references(other)[0])


def test_length_does_not_tell_a_right_revision() -> None:
    """Over the suite a right revision is as often longer than its draft as it has to be for either rule to fail."""
    fixes = [item for item in ITEMS if item.kind in ("fix", "feedback")]
    longer = sum(len(item.arguments["goals"][0]) > len(draft_of(item)) for item in fixes)
    shorter = sum(len(item.arguments["goals"][0]) < len(draft_of(item)) for item in fixes)
    assert min(longer, shorter) >= 0.2 * len(fixes)
    for item in ITEMS:
        if item.kind == "clearer":  # the goal is shorter, and so is a text that lost its content
            goal = item.arguments["goals"][0]
            assert verify(item, " ".join(goal.split()[: len(goal.split()) // 2]))


@pytest.mark.parametrize(("draft", "right", "wrong"), [(row["draft"], row["right"], row["wrong"]) for row in ANSWERS])
def test_answers_written_by_hand(draft: str, right: list[str], wrong: list[str]) -> None:
    (item,) = (item for item in ITEMS if draft_of(item) == draft)
    assert {answer: reason for answer in right if (reason := verify(item, answer))} == {}
    assert [answer for answer in wrong if not verify(item, answer)] == []


def test_enough_items_of_all_kinds_have_answers_written_by_hand() -> None:
    kinds = {draft_of(item): item.kind for item in ITEMS}
    assert len({row["draft"] for row in ANSWERS}) == len(ANSWERS) >= 100
    assert {kinds[row["draft"]] for row in ANSWERS} == set(KINDS)


def test_no_item_is_a_duplicate_of_another_suite_or_item() -> None:
    seen, drafts = DuplicateIndex(0.7), DuplicateIndex(0.7)
    others = [name for name in SUITE_SHA256 if name != "revision"]
    seen.add(item.instruction for name in others for split in SPLITS for item in load_suite(name, split))
    for item in ITEMS:
        for text in (item.instruction, *(text for text in re.findall(r'"([^"]*)"', item.instruction) if text.endswith("?"))):
            assert not seen.find(text), text
        if item.kind != "helpful":
            assert not drafts.find(draft_of(item)) or item.family in ("scrambled", "end_mark"), draft_of(item)
        seen.add([item.instruction])
        drafts.add([draft_of(item)])


def test_instructions_are_one_plain_line() -> None:
    seen: set[frozenset[str]] = set()
    for item in ITEMS:
        assert item.instruction == " ".join(item.instruction.split())
        assert item.instruction.isascii()
        assert not any(char in item.instruction for char in "{}_|")
        assert item.instruction.count('"') == (4 if item.kind == "helpful" else 2)
        assert len(item.instruction.split()) <= 30
        key = frozenset(words(item.instruction))
        assert key not in seen, item.instruction
        seen.add(key)
