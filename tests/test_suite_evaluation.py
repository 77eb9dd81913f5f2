"""The suite of stage 4: balanced, in groups of two, nothing to be had without judging, each item right for one label only."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from judged_by_hand import READ_BY_HAND

from cai_bootstrap.evals.baselines import Row, bag_of_words_baseline, length_baseline, quoted
from cai_bootstrap.evals.statistics import wilson
from cai_bootstrap.evals.tasks import SPLITS, SUITE_KINDS, load_suite, score, verify
from cai_bootstrap.records import HeldOutItem
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.duplicates import DuplicateIndex
from cai_bootstrap.steps.judgements import PHRASINGS, RULES

DEV, TEST = (load_suite("evaluation", split) for split in ("dev", "test"))
ITEMS = DEV + TEST
SEEDS = load_seeds("evaluation")
NO_JUDGEMENTS = [
    "",
    "I do not know.",
    "I cannot answer that.",
    "Yes and no.",
    "Yes or no",
    "A or B.",
    "Both A and B.",
    "A, B",
    "A: red. B: blue.",
    "A bee makes honey.",
    "No one makes honey.",
    "From 1 to 5.",
    "5, 4, 3, 2, 1",
    "4 or 2",
    "10",
    "0",
    "It depends on the person.",
    "Yes yes yes yes",
    "The answer is short.",
]


def groups() -> dict[str, list[HeldOutItem]]:
    found = defaultdict(list)
    for item in ITEMS:
        found[item.group].append(item)
    return found


def right_label(item: HeldOutItem) -> str:
    """The label: `Yes`, `No`, `A`, `B`, or `high` and `low` for a rating."""
    return str(item.arguments.get("label") or ("high" if "at_least" in item.arguments else "low"))


def references(item: HeldOutItem) -> tuple[list[str], list[str]]:
    """Right answers and wrong ones, said in several ways."""
    label = right_label(item)
    if item.kind == "rate":
        ways = {
            "high": [
                "5.",
                "4",
                "Four.",
                "5/5",
                "4 out of 5",
                "I would give it a 5.",
                "Rating: 4",
                "I rate this answer 5 points.",
            ],
            "low": ["1.", "2", "Two.", "1/5", "2 out of 5", "I would give it a 1.", "Rating: 2", "It deserves a 1."],
        }
        return ways[label], [*ways["low" if label == "high" else "high"], "3"]
    named = {"Yes": "No", "No": "Yes", "A": "B", "B": "A"}
    if item.kind == "compare":
        ways = {
            name: [
                f"{name}.",
                name,
                f"({name})",
                f'"{name}"',
                f"{name}: {quoted(item.instruction).answers['AB'.index(name)]}",
                f"Answer {name} is better.",
                f"The better answer is {name}.",
                f"I think {name}, because it fits.",
                f"{name} is better than {named[name]}.",
            ]
            for name in "AB"
        }
    else:
        ways = {
            "Yes": [
                "Yes.",
                "yes",
                "YES!",
                "Answer: Yes",
                "Yes, it is.",
                "The answer is yes.",
                "Yes it does",
                '"Yes"',
                "It does.",
            ],
            "No": ["No.", "no", "NO!", "Answer: No", "No, it is not.", "The answer is no.", "No it does not", "It isn't."],
        }
    return ways[label], ways[named[label]]


def test_labels_kinds_and_splits_are_balanced() -> None:
    for items in (DEV, TEST):
        labels = Counter((item.kind, right_label(item)) for item in items)
        for kind, pair in [
            ("rate", "high low"),
            ("compare", "A B"),
            *((k, "Yes No") for k in ("correct", "helpful", "principle")),
        ]:
            first, second = pair.split()
            assert labels[kind, first] == labels[kind, second] > 0
        kinds = Counter(item.kind for item in items)
        assert set(kinds) == set(SUITE_KINDS["evaluation"])
        assert max(kinds.values()) - min(kinds.values()) <= 2
    assert (len(DEV), len(TEST)) == (162, 328)


def test_groups_are_two_items_of_one_family_and_split_with_both_labels() -> None:
    for group, items in groups().items():
        assert len(items) == 2, group
        assert len({(item.split, item.kind, item.family) for item in items}) == 1, group
        assert len({right_label(item) for item in items}) == 2, group
        first, second = (quoted(item.instruction) for item in items)
        assert (first.question, first.rule) == (second.question, second.rule), group
        if items[0].kind == "compare":
            assert first.answers == second.answers[::-1]
        else:
            assert len(first.answers) == len(second.answers) == 1
            assert first.answers != second.answers
            assert items[0].instruction.replace(first.answers[0], second.answers[0]) == items[1].instruction


def test_families_are_kinds_with_a_corruption_spread_evenly() -> None:
    sizes = {split: Counter(item.family for item in items) for split, items in (("dev", DEV), ("test", TEST))}
    assert len(sizes["test"]) == 34
    for family, size in sizes["test"].items():
        assert sizes["dev"][family] in (4, 6, 8)
        assert 8 <= size <= 14
    for item in ITEMS:
        kind, _, corruption = item.family.partition("_")
        assert kind == item.kind
        assert (quoted(item.instruction).rule == RULES[corruption]) == (kind == "principle")


def test_no_content_stands_twice_or_in_another_suite_or_in_the_seeds() -> None:
    index = DuplicateIndex(0.7)
    index.add(
        item.instruction for name in ("explicit", "implicit", "constitutional") for s in SPLITS for item in load_suite(name, s)
    )
    for name in ("explicit", "implicit", "evaluation"):
        seeds = load_seeds(name)
        texts = [text for forms in seeds["instructions"].values() for part in forms.values() for text in part]
        texts += [question for examples in seeds["shots"].values() for question, _ in examples]
        index.add(quoted(text).question if name == "evaluation" else text for text in texts)
    for items in groups().values():
        question = quoted(items[0].instruction).question
        assert question
        assert index.find(question) == "", question
        index.add([question])


def test_instructions_are_plain_lines() -> None:
    for item in ITEMS:
        assert item.instruction == " ".join(item.instruction.split())
        assert item.instruction.isascii()
        assert not any(char in item.instruction for char in "{}_«»“”")
        assert item.instruction.count('"') == {"principle": 6, "compare": 6}.get(item.kind, 4)
        assert len(item.instruction.split()) <= 45


@pytest.mark.parametrize("kind", SUITE_KINDS["evaluation"])
def test_every_item_accepts_its_label_in_several_ways_and_nothing_else(kind: str) -> None:
    for item in ITEMS:
        if item.kind == kind:
            right, wrong = references(item)
            assert {answer: reason for answer in right if (reason := verify(item, answer))} == {}, item.instruction
            assert [answer for answer in wrong if not verify(item, answer)] == [], item.instruction
            never = [
                *NO_JUDGEMENTS,
                item.instruction,
                f"{item.instruction} {item.instruction}",
                *quoted(item.instruction).answers,
            ]
            assert [answer for answer in never if not verify(item, answer)] == [], item.instruction


def test_going_on_after_a_right_label_costs_only_the_strict_verdict() -> None:
    for item in ITEMS:
        good = references(item)[0][0]
        ramble = "The children play outside. The children play outside. The children play outside."
        for output, strict in [(good, True), (f"{good}\n{ramble}", False), (f"{good}\nInstruction: {item.instruction}", False)]:
            record = score(item, "base", "prompt", output, "eos", 9)
            assert (record.content, record.strict) == (True, strict), (output, record.reason)
        assert verify(item, f"{good} {item.instruction}") == "", item.instruction


def test_a_fixed_answer_gets_no_group_right() -> None:
    for answer in ("Yes.", "No.", "A.", "B.", *"12345", "Yes. A. 5."):
        assert not [group for group, items in groups().items() if not any(verify(item, answer) for item in items)]


def test_answers_written_by_hand() -> None:
    items = {item.id: item for item in ITEMS}
    assert len(READ_BY_HAND) >= 60
    assert {items[f"evaluation-{number}"].family for number, _, _ in READ_BY_HAND} == {item.family for item in ITEMS}
    for number, right, wrong in READ_BY_HAND:
        item = items[f"evaluation-{number}"]
        assert {answer: reason for answer in right if (reason := verify(item, answer))} == {}, item.instruction
        assert [answer for answer in wrong if not verify(item, answer)] == [], item.instruction


def test_neither_lengths_nor_words_tell_the_label() -> None:
    dev, test = ([Row(i.instruction, i.kind, right_label(i), i.group) for i in items] for items in (DEV, TEST))
    found = [baseline(dev, test) for baseline in (length_baseline, bag_of_words_baseline)]
    lengths, words = (wilson(sum(right.values()), len(right)) for right in found)
    # Guessing gets a quarter of the groups, and half of the comparisons, whose two orders mirror each other: 30 % of all.
    assert (lengths.successes, words.successes, words.total) == (31, 56, 164)
    assert lengths.low < 0.30 < words.high
    assert words.low < 0.30


def test_good_answers_are_as_often_longer_as_shorter() -> None:
    longer = Counter[str]()
    for items in groups().values():
        good = items["AB".index(right_label(items[0]))] if items[0].kind == "compare" else None
        if good is not None:
            first, second = quoted(items[0].instruction).answers
            sizes = (len(first), len(second)) if right_label(items[0]) == "A" else (len(second), len(first))
        else:
            by_label = {right_label(item): len(quoted(item.instruction).answers[0]) for item in items}
            right = {"rate": "high", "principle": "No"}.get(items[0].kind, "Yes")
            sizes = (by_label.pop(right), *by_label.values())  # type: ignore[assignment]
        longer["longer" if sizes[0] > sizes[1] else "shorter" if sizes[0] < sizes[1] else "same"] += 1
    assert abs(longer["longer"] - longer["shorter"]) <= 12
    assert longer["longer"] + longer["shorter"] + longer["same"] == 245


def test_shots_hold_all_kinds_with_balanced_labels_in_no_regular_order() -> None:
    for examples in SEEDS["shots"].values():
        labels = Counter(answer for _, answer in examples)
        assert labels["Yes."] == labels["No."] == 4
        assert labels["A."] == labels["B."] == 2
        assert all(labels[rating] == 1 for rating in ("1.", "2.", "4.", "5."))
        for pair in (("Yes.", "No."), ("A.", "B.")):
            sequence = [answer for _, answer in examples if answer in pair]
            assert any(first == second for first, second in pairwise(sequence))
    for forms in SEEDS["instructions"].values():
        for text in (text for texts in forms.values() for text in texts):
            assert quoted(text).question
            assert quoted(text).answers


def test_training_phrasings_are_not_the_only_ones() -> None:
    openings = tuple(phrasing.split('"')[0] for kind in PHRASINGS.values() for phrasing in kind)
    unseen = [item for item in ITEMS if not item.instruction.startswith(openings)]
    assert 0.1 < len(unseen) / len(ITEMS) < 0.3
