"""The suite of stage 3: balanced, read by hand, and each item takes its own form and no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from generation_answers import read_by_hand

from cai_bootstrap.evals.english import plain, words
from cai_bootstrap.evals.forms import bases, on_type
from cai_bootstrap.evals.phrasings import parse
from cai_bootstrap.evals.tasks import SPLITS, SUITE_SHA256, load_suite, score, verify
from cai_bootstrap.records import HeldOutItem
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.duplicates import DuplicateIndex

SPLIT = {split: load_suite("generation", split) for split in SPLITS}
ITEMS = sorted((item for items in SPLIT.values() for item in items), key=lambda item: item.id)
READ = read_by_hand()
SIZES = {"question": 126, "fact": 72, "example": 42, "request": 105, "instruction": 105}
TEXTS = {  # of a topic's word
    "question": "Why do so many people like {}?",
    "fact": "Many old people like {} very much.",
    "request": "Could you please tell them more of {}?",
    "instruction": "Do not forget {} this week.",
}
NO_ANSWERS = [
    "",
    "...",
    "I do not know.",
    "I cannot write that.",
    "It is a thing that has a name.",
    "Lorem ipsum dolor sit amet.",
    "Sure!",
    "Here is one.",
]


def form_of(item: HeldOutItem) -> str:
    return str(item.arguments.get("form", "member"))


def references(item: HeldOutItem) -> Iterator[str]:
    """Right answers, made from the verifier's arguments."""
    if item.verifier == "member_of":
        for thing in item.arguments["lexicon"]:
            yield from (thing, f"One is the {thing}.")
        yield f"One example of {item.instruction.split(' of ')[1][:-1]} is {item.arguments['lexicon'][0]}."
        return
    text = TEXTS.get(form_of(item))
    if text is None:
        return
    opens = item.arguments.get("opens", ["why"])
    for word in item.arguments.get("topic", ["milk"]):
        if word in ("my", "your", "his", "her"):
            continue
        if opens[0] == "why":
            yield text.format(word)
        else:
            yield f"{'do' if 'do' in opens else opens[0]} they all find {word}?".capitalize()


@pytest.mark.parametrize(("instruction", "right", "wrong"), READ, ids=[instruction for instruction, _, _ in READ])
def test_answers_written_by_hand(instruction: str, right: list[str], wrong: list[str]) -> None:
    item = next(item for item in ITEMS if item.instruction == instruction)
    assert {answer: reason for answer in right if (reason := verify(item, answer))} == {}
    assert [answer for answer in wrong if not verify(item, answer)] == []
    for answer in right:
        record = score(item, "base", "prompt", answer, "eos", 9)
        assert (record.content, record.strict) == (True, True)
        assert not score(item, "base", "prompt", f"{answer}\n{answer}\n{answer}", "eos", 9).strict


def test_every_family_and_form_is_read_by_hand() -> None:
    read = {instruction for instruction, _, _ in READ}
    assert len(READ) == len(read) >= 70
    assert sum(len(right) + len(wrong) for _, right, wrong in READ) >= 400
    assert {item.family for item in ITEMS if item.instruction in read} == {item.family for item in ITEMS}


def test_every_word_of_a_topic_makes_a_right_answer() -> None:
    for item in ITEMS:
        assert {answer: reason for answer in references(item) if (reason := verify(item, answer))} == {}, item.instruction


def test_no_item_accepts_another_form_an_echo_a_loop_or_nothing() -> None:
    for item in ITEMS:
        wrong = [*NO_ANSWERS, item.instruction, item.instruction.rstrip("."), f"{item.instruction[:-1]}?"]
        wrong += [f"{' '.join([plain(answer)] * 4)}." for answer in references(item) if " " in answer][:1]
        wrong.append(item.instruction.split(" ", 1)[1])
        if form_of(item) in TEXTS:
            word = item.arguments.get("topic", ["milk"])[0]
            # «Could you tell me more of it?» asks as well, and «Please, …» would order.
            others = set(TEXTS) - {form_of(item)} - ({"request"} if form_of(item) == "question" else set())
            wrong += [TEXTS[other].format(word) for other in others]
            wrong += [word, f"{word.capitalize()}.", f"{word.capitalize()}?", f"The {word} and the {word}."]
        assert [answer for answer in wrong if not verify(item, answer)] == [], item.instruction


def test_no_item_with_a_topic_accepts_a_text_about_something_else() -> None:
    for item in ITEMS:
        if item.arguments.get("topic") and form_of(item) in TEXTS:
            text = TEXTS[form_of(item)].format("algebra")
            assert verify(item, text) or "people" in item.arguments["topic"], item.instruction


def test_kinds_families_and_splits_are_balanced() -> None:
    assert {split: len(items) for split, items in SPLIT.items()} == {"dev": 150, "test": 300}
    assert Counter(item.kind for item in ITEMS) == SIZES
    for split, part in (("dev", 1 / 3), ("test", 2 / 3)):
        families = Counter(item.family for item in SPLIT[split])
        assert all(families[family] == round(part * size) for family, size in Counter(item.family for item in ITEMS).items())
        assert Counter(item.kind for item in SPLIT[split]) == {kind: round(part * size) for kind, size in SIZES.items()}
    assert len({(item.kind, item.family) for item in ITEMS}) == len({item.family for item in ITEMS}) == 17
    # Spread evenly: no family's items stand together.
    for first, second, third in zip(ITEMS, ITEMS[1:], ITEMS[2:], strict=False):
        assert len({first.family, second.family, third.family}) > 1


def test_no_item_is_near_another_one_or_one_of_another_suite_or_a_seed() -> None:
    seen = DuplicateIndex(0.7)
    others = [name for name in SUITE_SHA256 if name != "generation"]
    seen.add(item.instruction for name in others for split in SPLITS for item in load_suite(name, split))
    for name in ("explicit", "implicit", "generation"):
        seeds = load_seeds(name)
        seen.add(text for forms in seeds["instructions"].values() for texts in forms.values() for text in texts)
        seen.add(text for examples in seeds["shots"].values() for text, _ in examples)
    keys = set()
    for item in ITEMS:
        assert seen.find(item.instruction) == "", item.instruction
        seen.add([item.instruction])
        key = frozenset(words(item.instruction))
        assert key not in keys
        keys.add(key)
        assert item.instruction == " ".join(item.instruction.split())
        assert not any(char in item.instruction for char in "{}_«»“”:;")
        assert item.instruction.endswith(".")


def test_topics_come_in_several_forms() -> None:
    forms: dict[str, set[str]] = {}
    for item in ITEMS:
        if item.arguments.get("topic"):
            forms.setdefault(min(bases(item.arguments["topic"][0])), set()).add(item.kind)
    assert sum(len(kinds) > 1 for kinds in forms.values()) >= 40


def test_instructions_are_understood_as_they_are_meant() -> None:
    lost = []
    for item in ITEMS:
        asked = parse(item.instruction)
        if item.verifier == "member_of" or asked is None:
            lost.append(item)
            assert asked is None, item.instruction
            assert on_type(item.instruction, next(references(item), "")) == "instruction not understood"
        else:
            assert asked.form == form_of(item), item.instruction
            assert bool(asked.opens) == bool(item.arguments.get("opens")), item.instruction
    assert len(lost) - sum(item.verifier == "member_of" for item in ITEMS) <= 5


def test_training_data_is_judged_by_the_instruction_alone_and_never_more_kindly() -> None:
    taken = 0
    for instruction, right, wrong in READ:
        item = next(item for item in ITEMS if item.instruction == instruction)
        taken += sum(not on_type(instruction, answer) for answer in right)
        if item.arguments.get("topic") and item.family not in ("instruction_to_someone", "question_to_someone"):
            assert [answer for answer in wrong if not on_type(instruction, answer)] == [], instruction
    assert taken > 0.6 * sum(len(right) for _, right, _ in READ)
