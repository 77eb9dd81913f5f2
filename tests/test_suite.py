"""The frozen suites of stages 1 and 2: balanced, unique, and each item accepts a right answer and rejects wrong ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai_bootstrap.evals.english import plain, words
from cai_bootstrap.evals.tasks import SPLITS, load_suite, score, verify
from cai_bootstrap.records import HeldOutItem
from cai_bootstrap.steps.duplicates import DuplicateIndex

FACTS = {  # (items in each split, items of each kind in each split, families, dev's part of a family)
    "explicit": ({"dev": 340, "test": 340}, {"answer": 0.3, "complete": 0.3, "generate": 0.3, "respond": 0.1}, 35, 1 / 2),
    "implicit": ({"dev": 150, "test": 300}, {"answer": 0.5, "complete": 0.28, "respond": 0.22}, 30, 1 / 3),
}
SUITES = {name: {split: load_suite(name, split) for split in SPLITS} for name in FACTS}
ITEMS = sorted((item for suite in SUITES.values() for items in suite.values() for item in items), key=lambda item: item.id)

REPLIES = {
    "thanks": "You're welcome! It was nothing.",
    "greeting": "Hello! It is very nice to meet you.",
    "apology": "That's okay, please don't worry about it.",
    "good_news": "Congratulations! That is wonderful news.",
    "bad_news": "Oh no, I'm so sorry to hear that.",
    "farewell": "Goodbye! See you soon.",
    "how_are_you": "I'm fine, thank you. How are you?",
    "offers": "Yes, please. That would be lovely.",
    "needs": "Let me help you with that.",
}
_WELCOME = "You're welcome! I'm glad that you liked it."
_WONDERFUL = "That's wonderful! You must be very happy."
MISFITS = {  # natural replies to other kinds of messages
    "thanks": ["I'm so sorry to hear that."],
    "greeting": ["I'm so sorry to hear that.", _WELCOME],
    "apology": ["Congratulations! That is great.", _WELCOME, _WONDERFUL],
    "good_news": ["Oh no, I'm so sorry to hear that.", _WELCOME],
    "bad_news": ["Congratulations! That is great.", _WELCOME, _WONDERFUL],
    "farewell": ["I'm so sorry to hear that."],
    "how_are_you": ["You're welcome."],
    "offers": ["You're welcome."],
    "needs": ["Congratulations! That is great.", _WELCOME, _WONDERFUL],
    "wish": ["The table has four legs."],
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
READ_BY_HAND = [  # (implicit instruction, right answers, wrong answers)
    (
        "What is the capital of Canada?",
        ["Ottawa.", "The capital of Canada is Ottawa."],
        ["Toronto.", "It is Montreal or Ottawa."],
    ),
    ("In the United States, which city is the capital?", ["Washington, D.C.", "The capital is Washington."], ["New York."]),
    ("What colour is chocolate?", ["Chocolate is brown.", "Dark brown"], ["Blue.", "Chocolate is sweet."]),
    ("What colours are on a panda?", ["Black and white.", "A panda is white and black."], ["Brown and red."]),
    (
        "What is a baby horse called?",
        ["A foal.", "It is called a foal.", "A baby horse is called a colt."],
        ["A calf.", "A baby horse."],
    ),
    ('Which animal says "oink"?', ["A pig.", "The pig says oink."], ["A cow."]),
    ("What do you use to stir your coffee?", ["A spoon.", "You use a teaspoon to stir your coffee."], ["A fork.", "Coffee."]),
    ("What do you sit on at your desk?", ["A chair.", "On an office chair.", "I sit on a chair."], ["The table.", "A desk."]),
    ("What is leather made from?", ["Leather is made from animal skin.", "The hide of a cow."], ["Cotton."]),
    ("Where do whales live?", ["In the sea.", "Whales live in the ocean."], ["In the forest."]),
    ("Where does Santa Claus live?", ["At the North Pole.", "He lives in Lapland."], ["In Africa.", "At the South Pole."]),
    (
        "What do you kick a football with?",
        ["Your foot.", "With your feet.", "You kick a football with your foot."],
        ["Your hand.", "A ball."],
    ),
    ("What covers your whole body?", ["Skin.", "Your skin covers your whole body."], ["Your head."]),
    ("Is a pillow hard or soft?", ["Soft.", "A pillow is soft."], ["Hard.", "Hard or soft.", "It is hard, not soft."]),
    ("Do people wear mittens in summer or winter?", ["In winter.", "People wear mittens in winter."], ["In summer."]),
    (
        "Do we eat breakfast in the evening or the morning?",
        ["In the morning.", "We eat breakfast in the morning."],
        ["In the evening."],
    ),
    (
        "Which is bigger, the moon or the Earth?",
        ["The Earth.", "The Earth is bigger than the moon."],
        ["The moon.", "The moon is bigger than the Earth."],
    ),
    ("What do people in Egypt speak?", ["Arabic.", "People in Egypt speak Arabic."], ["English."]),
    ("Who builds houses?", ["A builder.", "Builders build houses.", "Construction workers."], ["A baker.", "Houses."]),
    ("Who catches fish for a living?", ["A fisherman.", "Fishermen catch fish for a living."], ["A doctor."]),
    ("What is the opposite of winning?", ["Losing.", "The opposite of winning is to lose."], ["Winning is good."]),
    ("If you are not asleep, what are you?", ["Awake.", "You are awake."], ["You are asleep.", "Hungry."]),
    (
        "In which season do trees lose their leaves?",
        ["In autumn.", "Fall.", "Trees lose their leaves in the fall."],
        ["In spring.", "Trees lose their leaves in summer."],
    ),
    ("What is frozen water called?", ["Ice.", "It is called ice."], ["Steam.", "Frozen water."]),
    (
        "I wonder what the capital of Chile is.",
        ["Santiago.", "The capital of Chile is Santiago."],
        ["I wonder too.", "Lima.", "The capital of Chile is a city."],
    ),
    ("I'd like to know what glass is made of.", ["Glass is made of sand.", "Sand."], ["Glass.", "Wood and sand."]),
    ("I wonder which is heavier, a whale or a wasp.", ["A whale.", "A whale is heavier."], ["A wasp is heavier."]),
    (
        "I've forgotten what a dog's little house is called.",
        ["A kennel.", "It is called a dog house."],
        ["A house.", "A barn."],
    ),
    ("in and", ["out", "In and out."], ["in", "and in"]),
    ("hide and", ["seek", "Hide and seek."], ["hide", "run"]),
    ("7, 8, 9,", ["10", "10, 11, 12", "7, 8, 9, 10", "ten"], ["11", "7, 8, 9"]),
    ("two, four, six,", ["eight", "8, 10"], ["seven"]),
    ("Saturday, Sunday,", ["Monday", "Monday, Tuesday, Wednesday"], ["Tuesday", "Sunday"]),
    (
        "Yesterday was Monday, so today is",
        ["Tuesday.", "Yesterday was Monday, so today is Tuesday."],
        ["Monday.", "Wednesday."],
    ),
    ("The happy dog wagged its", ["tail.", "The happy dog wagged its long tail."], ["ears and barked.", "dog."]),
    ("He filled the bath with warm", ["water", "He filled the bath with warm water."], ["bread", "milk"]),
    ("The wolf howled at the", ["moon.", "The wolf howled at the full moon."], ["spoon."]),
    ("Dolphins live in the", ["ocean.", "Dolphins live in the sea."], ["forest."]),
    ("as proud as a", ["peacock", "as proud as a peacock"], ["table", "proud"]),
    ("as dry as a", ["bone"], ["river"]),
    ("Once upon a", ["time", "Once upon a time there was a king.", "time, there was a little girl."], ["table"]),
    ("When in Rome, do as the Romans", ["do.", "When in Rome, do as the Romans do."], ["Rome.", "sleep."]),
    (
        "She was thirsty, so she drank some",
        ["water.", "cold water.", "She was thirsty, so she drank some water."],
        ["bread.", "shoes."],
    ),
    ("If you throw a ball up in the air, it comes back", ["down.", "to you."], ["red."]),
    (
        "Thanks, the soup was delicious!",
        ["You're welcome!", "Thank you!", "I'm glad you liked it."],
        ["Congratulations!", "The soup is red."],
    ),
    ("Good morning, everyone!", ["Good morning!", "Hello! How are you today?"], ["Goodbye!", "The sun is a star."]),
    ("Welcome back home!", ["Thank you, it's good to be back."], ["I have a dog."]),
    ("I'm sorry I forgot your birthday.", ["That's okay.", "Don't worry about it."], ["Congratulations!", "You're welcome."]),
    (
        "My team won the cup!",
        ["Congratulations!", "That's wonderful news!"],
        ["I'm so sorry to hear that.", "The cup is on the table."],
    ),
    (
        "My goldfish died this morning.",
        ["I'm so sorry to hear that.", "Oh no, poor thing."],
        ["Congratulations!", "That's great!"],
    ),
    ("Sleep tight, little one.", ["Good night!", "Thank you, you too."], ["I'm sorry to hear that.", "I have a dog."]),
    ("How did you sleep last night?", ["I slept very well, thank you.", "Not so good."], ["You're welcome.", "I have a bed."]),
    ("How did the test go?", ["It went well.", "I passed!"], ["You're welcome.", "A test is a paper."]),
    ("Shall we play chess?", ["Yes, let's play.", "No, thank you.", "I'd love to."], ["You're welcome.", "I do not know."]),
    ("Who wants the last slice of pizza?", ["I do!", "Me, please."], ["Pizza is round."]),
    (
        "I don't know what to cook tonight.",
        ["How about pasta?", "You could make some soup.", "Let's order a pizza."],
        ["Congratulations!", "You don't know what to cook tonight.", "I do not know."],
    ),
    ("It's so dark in here.", ["I'll turn on the light.", "Let me open the curtains."], ["You're welcome.", "It is night."]),
    (
        "I can't open this jar.",
        ["Let me try.", "Give it to me, I'll help you."],
        ["Congratulations!", "A jar is made of glass."],
    ),
    ("I can't fall asleep.", ["Try counting sheep.", "How about a glass of warm milk?"], ["Good for you!", "I am a man."]),
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


# Over all items in one test each: four thousand tests of a millisecond would take a quarter of the fast ones' time.
def test_every_reference_is_accepted() -> None:
    found = {item.id: {a: reason for a in references(item) if (reason := verify(item, a))} for item in ITEMS}
    assert {id_: reasons for id_, reasons in found.items() if reasons} == {}


def test_no_item_accepts_an_echo_a_loop_a_refusal_or_nothing() -> None:
    found = {item.id: [answer for answer in wrong_answers(item) if not verify(item, answer)] for item in ITEMS}
    assert {id_: accepted for id_, accepted in found.items() if accepted} == {}


def wrong_answers(item: HeldOutItem) -> list[str]:
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
    return wrong


def test_repeating_or_rambling_after_a_reference_costs_only_the_strict_verdict() -> None:
    ramble = "The children play outside. The children play outside. The children play outside."
    for item in ITEMS:
        good = references(item)[0]
        for output, strict in [(good, True), ("\n".join([good] * 4), False), (f"{good}\n{ramble}", False)]:
            record = score(item, "base", "prompt", output, "eos", 9)
            assert (record.content, record.strict) == (True, strict), (item.id, output, record.reason)


def test_no_item_accepts_the_reference_of_its_neighbours() -> None:
    families = defaultdict(list)
    for item in ITEMS:
        families[item.suite, item.family].append(item)
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
    assert checked > 800


def test_a_list_of_rivals_is_no_answer() -> None:
    for item in ITEMS:
        if item.verifier == "any_of" and item.arguments["rivals"]:
            answer = f"{item.arguments['rivals'][0]}, {item.arguments['accepted'][0]}"
            assert verify(item, answer), (item.id, answer)
        if item.verifier == "member_of":
            first, second = item.arguments["lexicon"][:2]
            assert verify(item, f"{first}, {second}") == "names more than one", item.id


def test_a_reply_to_another_message_is_rejected() -> None:
    replies = [item for item in ITEMS if item.verifier == "reply"]
    assert [(item.id, misfit) for item in replies for misfit in MISFITS[item.family] if not verify(item, misfit)] == []


@pytest.mark.parametrize("suite", SUITES)
def test_kinds_and_families_are_balanced(suite: str) -> None:
    sizes, shares, num_families, dev_part = FACTS[suite]
    items = [item for split in SPLITS for item in SUITES[suite][split]]
    for split in SPLITS:
        kinds = Counter(item.kind for item in SUITES[suite][split])
        assert kinds == {kind: round(share * sizes[split]) for kind, share in shares.items()}
    families, dev = Counter(item.family for item in items), Counter(item.family for item in SUITES[suite]["dev"])
    assert set(families) == set(dev) == {item.family for item in SUITES[suite]["test"]}
    assert max(abs(dev[family] - dev_part * size) for family, size in families.items()) <= 3
    assert len({(item.kind, item.family) for item in items}) == len(families) == num_families


@pytest.mark.parametrize(("instruction", "right", "wrong"), READ_BY_HAND)
def test_answers_written_by_hand(instruction: str, right: list[str], wrong: list[str]) -> None:
    item = next(item for item in ITEMS if item.suite == "implicit" and item.instruction == instruction)
    assert {answer: reason for answer in right if (reason := verify(item, answer))} == {}
    assert [answer for answer in wrong if not verify(item, answer)] == []


def test_every_implicit_family_is_among_the_answers_written_by_hand() -> None:
    read = {instruction for instruction, _, _ in READ_BY_HAND}
    families = {item.family for item in ITEMS if item.suite == "implicit"}
    assert len(read) >= 40
    assert {item.family for item in ITEMS if item.suite == "implicit" and item.instruction in read} == families


def test_no_implicit_item_is_near_another_one_or_an_explicit_one() -> None:
    seen = DuplicateIndex(0.7)
    seen.add(item.instruction for item in ITEMS if item.suite == "explicit")
    for item in ITEMS:
        if item.suite == "implicit":
            assert not seen.find(item.instruction), item.instruction
            seen.add([item.instruction])


def test_implicit_items_do_not_say_what_to_do() -> None:
    openings = ("answer", "complete", "finish", "continue", "respond", "reply", "write", "name", "tell", "give", "say")
    for item in ITEMS:
        if item.suite == "implicit":
            assert plain(item.instruction).split()[0] not in openings, item.instruction
            assert ":" not in item.instruction, item.instruction
            if item.kind == "complete":
                assert item.arguments["stem"] == item.instruction
                assert not item.instruction.endswith((".", "!", "?")), item.instruction


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
    for item in ITEMS[::11]:
        assert isinstance(verify(item, text), str)
        assert verify(item, " ".join(pieces)) != "", (item.instruction, pieces)
