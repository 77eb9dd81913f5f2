"""Files that travel with the package: configuration, the constitution, seed pools, frozen held-out suites."""

from __future__ import annotations

import functools
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from cai_bootstrap.errors import MissingArtifact, UserError


def resource(name: str) -> Path:
    """The absolute path of a file or folder that ships with the package: `conf`, `data/heldout/explicit.jsonl`.

    A wheel carries them inside `cai_bootstrap/`; a checkout has them beside it. Raises MissingArtifact when it is in
    neither place, and UserError when `name` would leave them (names can come from a configuration).
    """
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise UserError(f"resource {name!r} is not valid: write a relative path without '..', such as 'conf'")
    package = Path(__file__).resolve().parent
    places = [package]
    # Beside an installed package lie other people's packages: a folder named `conf` there would not be ours.
    if (package.parent / "pyproject.toml").is_file():
        places.append(package.parent)
    for place in places:
        path = place.joinpath(*relative.parts)
        if path.exists():
            return path
    searched = " and ".join(str(place) for place in places)
    raise MissingArtifact(f"{name} is missing (looked in {searched}): install or check out again")


def read_yaml(path: Path) -> Any:
    """What a YAML file holds; no tag in it makes anything but plain values. Raises OSError, UnicodeDecodeError, YAMLError.

    By libyaml where PyYAML was built with it: twelve times as fast, and the seed pools hold 0.8 MB. Each text is parsed once a
    process, so what comes back is to be read only.
    """
    return _parsed(path.read_text(encoding="utf-8"))


@functools.cache
def _parsed(text: str) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(text, Loader=loader)  # noqa: S506 (a SafeLoader)
