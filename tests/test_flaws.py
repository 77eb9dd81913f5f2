"""Flaws, feedback and wrong revisions made by rule: known, single, reproducible, and not to be told by length."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from cai_bootstrap.evals.english import plain
from cai_bootstrap.evals.tasks import SPLITS, load_suite
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.duplicates import DuplicateIndex
from cai_bootstrap.steps.flawed import MISSPELT, Flawed, decapitalised, is_sound
from cai_bootstrap.steps.flaws import FLAWS, dodge, flawed
from cai_bootstrap.steps.misrevisions import negatives

SEEDS = load_seeds("revision")
SENTENCES: list[str] = [*SEEDS["sentences"][:70], *SEEDS["sentences"][70::8]]
FAMILIES = [(kind, family) for kind, families in FLAWS.items() for family in families]


def made_of(kind: str, family: str) -> list[Flawed]:
    """What the family makes of every seed sentence."""
    found = (flawed(kind, family, sentence, random.Random(i)) for i, sentence in enumerate(SENTENCES))
    return [made for made in found if made is not None]


ALL = [made for kind, family in FAMILIES for made in made_of(kind, family)]
DODGES = [dodge(question, answer, random.Random(i)) for i, (question, answer) in enumerate(SEEDS["questions"])]


@pytest.mark.parametrize(("kind", "family"), FAMILIES)
def test_every_family_finds_sentences_and_only_the_sound_one_is_right(kind: str, family: str) -> None:
    found = made_of(kind, family)
    assert len(found) >= 5
    assert len({made.instruction.split('"')[0] for made in found}) >= 2
    for made in found:
        assert (made.kind, made.family) == (kind, family)
        assert made.problem(made.revised) == ""
        assert made.problem(made.draft) != ""
        assert made.draft != made.revised
        assert f'"{made.draft}"' in made.instruction
        assert made.instruction == " ".join(made.instruction.split())
        assert [other for other in made.others if made.problem(other)] == []


@pytest.mark.parametrize(("kind", "family"), FAMILIES)
def test_equal_chance_gives_equal_flaws(kind: str, family: str) -> None:
    assert made_of(kind, family) == made_of(kind, family)


def test_the_right_revision_of_a_fix_or_a_clearer_text_is_the_sound_sentence() -> None:
    assert all(made.revised in SENTENCES for made in ALL if made.kind in ("fix", "clearer") and made.family != "tense")
    assert all(made.draft in SENTENCES for made in ALL if made.kind == "feedback")


def test_only_one_thing_is_wrong() -> None:
    """All flaws but shuffles and repetitions leave every word in its place except for the one that is hit."""
    for made in ALL:
        if made.kind == "fix":
            ours, theirs = made.draft.split(), made.revised.split()
            assert sum((Counter(ours) - Counter(theirs)).values()) <= 1, made
            assert len([word for word in (Counter(theirs) - Counter(ours)).elements() if word != "will"]) <= 1, made


@pytest.mark.parametrize(
    ("kind", "family", "sentence", "draft", "revised"),
    [
        ("fix", "agreement", "She walks to the park.", "She walk to the park.", None),
        ("fix", "agreement", "We have a red boat.", "We has a red boat.", None),
        ("fix", "missing_article", "Her son is a tall boy.", "Her son is tall boy.", None),
        ("fix", "capitals", "The bread is still warm.", "the bread is still warm.", None),
        ("fix", "wrong_word", "He rode a black horse.", "He road a black horse.", None),
        ("fix", "missing_word", "She wants to dance with him.", "She wants dance with him.", None),
        ("fix", "missing_word", "The frog sat on the old stone.", "The frog sat the old stone.", None),
        ("fix", "missing_word", "My sister is very tall.", "My sister very tall.", None),
        ("fix", "plural", "Look at those three boats.", "Look at those three boat.", None),
        ("fix", "plural", "The wolves ran into the forest.", "The wolfs ran into the forest.", None),
        ("fix", "a_or_an", "Anna ate an egg with salt.", "Anna ate a egg with salt.", None),
        ("fix", "end_mark", "Where do you live?", "Where do you live.", None),
        ("clearer", "false_start", "We met at the station.", "We met at the market, no, I mean the station.", None),
        ("feedback", "please", "Open the window quickly.", None, "Please open the window quickly."),
        ("feedback", "question", "The old man is asleep.", None, "Is the old man asleep?"),
        ("feedback", "question", "They can see the sea.", None, "Can they see the sea?"),
        ("feedback", "negate", "It was cold in the room.", None, "It was not cold in the room."),
        ("feedback", "negate", "We can see the sea.", None, "We cannot see the sea."),
        ("feedback", "person", "He can swim in the sea.", None, "She can swim in the sea."),
        ("feedback", "leave_out", "My red coat is wet.", None, "My coat is wet."),
        ("feedback", "all_capitals", "The shop is open.", None, "THE SHOP IS OPEN."),
        ("feedback", "exclamation", "The train is here.", None, "The train is here!"),
        ("feedback", "swap", "On Monday we play chess.", None, "On Wednesday we play chess."),
        ("feedback", "past", "She drives to the coast.", None, "She drove to the coast."),
        ("feedback", "past", "My boots are full of water.", None, "My boots were full of water."),
        ("feedback", "future", "The boats were late.", None, "The boats will be late."),
        ("feedback", "future", "He sold his house.", None, "He will sell his house."),
        ("feedback", "other_word", "A small bird sat there.", None, "A little bird sat there."),
    ],
)
def test_rules_by_example(kind: str, family: str, sentence: str, draft: str | None, revised: str | None) -> None:
    made = flawed(kind, family, sentence, random.Random(1))
    assert made is not None
    assert (made.draft, made.revised) == (draft or sentence, revised or sentence)


@pytest.mark.parametrize(
    ("kind", "family", "sentence", "texts"),
    [
        ("feedback", "person", "He has a new job.", {"She has a new job.", "I have a new job.", "They have a new job."}),
        ("feedback", "person", "She is in the garden.", {"He is in the garden.", "I am in the garden."}),
        ("feedback", "person", "They walked to school.", {"He walked to school.", "We walked to school."}),
        (
            "feedback",
            "negate",
            "The bakers open the shop.",
            {"The bakers do not open the shop.", "The bakers never open the shop."},
        ),
        ("feedback", "negate", "She has a bike.", {"She does not have a bike."}),
        ("feedback", "question", "My sister sold cheese.", {"Did my sister sell cheese?"}),
        ("feedback", "leave_out", "She opened the door slowly.", {"She opened the door."}),
        ("feedback", "leave_out", "We swim in the lake in summer.", {"We swim in the lake."}),
        (
            "feedback",
            "add",
            "The dog sleeps on the mat.",
            {"The old dog sleeps on the mat.", "The dog sleeps on the mat at noon."},
        ),
        ("clearer", "wordy", "We saw a small boat.", {"We saw a boat that is small."}),
        ("clearer", "wordy", "She lives near the church.", {"She lives in the vicinity of the church."}),
    ],
)
def test_a_family_has_more_than_one_way(kind: str, family: str, sentence: str, texts: set[str]) -> None:
    """`texts` are made by some chance: drafts of what is to be clearer, right revisions of feedback."""
    found = [made for i in range(60) if (made := flawed(kind, family, sentence, random.Random(i))) is not None]
    assert texts <= {made.revised if kind == "feedback" else made.draft for made in found}


@pytest.mark.parametrize(
    ("kind", "family", "sentence"),
    [
        ("fix", "agreement", "The fish is in the bowl."),  # «the fish are» is right
        ("fix", "agreement", "If he were here, we would sing."),
        ("fix", "missing_article", "They like warm soup."),
        ("fix", "swapped_letters", "The cat is fat."),
        ("fix", "tense", "The baker opens his shop every morning."),  # says when already
        ("fix", "tense", "The man who sings knows me."),
        ("fix", "a_or_an", "She waited for an hour."),  # a letter does not tell
        ("fix", "a_or_an", "He wears a uniform at work."),
        ("fix", "missing_word", "They want the red one."),
        ("fix", "plural", "Both her sons speak French."),
        ("clearer", "scrambled", "When it rains in the night, the river behind our house rises."),
        ("feedback", "please", "The window is open."),
        ("feedback", "question", "The man who sings is here."),  # the subject is longer than the rule knows
        ("feedback", "question", "He is here and she is there."),
        ("feedback", "negate", "There is no milk."),
        ("feedback", "person", "He washed his car."),
        ("feedback", "person", "They are doctors."),  # what they are would have to be another word
        ("feedback", "person", "They meet at noon."),
        ("feedback", "negate", "They eat nothing at school."),
        ("feedback", "question", "I like cheese."),
        ("feedback", "leave_out", "The party was on Sunday."),
        ("feedback", "leave_out", "We swim in summer."),
        ("feedback", "leave_out", "She has an orange bag."),
        ("feedback", "leave_out", "A flower is a beautiful, green plant."),
        ("feedback", "swap", "The violin is old."),
        ("feedback", "past", "He says that she knows him."),  # a second verb that would have to follow
        ("feedback", "past", "I walked home alone."),
        ("feedback", "past", "They walk and talk in the park."),
        ("feedback", "future", "Tomorrow the shop is closed."),
        ("feedback", "other_word", "She has an ill cat."),  # it would have to be «a»
        ("feedback", "add", "We often eat here."),
    ],
)
def test_what_is_not_sure_is_left_alone(kind: str, family: str, sentence: str) -> None:
    assert flawed(kind, family, sentence, random.Random(3)) is None


def test_dodges_do_not_answer_and_have_one_right_revision() -> None:
    assert {made.family for made in DODGES} == {"dont_know", "asks_back", "sends_away", "other_topic", "vague"}
    for made, (question, answer) in zip(DODGES, SEEDS["questions"], strict=True):
        assert made.problem(answer) == ""
        assert made.problem(made.draft) != ""
        assert question in made.instruction


def test_no_dodge_of_the_generator_is_a_draft_of_the_suite() -> None:
    drafts = DuplicateIndex(0.7)
    drafts.add(re.findall(r'"([^"]*)"', item.instruction)[-1] for split in SPLITS for item in load_suite("revision", split))
    assert [made.draft for made in DODGES if drafts.find(made.draft)] == []


@pytest.mark.slow
def test_negatives_are_wrong_different_and_of_every_kind() -> None:
    kinds: Counter[str] = Counter()
    for i, made in enumerate(ALL + DODGES):
        found = negatives(made, random.Random(i))
        assert found == negatives(made, random.Random(i))
        texts = [text for text, _ in found]
        assert len(set(texts)) == len(texts)
        assert [text for text in texts if not made.problem(text)] == []
        kinds.update(kind for _, kind in found)
    assert set(kinds) == {"unchanged", "other_flaw", "content_lost", "padded", "echo", "request"}
    assert min(kinds.values()) >= 50


@pytest.mark.parametrize("kind", ["fix", "clearer", "feedback", "helpful"])
def test_neither_longer_nor_shorter_tells_the_right_revision(kind: str) -> None:
    """Every right revision has as many longer wrong ones as shorter ones, and nearly every one has some."""
    rows = [made for made in ALL + DODGES if made.kind == kind]
    with_some = 0
    for i, made in enumerate(rows):
        sizes = [len(text) - len(made.revised) for text, _ in negatives(made, random.Random(i))]
        assert sum(size > 0 for size in sizes) == sum(size < 0 for size in sizes)
        with_some += any(sizes)
    assert with_some >= 0.95 * len(rows)


def test_the_unchanged_draft_is_nearly_always_among_the_negatives() -> None:
    rows = ALL + DODGES
    with_draft = sum(any(kind == "unchanged" for _, kind in negatives(made, random.Random(i))) for i, made in enumerate(rows))
    assert with_draft >= 0.95 * len(rows)


def test_every_seed_sentence_is_sound() -> None:
    assert [sentence for sentence in SENTENCES if not is_sound(sentence)] == []


@pytest.mark.parametrize(
    "sentence",
    [
        "The baker opens his shop at six.",
        "Is the water in the pool warm?",
        "I don't like the smell of paint.",
        "Anna's horse jumped over the fence, and we cheered.",
        "An hour is longer than a minute.",
        "When it rains, we stay at home.",
        "The glass is on the table.",
        "The fish are in two big bowls.",
        "Both her sons speak good French.",
    ],
)
def test_sound_sentences(sentence: str) -> None:
    assert is_sound(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "Birds sing.",  # too short to hide a flaw in
        "the dog is asleep in the sun.",
        "The dog is asleep in the sun",
        "The dog is asleep. The cat is awake.",
        "The dog is is asleep in the sun.",
        "The dog chased the other dog home.",
        "She go to the market every day.",
        "They was late for the bus again.",
        "He saw a owl in the tree.",
        "Yesterday i was in the garden.",
        "The dog in the warm sun.",  # no verb
        "My freind lives in a big huose.",
        "He put it on the.",
        "Response: The dog is asleep.",
        "The dog (a poodle) is asleep.",
        "The 3 dogs are asleep today.",
        "DOGS ARE ASLEEP IN THE SUN.",
        "You know, the dog is asleep in the sun.",
        "I do not know what dogs eat.",
        "Write a sentence about a dog.",
        "The dog is asleep..",
        "Why is the cat on the roof.",
        "The cat is on the roof?",
        "The dogs barks at the man.",
        "My brother play with a ball.",
        "There are three chair in the room.",
        "We waited for a hour in the rain.",
        "Peter and Paul and Mary and John sing well.",
        "The dog and the cat and the cow and the horse and the hen and the duck all sleep now.",
    ],
)
def test_unsound_sentences(sentence: str) -> None:
    assert not is_sound(sentence)


def test_a_word_that_is_not_known_is_not_sound() -> None:
    known = {"the", "dog", "is", "asleep", "in", "sun", "likes"}
    assert is_sound("The dog is asleep in the sun.", known)
    assert is_sound("Near the dog Peter is asleep.", known | {"near"})
    assert not is_sound("The dog is aslep in the sun.", known)


def test_every_flawed_draft_of_a_fix_with_a_visible_flaw_is_unsound() -> None:
    """What the table misspells, an agreement broken by a pronoun, a doubled word or a small first letter is seen again."""
    for made in ALL:
        if made.family in ("common_misspelling", "doubled_word") or (made.family == "capitals" and made.draft[0].islower()):
            assert not is_sound(made.draft), made.draft


def test_misspellings_are_no_words_of_the_seeds() -> None:
    said = {word for sentence in SENTENCES for word in plain(sentence).split()}
    assert not said & set(MISSPELT.values())
    assert not set(MISSPELT) & set(MISSPELT.values())


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The cat sleeps.", "the cat sleeps."),
        ("I am here.", "I am here."),
        ("Anna sings.", "Anna sings."),
        ("THE END.", "THE END."),
    ],
)
def test_decapitalised(sentence: str, expected: str) -> None:
    assert decapitalised(sentence) == expected
