"""Moods of sentences, the form that an instruction asks for, and the verifier `form` away from any suite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_bootstrap.evals import moods
from cai_bootstrap.evals.forms import FORMS, bases, form, on_type
from cai_bootstrap.evals.phrasings import parse

# Each a mood, sentences of it, and sentences that are not.
MOODS: list[tuple[Callable[[str], str], str, str]] = [
    (
        moods.asks,
        """How long is the Nile? | Why do cats purr? | Is honey sweet? | Can a fish sleep? | On a cold day, what do you
        wear? | In which country is the Nile? | Excuse me, where is the station? | If you had a boat, where would you
        sail? | When winter comes, what do bears do? | Who invented the telephone? | What makes bread rise? | What
        pollinates flowers? | Have you ever seen a whale? | What is honey? | Do you like tea or coffee? | At what time
        does the shop open? | Where does the river go to? | So, why is the sky blue? | Mum, why is the sky blue? |
        What's your favourite river? | Which rivers flow into the sea? | Has anyone seen my hat? | What if the sun went
        out? | How come birds can fly? | Are rivers always wet? | Why don't spiders stick to their webs? | Would you
        rather have a cat or a dog? | Does it rain a lot in Spain? | What does a dentist do? | And why do birds sing?""",
        """Rivers? | What rivers? | Rivers are long. | How long is the Nile | You like rivers? | What about rivers? | What
        about rivers in Africa? | How about some tea? | What is the name of the? | The river is long, isn't it? | Is
        river? | What a river? | Rivers are long? | How long is the Nile? and why? | Long river is what?""",
    ),
    (
        moods.states,
        """Bees make honey. | Winter is the coldest season. | Water is wet. | Water boils at 100 degrees. | Fish live in
        water. | Clean water is good for you. | Bees can fly. | We get milk from cows. | In winter, days are short. |
        The first train ran in 1804. | Whales are mammals, not fish. | There are many kinds of bees. | Milk comes from
        cows. | Salt dissolves in water. | Light travels faster than sound. | Most birds can fly. | A river flows into
        the sea. | Penguins cannot fly. | Bees pollinate flowers. | No two snowflakes are alike. | Iron rusts in the
        rain. | You need flour to bake bread. | People bake bread in an oven. | Play is good for children. | Ice floats
        on water. | Bread is made from flour. | Once a year, trees lose leaves. | Rivers never stop flowing. | Tea grows
        on bushes. | Oil and water do not mix. | Sheep give us wool. | Cats sleep a lot. | Dogs bark. | Rain falls from
        clouds. | Snow melts in spring. | It takes eight minutes for light to reach us. | Sleep helps the body to grow.
        | Exercise keeps you fit. | Ships float. | Knives are sharp. | Hot air rises.""",
        """Do bees sting? | Wash your hands. | Please close the door. | I like bees. | My dog is brown. | Bees | The big
        river. | Look at the bees. | Always wear a helmet. | Do not run. | He went home. | Be kind to bees. | Bees and.
        | Let's go swimming. | Bees make honey | Eat honey every day. | Never touch a bee. | Please note that bees
        sting. | Visit London.""",
    ),
    (
        moods.requests,
        """Could you please close the door? | Can you help me with my homework? | Please pass the salt. | Close the door,
        please. | May I borrow your pen? | Would you mind opening the window? | I would like a glass of water, please. |
        Two tickets to London, please. | Excuse me, could you tell me the way to the station? | Could you turn down the
        music? | Please don't be late. | Can I have some more soup? | Mum, can I go out to play? | I was wondering if
        you could help me. | Would you be so kind as to hold the door? | Please, help me carry this box. | Would it be
        possible to change my seat? | Kindly close the gate, please. | Will you water my plants while I am away? | Can
        you close it? | Please be quiet in the library. | Could we sit by the window? | If you have time, could you help
        me? | Do you think you could drive more slowly? | I'd be grateful if you could send me the book. | Please do the
        dishes. | Please stop. | Can you please repeat that? | Could someone open the window? | Could the children play
        outside? | Dear neighbour, please turn down your music. | Please could you help me? | Let me in, please. | Would
        you help me find my cat? | Could I get the bill? | Do you mind if I sit here? | Could you give me a lift home
        tomorrow. | Hold the door, please! | No smoking, please. | I'd love a cup of tea, please.""",
        """Can you swim? | Why is the sky blue? | Close the door. | He asked her to close the door. | Yes, please. |
        Please. | The neighbour is nice. | What time is it? | A request to a neighbour. | I like music. | Do you like
        music? | Thank you for the music. | He likes to please people. | You are welcome. | How are you? | Is the door
        open? | Would you like some tea? | I am happy to please you. | No, thank you. | Let's go home. | How about a
        walk?""",
    ),
    (
        moods.orders,
        """Wash your hands before you cook. | First, boil the water. | Always look both ways. | Do not run. | Don't touch
        the stove. | Stir the soup slowly. | To make tea, boil some water. | When it rains, take an umbrella. | Water
        the plants every day. | Knead the dough for ten minutes. | Be careful with the knife. | Let the dough rest. |
        Never swim alone. | Please close the gate. | Carefully cut the paper. | Look left and right before you cross the
        road. | Preheat the oven to 200 degrees. | Brush your teeth twice a day. | Add salt. | Dry the dishes with a
        towel. | Put on your seat belt. | Turn off the light. | Before you cook wash your hands. | Once the water boils,
        add the pasta. | Slowly pour the milk into the bowl. | Make sure the water is hot. | Milk the cows in the
        morning. | Write a sentence about dogs. | Then add two eggs. | Children, wash your hands! | Keep your back
        straight and breathe slowly. | Cut potatoes into small pieces. | Use soap when your hands are dirty. | Have a
        rest. | Smile when you say hello. | Sit! | Run! | Clean the windows and the floor. | Start by washing the rice.
        | Read books every day. | Drink water when you are thirsty. | Listen, please! | Have a rest.""",
        """Cooking is fun. | Water is wet. | Water boils at 100 degrees. | I cook every day. | You cook the rice. | The
        cook makes soup. | Do you like cooking? | Cooks need knives. | In the kitchen, we cook. | Milk comes from cows.
        | Cook | Cooking. | Rice and beans. | The rice. | Cutting the bread is easy. | Most of the food is good. | Dogs
        bark. | Once a year, we travel. | She washed the dishes. | It is important to wash your hands. | Baked the
        bread. | Play is fun. | Before you cook, you wash your hands. | My mother cooks dinner. | How to cook rice. | A
        good cook. | Hide-and-seek is fun. | Let it?""",
    ),
]


def listed(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("|")]


@pytest.mark.parametrize(("mood", "right", "wrong"), MOODS)
def test_a_sentence_is_of_its_mood(mood: Callable[[str], str], right: str, wrong: str) -> None:
    assert {sentence: reason for sentence in listed(right) if (reason := mood(sentence))} == {}
    assert [sentence for sentence in listed(wrong) if not mood(sentence)] == []


@pytest.mark.parametrize(
    ("instruction", "wanted", "topic"),
    [
        ("Generate a question about rivers.", "question", ["rivers"]),
        ("Please come up with one short, funny question on the subject of old bridges.", "question", ["bridges"]),
        ("Ask something about the river Nile.", "question", ["river", "nile"]),
        ("Write a fact about the bees in the garden.", "fact", ["bees", "garden"]),
        ("Tell me something interesting about glaciers.", "fact", ["glaciers"]),
        ("Make up a true and simple statement about winter.", "fact", ["winter"]),
        ("Write a request to a neighbour.", "request", []),
        ("Politely ask your brother to close the window.", "request", ["close", "window"]),
        ("Ask a waiter nicely for a spoon.", "request", ["spoon"]),
        ("Write a request that asks someone to water the roses.", "request", ["water", "roses"]),
        ("Give an instruction about cooking.", "instruction", ["cooking"]),
        ("Write an instruction on how to boil rice.", "instruction", ["boil", "rice"]),
        ("Write an instruction for making tea.", "instruction", ["tea"]),
        ("Give an instruction to a pupil.", "instruction", []),
        ("Create an example of a polite request.", "request", []),
        ("Give two examples of an apology.", None, []),
        ("Write three questions about rivers.", None, []),
        ("Give an example of an apology for a late train.", "apology", []),
        ("Give an example of a fruit.", None, []),
        ("Write a fact.", None, []),
        ("Write a question about it.", None, []),
        ("Write a sentence about rivers.", None, []),
        ("What is the capital of Kenya?", None, []),
        ("Odds and", None, []),
        ("", None, []),
    ],
)
def test_form_and_topic_are_read_off_an_instruction(instruction: str, wanted: str | None, topic: list[str]) -> None:
    asked = parse(instruction)
    assert (asked.form if asked else None, asked.topic if asked else []) == (wanted, topic)


@pytest.mark.parametrize(
    ("instruction", "right", "wrong"),
    [
        (
            "Generate a question about rivers.",
            "How long is the river? | Why do rivers bend? | Where does this river end?",
            """How long is the sea? | Rivers are long. | Rivers? | Generate a question about rivers. | A question about rivers.
            | Question: How long is the river? | How long is the river? How wide is it? | What about rivers? | Here is one.""",
        ),
        (
            'Write a question about rain that starts with "Why".',
            "Why does it rain? | Why do raindrops fall?",
            "Does it rain? | Why does it snow? | Why. | Where does the rain go?",
        ),
        ("Write a yes-or-no question about cats.", "Do cats swim? | Is that your cat?", "What do cats eat? | Cats swim."),
        (
            "Generate a question about birds in Africa.",
            "Which birds live by the lake? | Why do African birds sing?",
            "What is the capital of Africa? | Which animals live in Africa?",
        ),
        ("Write a question for a baker.", "When do you get up? | Who taught the baker?", "How high is Mount Everest?"),
        (
            "Write a fact about the sea.",
            "The sea is salty. | Many fish live in the sea.",
            """The sea is the sea. | I like the sea. | Is the sea salty? | Look at the sea. | The lake is deep. | The sea |
            The sea is something. | The sea is deep. The sea is salty. The sea is blue.""",
        ),
        (
            "Ask somebody politely to close the door.",
            "Could you close the door, please? | Please shut the door. | I am cold. Would you mind closing the door?",
            "Close the door. | Please close the book. | The door is closed. | Could you pass the salt? | Please.",
        ),
        (
            "Write a request to a neighbour.",
            "Could you water my plants? | Please be quiet. | Hello! May I borrow your ladder?",
            "The neighbour is kind. | Write a request to your neighbour. | How are you? | Thank you, neighbour. | I ask you.",
        ),
        (
            "Write an instruction for making tea.",
            "Pour hot water over the tea. | Let the tea cool for a minute. | To make tea, boil some water.",
            "Tea is hot. | Make a cake. | Do you drink tea? | You make tea with water. | Tea! | Making tea.",
        ),
        (
            "Give an example of an apology.",
            "I'm sorry that I broke your cup. | Please forgive me.",
            "An apology. | Thank you. | Give an example of an apology. | An example of an apology.",
        ),
        ("Give an example of a fruit.", "", "Apple. | An apple is a fruit. | A fruit."),
    ],
)
def test_a_text_is_what_its_instruction_asks_for(instruction: str, right: str, wrong: str) -> None:
    assert {text: reason for text in listed(right) if text and (reason := on_type(instruction, text))} == {}
    assert [text for text in ["", *listed(wrong)] if not on_type(instruction, text)] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bakes", "baking"), ("bake", "baked"), ("run", "running"), ("study", "studies"), ("tooth", "teeth"),
        ("leaf", "leaves"), ("rolled", "roll"), ("brush", "brushes"), ("wolf", "wolves"), ("tie", "tying"),
        ("carry", "carried"), ("fly", "flies"),
    ],
)  # fmt: skip
def test_inflections_share_a_base(one: str, other: str) -> None:
    assert bases(one) & bases(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("note", "not"),
        ("car", "care"),
        ("king", "kin"),
        ("need", "knee"),
        ("spring", "spray"),
        ("plane", "plan"),
        ("star", "stare"),
    ],
)
def test_words_that_only_look_alike_keep_apart(one: str, other: str) -> None:
    assert not bases(one) & bases(other)


def test_a_label_or_a_lead_in_costs_nothing() -> None:
    for answer in (
        "Here is a question about rivers: How long is the Nile river?",
        "Sure! Why do rivers bend?",
        '"Why do rivers bend?"',
    ):
        assert form(answer, "Generate a question about rivers.", form="question", topic=["river"]) == "", answer
        assert form(answer, "Generate a question about lakes.", form="question", topic=["lake"]) != "", answer


def test_text_after_the_first_sentence_saves_nothing() -> None:
    for wanted, first, then in [
        ("question", "Rivers are long.", "Why do rivers bend?"),
        ("fact", "Do rivers bend?", "Rivers are long."),
        ("instruction", "Rivers are long.", "Swim in the river."),
        ("request", "What a river!", "Please swim in the river."),
    ]:
        assert form(then, "", form=wanted, topic=["river"]) == ""
        assert form(f"{first} {then}", "", form=wanted, topic=["river"]) != ""


@given(st.text(max_size=50), st.sampled_from(FORMS), st.text(max_size=40))
def test_no_text_breaks_a_form(text: str, wanted: str, instruction: str) -> None:
    assert isinstance(form(text, instruction, form=wanted, topic=["river"], opens=["why"]), str)
    assert on_type(instruction, text) or parse(instruction)
