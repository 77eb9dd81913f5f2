"""Secrets of the environment and of the command line never reach an output, a log or a file."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TextIO

_SECRET_NAME = re.compile(
    r"(?:^|[_.\-])(?:token|secret|password|passwd|passphrase|credentials?|api_?key|access_?key|private_?key)(?:$|[_.\-])",
    re.IGNORECASE,
)
_MIN_CHARS = 8
"""Shorter values are words such as `true`, which would be blotted out everywhere."""
_HIDDEN = "***"


def is_secret_name(name: str) -> bool:
    """Whether what is called so is a secret by its name: HF_TOKEN, AWS_SECRET_ACCESS_KEY, tracker.api_key."""
    return _SECRET_NAME.search(name) is not None


def secrets(environment: Mapping[str, str] | None = None) -> list[str]:
    """The values of the environment's secrets, the longest first, since one may hold another."""
    told = os.environ if environment is None else environment
    values = {value.strip() for name, value in told.items() if is_secret_name(name)}
    return sorted((value for value in values if len(value) >= _MIN_CHARS), key=len, reverse=True)


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` with every secret of the environment replaced by three stars."""
    for value in secrets(environment):
        text = text.replace(value, _HIDDEN)
    return text


def redact_words(words: Sequence[str]) -> list[str]:
    """The words of a command line without secrets: of `tracker.api_key=…` the value is left out, too."""
    pairs = [word.partition("=") for word in words]
    return [
        f"{name}={_HIDDEN}" if mark and is_secret_name(name) else redact(name + mark + value) for name, mark, value in pairs
    ]


def redact_values(value: Any, name: str = "") -> Any:
    """A JSON value without secrets: texts under a secret's name, and those that hold a secret of the environment."""
    if isinstance(value, Mapping):
        return {key: redact_values(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(inner, name) for inner in value]
    if isinstance(value, str):
        return _HIDDEN if value and is_secret_name(name) else redact(value)
    return value


class _Redacting:
    """A text stream that writes without secrets."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def redact_outputs() -> None:
    """From now on what this process prints, tracebacks among it, is without secrets. Where there are none nothing changes."""
    if secrets():
        sys.stdout, sys.stderr = _Redacting(sys.stdout), _Redacting(sys.stderr)
        sys.excepthook = _print_redacted


@contextlib.contextmanager
def redacted_outputs() -> Iterator[None]:
    """The same for a block; an exception that leaves it is still printed without secrets."""
    before = sys.stdout, sys.stderr
    redact_outputs()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _print_redacted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
