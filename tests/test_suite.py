"""The frozen explicit suite: balanced, unique, and each item accepts a right answer and rejects wrong ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai_bootstrap.evals.english import plain, words
from cai_bootstrap.evals.tasks import KINDS, load_suite, score, verify
from cai_bootstrap.records import HeldOutItem

DEV = load_suite("explicit", "dev")
TEST = load_suite("explicit", "test")
ITEMS = sorted(DEV + TEST, key=lambda item: item.id)
IDS = [item.id for item in ITEMS]

REPLIES = {
    "thanks": "You're welcome! It was nothing.",
    "greeting": "Hello! It is very nice to meet you.",
    "apology": "That's okay, please don't worry about it.",
    "good_news": "Congratulations! That is wonderful news.",
    "bad_news": "Oh no, I'm so sorry to hear that.",
    "farewell": "Goodbye! See you soon.",
    "how_are_you": "I'm fine, thank you. How are you?",
    "offers": "Yes, please. That would be lovely.",
}
MISFITS = {  # a natural reply to another kind of message
    "thanks": "I'm so sorry to hear that.",
    "greeting": "I'm so sorry to hear that.",
    "apology": "Congratulations! That is great.",
    "good_news": "Oh no, I'm so sorry to hear that.",
    "bad_news": "Congratulations! That is great.",
    "farewell": "I'm so sorry to hear that.",
    "how_are_you": "You're welcome.",
    "offers": "You're welcome.",
    "wish": "The table has four legs.",
}
WISHES = [
    "Happy birthday, my dear friend!",
    "Merry Christmas to you all!",
    "Happy New Year to my whole family!",
    "Good luck with everything today!",
    "I wish you both a long and happy life together.",
    "Get well soon, my friend!",
    "Good night and sweet dreams!",
    "Good morning! Have a great day.",
    "Thank you so much for your kindness.",
    "Have a safe trip and enjoy your time!",
    "Welcome to our school! We are glad to have you.",
    "Hello, it is nice to meet you.",
    "Happy Mother's Day! I love you.",
    "Congratulations! I am so proud of you.",
]


def references(item: HeldOutItem) -> list[str]:
    """Right answers to the item, made from its verifier's arguments or written above."""
    arguments = item.arguments
    if item.family in REPLIES:
        return [REPLIES[item.family]]
    match item.verifier:
        case "any_of":
            return [*arguments["accepted"], f"It is the {arguments['accepted'][0]}."]
        case "completion":
            first = arguments["accepted"][0]
            return [*arguments["accepted"], f"{arguments['stem']} {first}.", f"{item.instruction} {first}"]
        case "sentence_with":
            return [f"Yesterday my cousin told me a lot about the {word}." for word in arguments["words"]]
        case "question_about":
            return [f"Why do so many people like {word}?" for word in arguments["words"]]
        case "title_about":
            return [f"The Wonderful {word.title()}" for word in arguments["words"]]
        case "must_mention":
            return [f"It always makes me think of something {word}." for word in arguments["groups"][0]]
        case "member_of":
            return [answer for thing in arguments["lexicon"] for answer in (thing.title(), f"One is the {thing}.")]
        case _:
            return [wish for wish in WISHES if not verify(item, wish)][:1] or ["no wish fits"]


@pytest.mark.parametrize("item", ITEMS, ids=IDS)
def test_every_reference_is_accepted(item: HeldOutItem) -> None:
    assert {answer: reason for answer in references(item) if (reason := verify(item, answer))} == {}


@pytest.mark.parametrize("item", ITEMS, ids=IDS)
def test_no_item_accepts_an_echo_a_loop_a_refusal_or_nothing(item: HeldOutItem) -> None:
    good = references(item)[0]
    wrong = [
        "",
        item.instruction,
        item.instruction.split(":")[-1],
        f"{' '.join([plain(good)] * 4)}{'?' if good.endswith('?') else '.'}",  # a loop within one sentence
        "I do not know.",
        "It is a thing that has a name.",
        "Lorem ipsum dolor sit amet.",
    ]
    if item.family in ("how_are_you", "apology", "bad_news"):
        wrong.remove("I do not know.")
    assert [answer for answer in wrong if not verify(item, answer)] == []


@pytest.mark.parametrize("item", ITEMS, ids=IDS)
def test_repeating_or_rambling_after_a_reference_costs_only_the_strict_verdict(item: HeldOutItem) -> None:
    good = references(item)[0]
    ramble = "The children play outside. The children play outside. The children play outside."
    for output, strict in [(good, True), ("\n".join([good] * 4), False), (f"{good}\n{ramble}", False)]:
        record = score(item, "base", "prompt", output, "eos", 9)
        assert (record.content, record.strict) == (True, strict), (output, record.reason)


def test_no_item_accepts_the_reference_of_its_neighbours() -> None:
    families = defaultdict(list)
    for item in ITEMS:
        families[item.family].append(item)
    checked = 0
    for family in families.values():
        for item, other in [*pairwise(family), (family[-1], family[0])]:
            if item.verifier in ("any_of", "completion"):
                answer = other.arguments["accepted"][0]
                reference = f" {' '.join(words(answer))} "
                if any(f" {' '.join(words(accepted))} " in reference for accepted in item.arguments["accepted"]):
                    continue
            elif item.verifier in ("sentence_with", "question_about", "title_about"):
                answer = references(other)[0]
                if any(f" {plain(word)} " in f" {plain(answer)} " for word in item.arguments["words"]):
                    continue
            else:
                continue
            assert verify(item, answer), (item.id, item.instruction, answer)
            checked += 1
    assert checked > 500


def test_a_list_of_rivals_is_no_answer() -> None:
    for item in ITEMS:
        if item.verifier == "any_of" and item.arguments["rivals"]:
            answer = f"{item.arguments['rivals'][0]}, {item.arguments['accepted'][0]}"
            assert verify(item, answer), (item.id, answer)
        if item.verifier == "member_of":
            first, second = item.arguments["lexicon"][:2]
            assert verify(item, f"{first}, {second}") == "names more than one", item.id


@pytest.mark.parametrize("item", [item for item in ITEMS if item.verifier == "reply"], ids=lambda item: item.id)
def test_a_reply_to_another_message_is_rejected(item: HeldOutItem) -> None:
    assert verify(item, MISFITS[item.family])


def test_kinds_and_families_are_balanced() -> None:
    share = {"answer": 0.3, "complete": 0.3, "generate": 0.3, "respond": 0.1}
    for items in (DEV, TEST):
        assert len(items) == 340
        assert Counter(item.kind for item in items) == {kind: share[kind] * 340 for kind in KINDS}
    dev, test = (Counter(item.family for item in items) for items in (DEV, TEST))
    assert set(dev) == set(test)
    assert max(abs(dev[family] - test[family]) for family in dev) <= 6
    assert len({(item.kind, item.family) for item in ITEMS}) == len({item.family for item in ITEMS}) == 35


def test_instructions_are_plain_text_and_no_two_are_nearly_the_same() -> None:
    seen: dict[frozenset[str], str] = {}
    for item in ITEMS:
        assert item.instruction == " ".join(item.instruction.split())
        assert not any(char in item.instruction for char in "{}_«»“”")
        # Series share their few words on purpose; their order is what is asked.
        key = frozenset({item.id} if item.family == "counting" else words(item.instruction))
        assert key not in seen, (item.instruction, seen[key])
        seen[key] = item.instruction


def test_no_accepted_answer_is_a_rival_or_repeated() -> None:
    for item in ITEMS:
        accepted = [tuple(words(answer)) for answer in item.arguments.get("accepted", [])]
        assert not set(accepted) & {tuple(words(rival)) for rival in item.arguments.get("rivals", [])}, item.id
        assert all(accepted), item.id


@given(st.text(max_size=60), st.lists(st.sampled_from(["?", "77.", "²", "a", "is", "- x", "'", "\n", "…"]), max_size=8))
@settings(max_examples=30, deadline=None)
def test_no_text_breaks_a_verifier(text: str, pieces: list[str]) -> None:
    for item in ITEMS[::7]:
        assert isinstance(verify(item, text), str)
        assert verify(item, " ".join(pieces)) != "", (item.instruction, pieces)
