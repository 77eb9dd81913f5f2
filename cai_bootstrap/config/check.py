"""What every schema needs: one line for a value that is not valid, and a schema as a dict."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from typing import Any

from cai_bootstrap.errors import UserError


def require(condition: bool, key: str, value: object, instead: str) -> None:
    if not condition:
        raise UserError(f"{key}={value!r} is not valid: write {instead}")


def to_dict(config: Any) -> dict[str, Any]:
    """A JSON-serialisable dict of any schema object (enums become their values)."""
    return {k: _plain(v) for k, v in dataclasses.asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
