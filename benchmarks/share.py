"""Where the time of a real run goes: engine and trainer calls, start-up of their processes, and the pipeline's own share.

    python -m benchmarks.share [words of a run, such as preset=small paths.root=/tmp/share]

The same run as `python -m cai_bootstrap stage=1 WORDS`, in a fresh root, with a clock around every call to a child process. Its
own share is what is left: making prompts, filtering, deduplicating, pairing, verifying, hashing and writing.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks import pairing


class Clock:
    """Seconds by name. Functions that it wraps do not call each other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def around(self, function: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
        """`function`, its time added under the name that `name_of` gives its arguments."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name_of(*args, **kwargs)] += time.perf_counter() - begin

        return timed


def main() -> None:
    """Run, measure, save, print."""
    begin = time.perf_counter()
    from cai_bootstrap.__main__ import main as run
    from cai_bootstrap.engines import base_models, child

    words, clock = sys.argv[1:], Clock()
    patched: Any = child.Child
    patched.__init__ = clock.around(patched.__init__, lambda *args, **kwargs: "start-up of child processes")
    patched.call = clock.around(patched.call, lambda self, name, *args, **kwargs: f"call {name}")
    base_models.prepare = clock.around(base_models.prepare, lambda *args, **kwargs: "base model, once a machine")
    if not any(word.startswith("paths.root=") for word in words):
        words.append(f"paths.root={tempfile.mkdtemp(prefix='cai-share-')}")
    code = run(["stage=1", *words])
    total = time.perf_counter() - begin
    own = total - sum(clock.seconds.values())
    pairing.save(
        "share",
        {
            "words": words,
            "exit_code": code,
            "seconds": total,
            "seconds_by_part": dict(sorted(clock.seconds.items(), key=lambda item: -item[1])),
            "own_seconds": own,
            "own_share": own / total,
        },
    )


if __name__ == "__main__":
    main()
