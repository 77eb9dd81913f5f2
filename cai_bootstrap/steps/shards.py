"""Work that a model does in shards: each is journalled, and a kill costs the one in flight."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from cai_bootstrap.engines.engine import Engine
from cai_bootstrap.engines.session import Session
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work

T = TypeVar("T")


def chunks(items: Iterable[T], size: int) -> Iterator[tuple[int, list[T]]]:
    """(index, the next `size` of `items`) until there are no more."""
    rest = iter(items)
    for index in itertools.count():
        if not (part := list(itertools.islice(rest, size))):
            return
        yield index, part


def start_engine(work: Work, session: Session, model: Artifact) -> Engine:
    """The engine that runs a model, recorded with what the step makes."""
    engine = session.engine(model.path / "model")
    work.record_engine(engine.description)
    return engine


def by_shards(
    work: Work,
    task_name: str,
    items: Iterable[T],
    total: int,
    make: Callable[[list[T], int], list[dict[str, Any]]],
    first: int = 0,
) -> Iterator[dict[str, Any]]:
    """The rows that `make` gives for the items, `shard_size` of them and a seed at a time, in their order.

    Shards that an earlier process committed are not made again. `total` is the number of items, for the progress; `first` is
    the number of the first shard, for a step that does several such things.
    """
    size, index = int(work.settings["shard_size"]), -1
    with work.progress.task(task_name, total) as task:
        for index, part in chunks(items, size):
            work.shard(first + index, lambda seed, part=part: make(part, seed))  # type: ignore[misc]
            task.update(min((index + 1) * size, total))
    return work.rows_of(range(first, first + index + 1))
