"""Load and check a constitution: the principles that critiques are made by.

Files written for other tools load unchanged. Only text is read from YAML (no numbers, no dates, no objects), so a
version of `1.10` stays `1.10`; what a file claims about its own counts is recounted, and a wrong claim is a warning.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from cai_bootstrap.errors import MissingArtifact, UserError
from cai_bootstrap.resources import resource
from cai_bootstrap.store.provenance import digest

_TOP_LEVEL_KEYS = ("version", "date", "categories", "principles")
_PRINCIPLE_KEYS = ("id", "category", "text")


@dataclass(frozen=True)
class Principle:
    """One sentence that a response is judged by."""

    id: str
    text: str
    category: str


@dataclass(frozen=True)
class Constitution:
    """Principles in file order. `categories` holds the counted number of principles of each, in declared order."""

    version: str
    date: str
    principles: tuple[Principle, ...]
    categories: dict[str, int]
    warnings: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what can change a critique: ids, texts, categories and their order, version and date."""
        return digest(
            {
                "version": self.version,
                "date": self.date,
                "categories": list(self.categories),
                "principles": [[p.id, p.category, p.text] for p in self.principles],
            }
        )

    def choose(self, index: int) -> Principle:
        """The principle for the `index`-th sample: round robin over the categories, then within each.

        Any window of as many samples as there are categories uses each category once, so no category and no principle
        is forgotten, however many principles its neighbours have.
        """
        groups = self._groups
        within, position = divmod(index, len(groups))
        group = groups[position]
        return group[within % len(group)]

    def in_order(self) -> list[tuple[str, str]]:
        """(id, text) in the balanced order in which `choose` uses them, as far as every principle is among them.

        One of a small category comes several times, so that the categories stay even.
        """
        chosen = map(self.choose, range(len(self._groups) * max(map(len, self._groups))))
        return [(principle.id, principle.text) for principle in chosen]

    @cached_property
    def _groups(self) -> tuple[tuple[Principle, ...], ...]:
        groups = (tuple(p for p in self.principles if p.category == name) for name in self.categories)
        return tuple(group for group in groups if group)


def load(path: Path | None = None) -> Constitution:
    """Read a constitution; without a path, the one that ships with the package.

    Returns the checked constitution; its `warnings` name what is odd but usable (wrong counts, unused keys).
    Raises UserError with the file, the place and the value for: no principles, a duplicate id, a missing id or text,
    an unknown category, a YAML tag that is not plain data, a file that is not a mapping; MissingArtifact for no file.
    """
    path = resource("constitution.yaml") if path is None else path
    document = _read(path)
    warnings = [f"{path}: key {key!r} is not used" for key in document if key not in _TOP_LEVEL_KEYS]
    claims = _read_categories(path, document.get("categories"))
    principles = _read_principles(path, document.get("principles"), claims)
    counted = Counter(p.category for p in principles)
    categories = {name: counted[name] for name in (claims if claims is not None else counted)}
    if claims is None:
        warnings.append(f"{path}: no categories are listed: taken from the principles: {', '.join(categories)}")
    for name, claim in (claims or {}).items():
        match = re.search(r"\d+", claim)
        if match and int(match.group()) != categories[name]:
            warnings.append(f"{path}: category {name!r} claims {claim!r}, counted {categories[name]}")
        elif categories[name] == 0:
            warnings.append(f"{path}: category {name!r} has no principle")
    return Constitution(
        version=_text(document.get("version")),
        date=_text(document.get("date")),
        principles=tuple(principles),
        categories=categories,
        warnings=tuple(warnings),
    )


class _TextLoader(yaml.SafeLoader):
    """SafeLoader in which every plain scalar but null is text: no floats, no dates, no `no` that means false."""


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_TextLoader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        raise MissingArtifact(f"{path} does not exist: write the path of a constitution in YAML") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): write the path of a UTF-8 text file") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}{_place(error)}: {_problem(error)}: write plain YAML (text, lists, mappings)") from error
    if not isinstance(document, dict):
        found = "empty" if document is None else f"a {type(document).__name__}"
        raise UserError(f"{path} is {found}: write a mapping with the keys {', '.join(_TOP_LEVEL_KEYS)}")
    return document


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark is not None else ""


def _problem(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or str(error)
    return " ".join(str(problem).split())


def _text(value: object) -> str:
    return "" if value is None else " ".join(str(value).split())


def _read_categories(path: Path, value: object) -> dict[str, str] | None:
    """Category → what the file claims about it ("" for no claim); None when the file lists none.

    Accepted are a list of names, a list of one-key maps, and a mapping.
    """
    if value is None:
        return None
    claims: dict[str, str] = {}
    for index, entry in enumerate(value if isinstance(value, list) else [value]):
        place = f"{path}: categories[{index}]"
        if isinstance(entry, dict) and entry:
            named = {_text(name): _text(claim) for name, claim in entry.items()}
        elif isinstance(entry, str) and isinstance(value, list):
            named = {_text(entry): ""}
        else:
            raise UserError(f"{place}={entry!r} is not a category: write `- name: number of principles`")
        for name, claim in named.items():
            if not name or name in claims:
                raise UserError(f"{place}={name!r} is {'listed twice' if name else 'empty'}: write each name once")
            claims[name] = claim
    return claims


def _read_principles(path: Path, value: object, categories: Mapping[str, str] | None) -> list[Principle]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{path}: principles={value!r} holds none: write a list of maps with id, category and text")
    principles: list[Principle] = []
    places: dict[str, int] = {}
    for index, entry in enumerate(value):
        place = f"{path}: principles[{index}]"
        if not isinstance(entry, dict):
            raise UserError(f"{place}={entry!r} is not a map: write id, category and text")
        fields = {key: _text(entry.get(key)) for key in _PRINCIPLE_KEYS}
        for key, text in fields.items():
            if not text or isinstance(entry[key], dict | list):
                raise UserError(f"{place}.{key}={entry.get(key)!r} is not a text: write a {key} for {fields['id']!r}")
        principle = Principle(**fields)
        if principle.id in places:
            raise UserError(
                f"{place}.id={principle.id!r} is the id of principles[{places[principle.id]}] too: write one of its own"
            )
        if categories is not None and principle.category not in categories:
            raise UserError(
                f"{place}.category={principle.category!r} is unknown: write one of {', '.join(categories)}, "
                "or list it under categories"
            )
        places[principle.id] = index
        principles.append(principle)
    return principles
