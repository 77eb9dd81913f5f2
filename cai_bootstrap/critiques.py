"""Worked examples of critique and revision: for each principle answers that break it, and some that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from cai_bootstrap.constitution import Constitution, load
from cai_bootstrap.errors import UserError, first_line
from cai_bootstrap.resources import read_yaml, resource


@dataclass(frozen=True)
class Critique:
    """One answer, what a principle has to say to it, and the better answer; each is one line."""

    instruction: str
    response: str
    critique: str
    """One short sentence: what breaks the principle, or that nothing does."""
    revision: str

    @property
    def sound(self) -> bool:
        """Whether nothing breaks the principle, so that the answer stays as it is."""
        return self.revision == self.response


_FIELDS = tuple(field.name for field in fields(Critique))


def load_critiques(constitution: Constitution | None = None, given: str | None = None) -> dict[str, list[Critique]]:
    """By principle id, in the constitution's order, its worked examples; at least one answer of each breaks the principle.

    They are read from `critiques` in the user's file, or else in the seeds of stage 6; the principles are the package's own
    when no constitution is given. With another constitution and the committed examples a principle may be without any; those
    of principles that it does not have come last then, since a prompt wants ten of whatever principle.
    Raises UserError for a file that cannot be read, a principle without an example or with none that breaks it, an id that the
    constitution does not have, and a field that is missing, empty, unknown, or more than one line.
    """
    ours = load()
    constitution = ours if constitution is None else constitution
    path = resource("data/seeds/constitutional.yaml") if given is None else Path(given)
    try:
        document = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = first_line(error)
        raise UserError(f"{path} cannot be read ({reason}): give a YAML file with critiques by principle") from error
    critiques = document.get("critiques") if isinstance(document, dict) else None
    if not isinstance(critiques, dict):
        raise UserError(f"{path} has no critiques: write critiques: {{principle id: [{{{', '.join(_FIELDS)}}}]}}")
    ids = [principle.id for principle in constitution.principles]
    if given is None:
        own = {principle.id for principle in ours.principles}
        ids = [*(id_ for id_ in ids if id_ in own), *sorted(own.difference(ids))]
    for unknown in critiques.keys() - set(ids):
        raise UserError(f"{path}: critiques.{unknown} names no principle of the constitution: write one of {', '.join(ids)}")
    return {id_: _of_principle(f"{path}: critiques.{id_}", critiques.get(id_)) for id_ in ids}


def _of_principle(place: str, entries: object) -> list[Critique]:
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{place} has no example: write at least one map with {', '.join(_FIELDS)}")
    examples = [_read(f"{place}[{index}]", entry) for index, entry in enumerate(entries)]
    if all(example.sound for example in examples):
        raise UserError(f"{place} shows no answer that breaks the principle: write one whose revision differs")
    return examples


def _read(place: str, entry: object) -> Critique:
    if not isinstance(entry, Mapping) or set(entry) != set(_FIELDS):
        raise UserError(f"{place}={entry!r} is no critique: write {', '.join(_FIELDS)}, and nothing else")
    texts: dict[str, Any] = dict(entry)
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip() or "\n" in text.strip():
            raise UserError(f"{place}.{name}={text!r} is not a line of text: write one")
    return Critique(**{name: text.strip() for name, text in texts.items()})
