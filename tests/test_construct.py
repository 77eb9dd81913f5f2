"""Tasks whose right answers are known: every judgement and revision that is made of kept answers is what it says."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from data_path import given

from cai_bootstrap.errors import StepFailed
from cai_bootstrap.evals.baselines import quoted
from cai_bootstrap.stages.stage import load_seeds
from cai_bootstrap.steps.cases import WorkedCase
from cai_bootstrap.steps.construct import construct_judgements, construct_revisions
from cai_bootstrap.steps.corruptions import CORRUPTIONS
from cai_bootstrap.steps.duplicates import content_words
from cai_bootstrap.steps.flaws import FLAWS
from cai_bootstrap.steps.judgements import CONDUCT
from cai_bootstrap.steps.negatives import NEGATIVES, Answer, Sources
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Run

SEEDS = load_seeds("explicit")
SENTENCES = load_seeds("revision")["sentences"][:70]
CASES = {"rude": [["May I sit here?", "Yes, please do.", "No, you pig."]]}
WORKED = [
    [
        "Where does a heron nest?",
        "In trees.",
        "It builds its nest high up in a tree.",
        "In snow.",
        "It nests in warm bread.",
        "A nest.",
    ],
    [
        "What dries wet boots?",
        "Old newspaper.",
        "You can fill them with old paper overnight.",
        "Soup.",
        "A bath in hot soup does.",
        "Wet boots.",
    ],
]
GIVEN: dict[Any, dict[str, Any]] = {
    construct_judgements: {
        "evasions": SEEDS["refusals"],
        "conduct": CASES,
        "worked": [],
        "principles": {"be-polite": "The response is polite."},
    },
    construct_revisions: {"refusals": SEEDS["refusals"], "lexicon": ["barks"], "sentences": [], "worked": []},
}
JUDGEMENTS = {"correct": 0.25, "helpful": 0.2, "principle": 0.15, "rate": 0.15, "compare": 0.25}
REVISIONS = {"fix": 0.4, "clearer": 0.25, "feedback": 0.2, "helpful": 0.15}


def row(number: int, kind: str, instruction: str, text: str) -> dict[str, Any]:
    return {"prompt_id": f"p{number}", "kind": kind, "instruction": instruction, "text": text, "score": 1.0, "seed": number}


def kept_rows() -> list[dict[str, Any]]:
    """The committed worked examples and sentences as if a model had written them, each sentence twice so that its words are."""
    shots = [shot for examples in SEEDS["shots"].values() for shot in examples]
    answers = [row(n, "answer", question, answer) for n, (question, answer) in enumerate(shots) if question.endswith("?")]
    written = [row(100 + n, "generate", f"Write sentence {n}.", text) for n, text in enumerate(SENTENCES * 2)]
    return answers + written


def constructed(
    root: Path,
    function: Any,
    shares: dict[str, float],
    *,
    num_per_answer: int = 1,
    num_per_case: int = 0,
    kinds_of_answers: tuple[str, ...] = (),
    earlier: list[dict[str, Any]] | None = None,
    **values: Any,
) -> Artifact:
    with Run(root, "r") as run:
        inputs = {"kept": given(run, "kept", records__jsonl=kept_rows())}
        if earlier is not None:
            inputs["kept_explicit"] = given(run, "kept_explicit", records__jsonl=earlier)
        return run.step(
            "evaluation",
            "constructed",
            function,
            settings={
                "kind_shares": shares,
                "num_per_answer": num_per_answer,
                "num_per_case": num_per_case,
                "kinds_of_answers": list(kinds_of_answers),
            },
            inputs=inputs,
            values={**GIVEN[function], **values},
            seed=1,
        )


def test_judgements_come_in_balanced_groups_and_say_the_same_after_either_label(tmp_path: Path) -> None:
    artifact = constructed(tmp_path, construct_judgements, JUDGEMENTS)
    rows = artifact.rows()
    groups: dict[str, list[dict[str, Any]]] = {}
    for each in rows:
        groups.setdefault(each["prompt_id"].rpartition("-")[0], []).append(each)
    assert len(rows) > 100
    for members in groups.values():
        first, second = members
        assert first["kind"] == second["kind"]
        assert first["text"].split()[0] != second["text"].split()[0]
        assert first["text"].split()[1:] == second["text"].split()[1:]
    run_on = [each for each in rows if each["wrong"][0][1] == "goes on"]
    assert 0.1 < len(run_on) / len(rows) < 0.2
    for each in run_on:
        ((wrong, _, eos),) = each["wrong"]
        assert wrong.startswith(f"{each['text']} ")
        assert not eos
        assert len([other for other in run_on if other["group"] == each["group"]]) == 2
    for each in (each for each in rows if each not in run_on):
        ((wrong, reason, eos),) = each["wrong"]
        said = [text.partition(" ") for text in (each["text"], wrong)]
        assert said[0][0] != said[1][0]
        # What follows the label must not tell which one is right.
        assert said[0][2] == said[1][2]
        topic = said[0][2]
        assert topic == f"{topic[0].upper()}{topic[1:].rstrip('.')}."
        assert topic[1:].rstrip(".") in quoted(each["instruction"]).question
        assert len(topic.split()) == 1
        assert eos
        assert reason.endswith("the other label")
    counts = Counter(each["kind"] for each in rows)
    assert all(abs(counts[kind] / len(rows) - share) < 0.1 for kind, share in JUDGEMENTS.items())
    labels = Counter(each["text"].split()[0] for each in rows)
    assert labels["A."] == labels["B."]
    assert labels["Yes."] == labels["No."]


def test_rules_of_conduct_are_judged_on_the_committed_cases(tmp_path: Path) -> None:
    rows = constructed(tmp_path, construct_judgements, JUDGEMENTS).rows()
    worked = [each for each in rows if each["prompt_id"].startswith("conduct")]
    assert sorted(each["text"] for each in worked) == ["No. Here.", "Yes. Here."]
    for each in worked:
        assert each["kind"] == "principle"
        assert "Be polite and kind." in each["instruction"] or "The response is polite." in each["instruction"]
        assert ("you pig" in each["instruction"]) == (each["text"][:3] == "Yes")
        assert each["selection"] == "worked example"


def test_every_rule_of_conduct_has_cases_whose_length_tells_nothing() -> None:
    cases = load_seeds("evaluation")["conduct"]
    assert list(cases) == [*CONDUCT, "refusal"]
    for corruption, given_ in cases.items():
        assert len({question for question, _, _ in given_}) == len(given_) >= 30, corruption
        assert 0.4 <= sum(len(good) > len(bad) for _, good, bad in given_) / len(given_) <= 0.6, corruption


def test_worked_cases_have_answers_of_both_lengths_and_lengths_tell_nothing() -> None:
    worked = [WorkedCase(*fields) for fields in load_seeds("evaluation")["worked"]]
    assert len({case.question for case in worked}) == len(worked) >= 400
    for case in worked:
        assert case.question.endswith("?")
        assert len(case.short.split()) <= 5 < len(case.long.split())
        assert len(set(case)) == 6
    assert 0.4 <= sum(len(case.wrong_long) > len(case.long) for case in worked) / len(worked) <= 0.6
    evasions = load_seeds("evaluation")["evasions"]
    assert len(set(evasions)) == len(evasions) >= 150
    assert 0.2 <= sum(len(text.split()) <= 4 for text in evasions) / len(evasions) <= 0.5


def test_a_worked_case_gives_a_group_for_each_fault(tmp_path: Path) -> None:
    shares = {"compare": 1.0}
    rows = constructed(tmp_path, construct_judgements, shares, num_per_case=7, worked=WORKED).rows()
    worked = [each for each in rows if each["prompt_id"].startswith("worked")]
    of_heron = {
        each["wrong"][0][1].partition(",")[0]: quoted(each["instruction"]) for each in worked if "heron" in each["instruction"]
    }
    assert 5 <= len(of_heron) <= 7  # a surplus of longer faults is left out
    for fault, asked in of_heron.items():
        assert set(asked.answers) & set(WORKED[0][1:3]), "one of the two is good"
        (bad,) = set(asked.answers) - set(WORKED[0][1:3])
        if fault == "wrong_fact":
            assert bad in WORKED[0][3:5]
        if fault == "echo":
            assert bad == "A nest."
        if fault == "off_topic":
            assert bad in WORKED[1][1:3]
        if fault == "refusal":
            assert bad in SEEDS["refusals"]


def test_kept_answers_are_not_asked_whether_they_are_right(tmp_path: Path) -> None:
    rows = constructed(
        tmp_path, construct_judgements, JUDGEMENTS, num_per_case=7, worked=WORKED, kinds_of_answers=("compare", "rate")
    ).rows()
    assert {each["kind"] for each in rows if each["prompt_id"].startswith("p")} == {"compare", "rate"}
    assert {"correct", "helpful"} <= {each["kind"] for each in rows if each["prompt_id"].startswith("worked")}


def test_an_answer_gives_groups_with_different_corruptions(tmp_path: Path) -> None:
    rows = constructed(tmp_path, construct_judgements, JUDGEMENTS, num_per_answer=3).rows()
    made = Counter(each["prompt_id"].split("-")[0] for each in rows)
    assert max(made.values()) == 6
    assert set(CORRUPTIONS) <= {each["wrong"][0][1].partition(",")[0] for each in rows}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_corruption_is_no_longer_the_answer(corruption: str) -> None:
    answers = [Answer.of(each) for each in kept_rows()]
    sources = Sources(rows=answers, zero_shot={}, run_on={}, refusals=SEEDS["refusals"])
    rng = random.Random(1)
    made = [(answer.text, CORRUPTIONS[corruption](answer, sources, rng)) for answer in answers]
    changed = [(text, other) for text, other in made if other]
    assert len(changed) >= 9
    assert sum(text == other for text, other in changed) <= 1  # an echo of a sentence may be said by chance
    assert all("\n" not in other for _, other in changed)


def test_the_length_of_an_answer_does_not_tell_which_one_is_good(tmp_path: Path) -> None:
    artifact = constructed(tmp_path, construct_judgements, {"compare": 1.0})
    longer = 0
    for each in artifact.iter_rows():
        answers = quoted(each["instruction"]).answers
        right, wrong = answers if each["text"].startswith("A.") else answers[::-1]
        longer += (len(right) > len(wrong)) - (len(right) < len(wrong))
    assert longer == 0


def test_revisions_are_right_and_what_is_rejected_is_not(tmp_path: Path) -> None:
    artifact = constructed(tmp_path, construct_revisions, REVISIONS, num_per_answer=3)
    rows = artifact.rows()
    assert {each["kind"] for each in rows} >= {"fix", "clearer", "feedback"}
    assert len(rows) > 150
    per_answer = Counter(each["prompt_id"].rpartition("-")[0] for each in rows)
    assert max(per_answer.values()) == 3
    for each in rows:
        assert each["wrong"]
        assert all(text != each["text"] for text, _, _ in each["wrong"])
        draft = each["instruction"].split('"')[-2]
        assert draft != each["text"]


def test_worked_cases_give_sentences_to_revise(tmp_path: Path) -> None:
    rows = constructed(tmp_path, construct_revisions, REVISIONS, num_per_case=4, worked=WORKED).rows()
    worked = [each for each in rows if each["prompt_id"].startswith("worked")]
    assert Counter(each["kind"] for each in worked) == dict.fromkeys(REVISIONS, len(WORKED))
    assert len({each["prompt_id"] for each in worked}) == len(worked)
    sentences = {content_words(case[2]) for case in WORKED}
    for each in worked:
        assert any(len(content_words(each["text"]) & said) >= len(said) - 1 for said in sentences), each["text"]
        assert each["wrong"]


def test_committed_sentences_are_revised_by_all_families_alike(tmp_path: Path) -> None:
    sentences = load_seeds("revision")["sentences"]
    rows = constructed(tmp_path, construct_revisions, REVISIONS, num_per_case=1, sentences=sentences).rows()
    made = [each for each in rows if each["prompt_id"].startswith("sentence")]
    assert len(made) >= 0.95 * len(sentences)
    families = Counter(each["wrong"][0][1].partition(",")[0] for each in rows)
    for kind in ("fix", "clearer", "feedback"):
        counts = [families[family] for family in FLAWS[kind]]
        # Few sentences lend themselves to some; no family takes what these leave.
        assert max(counts) <= 1.5 * REVISIONS[kind] * len(rows) / len(counts), kind
        assert min(counts) >= 0.5 * max(counts), kind


def test_what_is_not_surely_sound_is_dropped_and_counted(tmp_path: Path) -> None:
    rows = [row(1, "generate", "Write a sentence.", "The dog barks the"), *kept_rows()]
    with Run(tmp_path, "r") as run:
        kept = given(run, "kept", records__jsonl=rows)
        artifact = run.step(
            "revision",
            "constructed",
            construct_revisions,
            settings={"kind_shares": REVISIONS, "num_per_answer": 1, "num_per_case": 0},
            inputs={"kept": kept},
            values={"refusals": SEEDS["refusals"], **GIVEN[construct_revisions]},
            seed=1,
        )
    assert "p1" not in {each["prompt_id"].rpartition("-")[0] for each in artifact.iter_rows()}
    dropped = {each["prompt_id"]: each["reason"] for each in artifact.iter_rows("dropped.jsonl")}
    assert dropped["p1"] == "not surely a sound sentence"


def test_short_answers_make_drafts_that_dodge_and_no_more_than_their_share(tmp_path: Path) -> None:
    short = [row(900 + n, "answer", f"What is {n} and {n}?", f"{2 * n}") for n in range(80)]
    rows = constructed(tmp_path, construct_revisions, REVISIONS, earlier=short).rows()
    made = [each for each in rows if each["prompt_id"].startswith("p9")]
    assert {each["kind"] for each in made} == {"helpful"}
    assert len(made) >= 5
    assert sum(each["kind"] == "helpful" for each in rows) / len(rows) <= REVISIONS["helpful"] + 0.05


@pytest.mark.parametrize("function", [construct_judgements, construct_revisions])
def test_a_kind_that_is_not_known_is_refused(tmp_path: Path, function: Any) -> None:
    with pytest.raises(StepFailed, match="'praise'"):
        constructed(tmp_path, function, {"praise": 1.0})


def test_conduct_by_a_rule_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="conduct of the seeds names 'kindness': write one of wrong_fact,"):
        constructed(tmp_path, construct_judgements, JUDGEMENTS, conduct={"kindness": CASES["rude"]})


def test_a_constructed_answer_brings_its_own_wrong_texts() -> None:
    answer = Answer.of(
        {**row(1, "fix", 'Fix the spelling: "Teh cat."', "The cat."), "wrong": [["Teh cat.", "unchanged", True]]}
    )
    sources = Sources(rows=[answer], zero_shot={}, run_on={}, refusals=[])
    assert NEGATIVES["wrong"](answer, sources, random.Random(1)) == (" Teh cat.", True, "unchanged")


@pytest.mark.parametrize(("function", "shares"), [(construct_judgements, JUDGEMENTS), (construct_revisions, REVISIONS)])
def test_answers_of_earlier_stages_are_used_too_and_an_instruction_once(
    tmp_path: Path, function: Any, shares: dict[str, float]
) -> None:
    same = [{**kept_rows()[0], "prompt_id": "again"}]
    new = [row(900 + n, "answer", f"What is {n} and {n}?", "The dog barks at the old cat.") for n in range(30)]
    alone = constructed(tmp_path / "alone", function, shares).rows()
    both = constructed(tmp_path / "both", function, shares, earlier=same + new).rows()
    used = {each["prompt_id"].partition("-")[0] for each in both}
    assert len(both) > len(alone)
    assert len([id_ for id_ in used if id_.startswith("p9")]) >= 5
    assert "again" not in used
