"""Constitutions: ours, one in the form found in the wild, and every mistake that is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cai_bootstrap.__main__ import main
from cai_bootstrap.constitution import Constitution, load
from cai_bootstrap.critiques import load_critiques
from cai_bootstrap.errors import MissingArtifact, UserError
from cai_bootstrap.resources import resource

# The form of a published file: unquoted version and date, categories as one-key maps with wrong counts as text.
WILD = """\
version: 1.10
date: 2025-01-15
principles:
  - id: helpful_1
    text: "Provide helpful, relevant answers."
    category: helpfulness
  - id: helpful_2
    text: Complete the task that was
      asked for.
    category: helpfulness
  - id: honest_1
    text: No
    category: honesty
categories:
  - helpfulness: 8 principles
  - honesty: 1
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "constitution.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def document(principles: str, categories: str = "[{a: 1}]") -> str:
    return f"version: '1'\ndate: '2026-01-01'\ncategories: {categories}\nprinciples: {principles}\n"


def test_ours_is_sound() -> None:
    constitution = load()
    assert constitution.warnings == ()
    assert len(constitution.principles) == 16
    assert sum(constitution.categories.values()) == 16
    assert len({p.text for p in constitution.principles}) == 16
    for principle in constitution.principles:
        assert principle.text.endswith("."), "a principle is one sentence"
        assert "response" in principle.text
        assert len(principle.text.split()) <= 25, "short enough for a small model's prompt"


def test_a_wild_file_loads_unchanged_with_counted_categories(tmp_path: Path) -> None:
    constitution = load(write(tmp_path, WILD))
    assert constitution.version == "1.10"
    assert constitution.date == "2025-01-15"
    assert constitution.categories == {"helpfulness": 2, "honesty": 1}
    assert constitution.principles[1].text == "Complete the task that was asked for."
    assert constitution.principles[2].text == "No"
    (warning,) = constitution.warnings
    assert "'8 principles'" in warning
    assert "counted 2" in warning


@pytest.mark.parametrize("categories", ["[a, b]", "{a: 1, b: 1}", "[{a: 1}, {b: 1 principle}]", "[{a: }, {b: of use}]"])
def test_forms_of_categories(tmp_path: Path, categories: str) -> None:
    text = document("[{id: x, text: X., category: a}, {id: y, text: Y., category: b}]", categories)
    constitution = load(write(tmp_path, text))
    assert constitution.categories == {"a": 1, "b": 1}
    assert constitution.warnings == ()


def test_without_categories_they_come_from_the_principles(tmp_path: Path) -> None:
    constitution = load(write(tmp_path, "principles: [{id: x, text: X., category: a}]"))
    assert constitution.categories == {"a": 1}
    assert "no categories are listed" in constitution.warnings[0]
    assert (constitution.version, constitution.date) == ("", "")


def test_oddities_are_warnings(tmp_path: Path) -> None:
    text = document("[{id: x, text: X., category: a}]", "[{a: 1}, {empty: }]") + "author: someone\n"
    warnings = load(write(tmp_path, text)).warnings
    assert any("'empty' has no principle" in warning for warning in warnings)
    assert any("'author' is not used" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty: write a mapping"),
        ("- a\n- b\n", "is a list: write a mapping"),
        ("principles: [", "constitution.yaml:"),
        ("principles: []", "principles=[] holds none"),
        ("version: 1", "principles=None holds none"),
        (document("text"), "principles='text' holds none"),
        (document("[one]"), "principles[0]='one' is not a map"),
        (document("[{id: x, category: a}]"), "principles[0].text=None is not a text"),
        (document("[{id: x, text: ' ', category: a}]"), "principles[0].text=' ' is not a text"),
        (document("[{id: x, text: [X.], category: a}]"), "principles[0].text=['X.'] is not a text"),
        (document("[{text: X., category: a}]"), "principles[0].id=None is not a text"),
        (document("[{id: x, text: X., category: b}]"), "principles[0].category='b' is unknown: write one of a"),
        (
            document("[{id: x, text: X., category: a}, {id: x, text: Y., category: a}]"),
            "is the id of principles[0] too",
        ),
        (document("[{id: x, text: X., category: a}]", "[a, a]"), "'a' is listed twice"),
        (document("[{id: x, text: X., category: a}]", "[[a]]"), "categories[0]=['a'] is not a category"),
        (document("[{id: x, text: X., category: a}]", "a"), "categories[0]='a' is not a category"),
        (document("!!python/object/apply:os.system ['touch hacked']"), "write plain YAML"),
        (document("!!python/name:os.system ''"), "write plain YAML"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load(path)
    message = str(caught.value)
    assert expected in message
    assert str(path) in message
    assert "\n" not in message
    assert not (tmp_path / "hacked").exists()


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"nowhere\.yaml does not exist"):
        load(tmp_path / "nowhere.yaml")
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.yaml"):
        load(path)


def test_the_order_holds_every_principle_and_all_categories_evenly() -> None:
    constitution = load()
    sizes = Counter(principle.category for principle in constitution.principles)
    assert len(set(sizes.values())) > 1  # uneven ones, or this shows nothing
    order = [id_ for id_, _ in constitution.in_order()]
    assert set(order) == {principle.id for principle in constitution.principles}
    category = {principle.id: principle.category for principle in constitution.principles}
    assert len(set(Counter(category[id_] for id_ in order).values())) == 1


def test_choose_is_balanced_over_categories_and_forgets_no_principle() -> None:
    constitution = load()
    num_categories = len(constitution.categories)
    chosen = [constitution.choose(index) for index in range(num_categories * 12)]
    assert set(Counter(p.category for p in chosen).values()) == {12}
    assert {p.id for p in chosen} == {p.id for p in constitution.principles}
    for start in range(len(chosen) - num_categories + 1):
        assert len({p.category for p in chosen[start : start + num_categories]}) == num_categories
    for category, count in constitution.categories.items():
        usage = Counter(p.id for p in chosen if p.category == category)
        assert len(usage) == count
        assert max(usage.values()) - min(usage.values()) <= 1


def test_the_digest_follows_the_content_and_nothing_else(tmp_path: Path) -> None:
    def digest_of(text: str) -> str:
        return load(write(tmp_path, text)).digest

    original = digest_of(WILD)
    assert len(original) == 64
    assert digest_of("# a comment\n" + WILD.replace("8 principles", "2 principles")) == original
    assert digest_of(WILD.replace("relevant answers", "true answers")) != original
    assert digest_of(WILD.replace("1.10", "1.11")) != original
    assert isinstance(load(write(tmp_path, WILD)), Constitution)


def test_a_bad_file_is_told_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    for text, told in ((document("[one]"), "principles[0]='one' is not a map"), (None, "does not exist")):
        path = tmp_path / "missing.yaml" if text is None else write(tmp_path, text)
        words = ["stage=1", "engine=scripted", "model=tiny-random", f"constitution={path}", f"paths.root={root}"]
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{path}" in line
        assert told in line
    assert not root.exists()


def test_worked_critiques_of_ours_serve_another_constitution(tmp_path: Path) -> None:
    theirs = load(write(tmp_path, WILD.replace("honest_1", "be-fair")))
    given = load_critiques(theirs)
    assert next(iter(given)) == "be-fair"
    assert given == load_critiques()
    with pytest.raises(UserError, match="names no principle of the constitution"):
        load_critiques(theirs, str(resource("data/seeds/constitutional.yaml")))
