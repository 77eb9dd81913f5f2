"""Work that a model does in shards: each is journalled, and a kill costs the one in flight. What fails is set aside alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cai_bootstrap.engines.engine import Engine
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import RecordError, StepFailed
from cai_bootstrap.redact import redact
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work
from cai_bootstrap.store.work import Rows

T = TypeVar("T")
FAILED = "failed"
"""In place of the finish reason of a text that was not written, or of a score that was not taken."""
_ASIDE = "set_aside"
"""The one key of a shard's row that stands for a record that failed."""


def chunks(items: Iterable[T], size: int) -> Iterator[tuple[int, list[T]]]:
    """(index, the next `size` of `items`) until there are no more."""
    rest = iter(items)
    for index in itertools.count():
        if not (part := list(itertools.islice(rest, size))):
            return
        yield index, part


def start_engine(work: Work, session: Session, model: Artifact) -> Engine:
    """The engine that runs a model, recorded with what the step makes; a warning where its weights are not the merged ones."""
    engine = session.engine(model.path / "model")
    work.record_engine(engine.description)
    served = engine.description.get("quantization", "none")
    if served != "none":
        work.warn(f"served by weights in {served}, which differ from those that were trained and merged")
    return engine


def by_shards(
    work: Work,
    session: Session,
    task_name: str,
    items: Iterable[T],
    total: int,
    make: Callable[[list[T], list[int]], Rows],
    *,
    name: Callable[[T], str],
    first: int = 0,
    by: str = "prompt_id",
    uncut: Mapping[str, Rows] | None = None,
    instead: Callable[[T], Rows] | None = None,
) -> Iterator[dict[str, Any]]:
    """The rows that `make` gives for the items, `shard_size` of them at a time and a seed for each, in their order.

    Shards that an earlier process committed are not made again. `total` is the number of items, for the progress; `first` is
    the number of the first shard, for a step that does several such things.

    An item for which `make` raises RecordError is set aside: it gives the rows of `instead`, or none, and its `name` is dropped
    with the reason. A warning counts them; when they are more than `engine.max_failed_share` of all, StepFailed is raised.

    For an item whose `name` is in `uncut` the rows there are taken and none is made. Rows name their item in the field `by`.
    """
    size = int(work.settings["shard_size"])
    failures = _Failures(task_name, total, session.config.max_failed_share)
    held = uncut or {}

    def make_shard(index: int, part: list[T], seed: int) -> Rows:
        # Each record its own seed: what it draws does not hang on which others are made with it.
        rng = random.Random(seed)
        seeds = [rng.getrandbits(32) for _ in part]
        left = [place for place, item in enumerate(part) if name(item) not in held]
        asked, own = [part[place] for place in left], [seeds[place] for place in left]
        found = failures.of_shard.setdefault(index, [])
        made = _around_failures(make, asked, own, name, instead or _nothing, failures, found) if left else []
        if not held:
            return made
        of_item: dict[str, Rows] = {}
        for row in made:
            of_item.setdefault(row[_ASIDE]["name"] if _ASIDE in row else str(row[by]), []).append(row)
        return [row for item in part for row in held.get(name(item)) or of_item.get(name(item), [])]

    parts = ((first + index, part) for index, part in chunks(items, size))
    indices = list[int]()
    with work.progress.task(task_name, total) as task:
        for index in _committed(work, parts, make_shard, session.config.at_once):
            indices.append(index)
            # Those of a shard that an earlier process made are known now; those of one that was made just now are the same.
            failures.of_shard[index] = [row[_ASIDE] for row in work.rows_of([index]) if _ASIDE in row]
            failures.require_few()
            task.update(min(len(indices) * size, total))
    if found := failures.found():
        work.warn(f"{len(found)} of {total} records failed and were set aside ({task_name}); the first: {found[0]['reason']}")
        work.drop({"id": each["name"], "reason": f"{FAILED}: {each['reason']}"} for each in found)
    return (row for row in work.rows_of(sorted(indices)) if _ASIDE not in row)


def _committed(
    work: Work, parts: Iterable[tuple[int, list[T]]], make: Callable[[int, list[T], int], Rows], at_once: int
) -> Iterator[int]:
    """The index of each part's shard as soon as it is committed, in order for one `at_once`.

    For more, threads wait for what works elsewhere; this one alone commits, whatever is made first.
    """
    if at_once == 1:
        for index, part in parts:
            work.shard(index, lambda seed, index=index, part=part: make(index, part, seed))  # type: ignore[misc]
            yield index
        return
    pool, going = ThreadPoolExecutor(at_once), dict[Future[Rows], int]()

    def done() -> Iterator[int]:
        for future in wait(going, return_when=FIRST_COMPLETED).done:
            index, rows = going.pop(future), future.result()
            work.shard(index, lambda seed: rows)  # noqa: B023 - called at once
            yield index

    try:
        for index, part in parts:
            if work.has_shard(index):
                yield index
                continue
            going[pool.submit(make, index, part, work.shard_seed(index))] = index
            if len(going) >= 2 * at_once:  # nobody waits for work while one is committed
                yield from done()
        while going:
            yield from done()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass
class _Failures:
    """The records of a step that failed, by name and reason; more than a share of all of them stop it."""

    task_name: str
    total: int
    max_share: float
    of_shard: dict[int, list[dict[str, str]]] = field(default_factory=dict)

    def found(self) -> list[dict[str, str]]:
        """All of them, in their order."""
        return [each for _, shard in sorted(self.of_shard.items()) for each in shard]

    def require_few(self) -> None:
        """Raises StepFailed when they are too many."""
        found = self.found()
        if len(found) > self.max_share * self.total:
            raise StepFailed(
                f"{len(found)} of {self.total} records failed ({self.task_name}), more than engine.max_failed_share="
                f"{self.max_share} allows; {found[0]['name']}: {found[0]['reason']}"
            )


def _around_failures(
    make: Callable[[list[T], list[int]], Rows],
    part: list[T],
    seeds: list[int],
    name: Callable[[T], str],
    instead: Callable[[T], Rows],
    failures: _Failures,
    found: list[dict[str, str]],
) -> Rows:
    """What `make` gives for a part, with those left out that it fails for, which `found` gets: the part is halved until they
    stand alone.

    What failed for another reason than its records goes well the second time. Too many failures raise before anything of the
    shard is committed: an engine that is broken for a while has spoilt nothing.
    """
    try:
        return make(part, seeds)
    except RecordError as error:
        if len(part) == 1:
            found.append({"name": name(part[0]), "reason": redact(str(error))})
            failures.require_few()
            return [*instead(part[0]), {_ASIDE: found[-1]}]
    half = len(part) // 2
    halves = ((part[:half], seeds[:half]), (part[half:], seeds[half:]))
    return [row for some, own in halves for row in _around_failures(make, some, own, name, instead, failures, found)]


def was_not_cut(row: dict[str, Any]) -> bool:
    """Whether a text ended before the token limit."""
    return row["finish"] not in ("length", FAILED)


def _nothing(item: object) -> Rows:
    return []
