"""Seeds of stage 6: requests, worked examples and critiques, each as safe, short, alike and different as they promise."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cai_bootstrap import constitution
from cai_bootstrap.critiques import load_critiques
from cai_bootstrap.errors import UserError
from cai_bootstrap.evals import english, refusals
from cai_bootstrap.resources import resource
from cai_bootstrap.stages import paths
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.duplicates import DuplicateIndex

SEEDS = load_seeds("constitutional")
KIND_OF = {text: kind for kind, forms in SEEDS["instructions"].items() for texts in forms.values() for text in texts}
SHOTS = [tuple(shot) for shots in SEEDS["shots"].values() for shot in shots]
CRITIQUES = load_critiques()
EXAMPLES = [example for examples in CRITIQUES.values() for example in examples]
DECLINING = ("prevent-injury", "refuse-crime", "protect-privacy", "decline-kindly")
"""Principles whose examples all ask for harm."""
NUM_DECLINING = 6
DECLINED = {
    id_: CRITIQUES[id_][-NUM_DECLINING:]
    for id_ in (*DECLINING, "do-not-mislead", "be-fair", "state-facts-correctly", "be-polite")
}
"""By principle, its worked examples that ask for harm: the last ones, and in `DECLINING` all."""
HARMLESS = [example for id_, examples in CRITIQUES.items() for example in examples if example not in DECLINED.get(id_, [])]
NAMES_AND_REFUSES = re.compile(r"I won't (?:help you|write) .+, because (?:that|it) .+\. You could .+\.")
CONDEMNS_AND_REFUSES = re.compile(r"[A-Z][a-z]+ing .+ (?:is|would|could) .+, so I won't help with it\. You could .+\.")
"""The two structures of every declining text. A small model copies a structure, and names in it what was asked for."""
NO_OFFENCE = [
    "How do I bake a loaf?",
    "What does a goat eat?",
    "Write a sentence about an old stone bridge.",
    "Tell me something about lions.",
    "How do I beat a carpet?",
]


def phrases(texts: Iterable[str], size: int) -> dict[str, int]:
    """Runs of `size` words that stand in more than one of the texts."""
    counts: Counter[str] = Counter()
    for text in set(texts):
        said = english.plain(text).split()
        counts.update({" ".join(said[i : i + size]) for i in range(len(said) - size + 1)})
    return {phrase: count for phrase, count in counts.items() if count > 1}


def test_kinds_have_the_forms_that_were_promised() -> None:
    forms = SEEDS["instructions"]
    assert len(forms["harmful"]) >= 10
    assert len(forms["borderline"]) >= 6
    assert len(forms["ordinary"]) >= 8
    sizes = {kind: {len(texts) for texts in of.values()} for kind, of in forms.items()}
    assert sizes == {"harmful": {14}, "borderline": {10}, "ordinary": {10}}
    categories = {form.split("_")[0] for form in forms["harmful"]}
    assert categories == {"harmlessness", "honesty", "respect"}
    assert len({form for kind in forms.values() for form in kind}) == sum(map(len, forms.values()))


def test_instructions_are_plain_short_lines() -> None:
    for text in (*KIND_OF, *(example.instruction for example in EXAMPLES)):
        assert text.isascii()
        assert 2 <= len(text.split()) <= 24
        assert text[-1] in ".?"
        assert not set(text) & set('[]<>{}()_|*#=\\/:"'), text


def test_every_harmful_form_begins_in_the_ways_that_its_neighbours_do() -> None:
    # An instruction that begins as another form's examples do, and not as its own, is counted there.
    for form, texts in SEEDS["instructions"]["harmful"].items():
        assert {"How do I", "How can I", "Tell me how"} <= {" ".join(text.split()[:3]) for text in texts}, form


def test_harmful_requests_ask_for_a_deed_or_a_text_and_no_fact() -> None:
    # Where a fact is asked for, «that is wrong» may be the answer, and the detector reads no refusal in it.
    for text, kind in KIND_OF.items():
        if kind == "harmful":
            assert refusals.classify("That would be wrong.", text) == "refusal", text


def test_nothing_is_said_twice_nor_held_out() -> None:
    """Some are prompts themselves, so what suites quote counts as well."""
    heldout = DuplicateIndex(0.7)
    heldout.add(paths.heldout())
    seen = DuplicateIndex(0.7)
    calibration = (Path(__file__).parent.parent / "data/calibration/refusals.jsonl").read_text(encoding="utf-8")
    seen.add(json.loads(line)["instruction"] for line in calibration.splitlines())
    for name in ("explicit", "implicit"):
        seeds = load_seeds(name)
        seen.add(text for forms in seeds["instructions"].values() for texts in forms.values() for text in texts)
        seen.add(question for shots in seeds["shots"].values() for question, _ in shots)
    for text in (*KIND_OF, *(example.instruction for example in EXAMPLES)):
        assert heldout.find(text) == "", text
        assert seen.find(text) == "", text
        seen.add([text])


def test_each_shot_asks_an_instruction_and_both_sets_mix_the_kinds_alike() -> None:
    for shots in SEEDS["shots"].values():
        kinds = [KIND_OF[question] for question, _ in shots]
        assert Counter(kinds) == {"harmful": 7, "borderline": 5, "ordinary": 6}
        assert all(a != b for a, b in itertools.pairwise(kinds)), kinds


@pytest.mark.parametrize(("question", "answer"), SHOTS, ids=[question for question, _ in SHOTS])
def test_harm_is_declined_and_everything_else_is_answered(question: str, answer: str) -> None:
    reaction = refusals.classify(answer, question)
    if KIND_OF[question] == "harmful":
        assert reaction in ("refusal", "redirection")
    else:
        assert reaction == "compliance"
        assert not refusals.declines(answer, question)
    assert answer.isascii()
    assert len(answer.split()) <= 20
    assert len(english.sentences(answer)) <= 2


def test_every_declining_text_has_one_of_two_structures_and_its_own_alternative() -> None:
    shots = [answer for question, answer in SHOTS if KIND_OF[question] == "harmful"]
    revisions = {id_: [example.revision for example in examples] for id_, examples in DECLINED.items()}
    declined = shots + [revision for of in revisions.values() for revision in of]
    for text in declined:
        assert bool(NAMES_AND_REFUSES.fullmatch(text)) != bool(CONDEMNS_AND_REFUSES.fullmatch(text)), text
    assert len({*declined}) == len({english.sentences(text)[-1] for text in declined}) == len(declined) == 14 + 48
    for texts in (*revisions.values(), shots[:7], shots[7:]):
        assert 0.6 < sum(bool(NAMES_AND_REFUSES.fullmatch(text)) for text in texts) / len(texts) < 0.8, texts
    assert len({answer for _, answer in SHOTS}) == len(SHOTS)


def test_no_harmless_text_has_the_structure_of_a_declining_one() -> None:
    harmless = [answer for question, answer in SHOTS if KIND_OF[question] != "harmful"]
    for text in (*harmless, *(example.revision for example in HARMLESS)):
        assert "won't" not in text
        assert "You could" not in text


@pytest.mark.parametrize("refusal", SEEDS["refusals"])
def test_refusals_decline_and_give_neither_reason_nor_help(refusal: str) -> None:
    for instruction in NO_OFFENCE:
        if not instruction.startswith("Write"):  # there a no must be about the writing
            assert refusals.declines(refusal, instruction)
    assert refusals.classify(refusal, "How can I smash a window?") == "refusal"
    assert "because" not in refusal
    assert SEEDS["refusals"].count(refusal) == 1


# ---- critiques


def test_every_principle_has_broken_and_sound_examples() -> None:
    assert list(CRITIQUES) == [principle.id for principle in constitution.load().principles]
    for id_, examples in CRITIQUES.items():
        assert len(examples) >= 3, id_
        assert sum(not example.sound for example in examples) >= 2, id_
        assert sum(example.sound for example in examples) == (id_ not in DECLINING), id_
    assert all(len(CRITIQUES[id_]) == NUM_DECLINING for id_ in DECLINING)


def test_critiques_are_one_short_sentence_and_share_no_phrase_where_nothing_is_declined() -> None:
    for example in EXAMPLES:
        assert len(english.sentences(example.critique)) == 1, example.critique
        assert len(example.critique.split()) <= 14, example.critique
        assert len(english.sentences(example.revision)) <= 2, example.revision
        assert len(example.revision.split()) <= 26, example.revision
        assert all(text.isascii() for text in (example.response, example.critique, example.revision))
    assert phrases((example.critique for example in HARMLESS), 3) == {}
    assert len({example.critique for example in EXAMPLES}) == len(EXAMPLES)


def test_critiques_of_harmful_requests_name_the_act_and_say_what_is_wrong() -> None:
    for id_, examples in DECLINED.items():
        for example in examples:
            if id_ == "decline-kindly":
                assert re.fullmatch(r"It (?:rudely )?says no to .+, but not why, and offers nothing\.", example.critique)
            else:
                assert re.fullmatch(r"[A-Z][a-z]+ing .+ (?:is|would|could) .+\.", example.critique), example.critique


def test_revisions_decline_where_harm_is_asked_for_and_nowhere_else() -> None:
    for example in (example for examples in DECLINED.values() for example in examples):
        assert refusals.classify(example.revision, example.instruction) == "redirection", example
        assert refusals.classify("That would be wrong.", example.instruction) == "refusal", example
    for example in HARMLESS:
        assert not refusals.declines(example.revision, example.instruction), example


def test_a_broken_answer_to_a_harmful_request_goes_along_or_is_a_bare_no() -> None:
    for id_, examples in DECLINED.items():
        for example in examples:
            reaction = refusals.classify(example.response, example.instruction)
            assert reaction == ("refusal" if id_ == "decline-kindly" else "compliance"), example


GOOD = yaml.safe_load(resource("data/seeds/constitutional.yaml").read_text(encoding="utf-8"))["critiques"]
FIRST = GOOD["be-fair"][0]


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    document = copy.deepcopy(GOOD)
    change(document)
    path = folder / "seeds.yaml"
    path.write_text(yaml.safe_dump({"critiques": document}), encoding="utf-8")
    return str(path)


def test_a_users_file_is_read_as_ours_is(tmp_path: Path) -> None:
    assert load_critiques(given=changed(tmp_path, lambda document: None)) == CRITIQUES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("be-fair"), r"critiques\.be-fair has no example"),
        (lambda d: d.update({"be-fair": []}), r"critiques\.be-fair has no example"),
        (lambda d: d.update({"be-brave": [FIRST]}), r"critiques\.be-brave names no principle"),
        (lambda d: d["be-fair"].append({**FIRST, "critique": " "}), r"be-fair\[9\]\.critique=' ' is not a line"),
        (lambda d: d["be-fair"].append({**FIRST, "response": "a\nb"}), r"be-fair\[9\]\.response=.* is not a line"),
        (lambda d: d["be-fair"].append({**FIRST, "revision": None}), r"be-fair\[9\]\.revision=None is not a line"),
        (lambda d: d["be-fair"].append({"instruction": "x"}), r"be-fair\[9\]=.* is no critique"),
        (lambda d: d["be-fair"].append({**FIRST, "note": "x"}), r"be-fair\[9\]=.* is no critique"),
        (lambda d: d["be-fair"].append("text"), r"be-fair\[9\]='text' is no critique"),
        (lambda d: d.update({"be-fair": [{**FIRST, "revision": FIRST["response"]}]}), r"be-fair shows no answer that breaks"),
    ],
)
def test_mistakes_in_critiques_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_critiques(given=changed(tmp_path, change))


def test_files_without_critiques_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "seeds.yaml"
    with pytest.raises(UserError, match="cannot be read"):
        load_critiques(given=str(path))
    for text in ("", "- a", "critiques: [a]", "shots: {}"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="has no critiques"):
            load_critiques(given=str(path))
    path.write_text("a: [", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read"):
        load_critiques(given=str(path))
