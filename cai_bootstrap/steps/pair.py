"""Preference pairs: the selected answer over the base model's own habit or over a hard negative."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cai_bootstrap import templates
from cai_bootstrap.errors import StepFailed
from cai_bootstrap.evals import english
from cai_bootstrap.records import PreferencePair
from cai_bootstrap.steps.duplicates import DuplicateIndex, meets
from cai_bootstrap.steps.kinds import asks_for
from cai_bootstrap.steps.negatives import MAX_TRIES, NEGATIVES, Answer, Sources, Written, is_worse
from cai_bootstrap.steps.shards import chunks
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.provenance import code_revision
from cai_bootstrap.store.run import Work, step

PAIRS = "pairs.parquet"
HELDOUT_SIMILARITY = 0.9
"""Jaccard similarity of shingles from which a task counts as a held-out one."""
_ROW_GROUP = 1000
"""Pairs in memory at once while a file is written or read."""

_PROVENANCE = json.JSONEncoder(sort_keys=True)
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "kind", "instruction", "prompt", "chosen", "rejected")),
        ("chosen_eos", pa.bool_()),
        ("rejected_eos", pa.bool_()),
        ("rejected_kind", pa.string()),
        ("score", pa.float64()),
        ("selection", pa.string()),
        ("principle", pa.string()),
        ("group", pa.string()),
        ("provenance", pa.string()),
    ]
)


@step(version=12)
def make_pairs(
    work: Work,
    *,
    model: Artifact,
    candidates: Artifact,
    kept: Artifact,
    rejected: Artifact,
    heldout: list[str],
    **earlier: Artifact,
) -> None:
    """`pairs.parquet` (columns `prompt`, `chosen`, `rejected` and the provenance) and `statistics.json`.

    `earlier` holds the pairs of an earlier round, which come first. A task that meets a text of `heldout` (`duplicates.meets`)
    is dropped with its whole group, whoever wrote it: what is trained on is checked in every run, not only what was asked for.

    Raises StepFailed when fewer than `min_pairs` come, UserError's kin for a rejected kind that is not known.
    """
    constant = {
        "model": model.digest,
        "template": templates.digest(),
        "code_revision": code_revision(),
        "engine": candidates.manifest["engine"],
        "sampling": candidates.manifest["settings"]["sampling"],
    }
    tally = Tally()
    earlier_pairs = itertools.chain.from_iterable(map(iter_pairs, earlier.values()))
    new_pairs = _new_pairs(work, kept, rejected, _met(kept, heldout), constant, tally)
    work.drop([])
    write_pairs(work, _enough(itertools.chain(earlier_pairs, new_pairs), tally, work.settings["min_pairs"]))
    work.record_rows(PAIRS, tally.num_pairs)
    work.write_json("statistics.json", tally.statistics())


def iter_pairs(artifact: Artifact) -> Iterator[PreferencePair]:
    """The pairs of an artifact one by one, read a row group at a time."""
    with pq.ParquetFile(artifact.file(PAIRS)) as file:
        for batch in file.iter_batches(_ROW_GROUP):
            for row in batch.to_pylist():
                yield PreferencePair.from_row({**row, "provenance": json.loads(row["provenance"])})


def write_pairs(work: Work, pairs: Iterable[PreferencePair]) -> None:
    """Pairs as Parquet: flat columns, `provenance` as JSON text; pandas and datasets read it in one line."""
    with work.open(PAIRS) as file, pq.ParquetWriter(file, _SCHEMA) as writer:
        for _, group in chunks(pairs, _ROW_GROUP):
            columns = {name: [getattr(pair, name) for pair in group] for name in _SCHEMA.names}
            columns["provenance"] = list(map(_PROVENANCE.encode, columns["provenance"]))
            writer.write_table(pa.Table.from_pydict(columns, schema=_SCHEMA))


class Tally:
    """Counts by kind, the mix that came, length balance in characters, and the commonest chosen text's share."""

    def __init__(self) -> None:
        self.num_pairs = 0
        self._kinds: Counter[str] = Counter()
        self._rejected_kinds: Counter[str] = Counter()
        self._chosen: Counter[str] = Counter()
        self._chosen_longer: Counter[str] = Counter()
        self._num_characters = {"chosen": 0, "rejected": 0}

    def add(self, pair: PreferencePair) -> None:
        """Count a pair in."""
        self.num_pairs += 1
        self._kinds[pair.kind] += 1
        self._rejected_kinds[pair.rejected_kind] += 1
        self._chosen[pair.chosen] += 1
        self._chosen_longer[pair.rejected_kind] += len(pair.chosen) > len(pair.rejected)
        self._num_characters["chosen"] += len(pair.chosen)
        self._num_characters["rejected"] += len(pair.rejected)

    def statistics(self) -> dict[str, Any]:
        """The values of `statistics.json`, for at least one pair."""
        common, num_common = self._chosen.most_common(1)[0]
        return {
            "num_pairs": self.num_pairs,
            "kinds": dict(self._kinds),
            "rejected_kinds": dict(self._rejected_kinds),
            "mean_chosen_characters": self._num_characters["chosen"] / self.num_pairs,
            "mean_rejected_characters": self._num_characters["rejected"] / self.num_pairs,
            "share_chosen_longer": self._chosen_longer.total() / self.num_pairs,
            "share_chosen_longer_by_rejected_kind": {
                kind: self._chosen_longer[kind] / count for kind, count in sorted(self._rejected_kinds.items())
            },
            "most_common_chosen": common,
            "share_most_common_chosen": num_common / self.num_pairs,
            "num_unique_chosen": len(self._chosen),
        }


def _enough(pairs: Iterable[PreferencePair], tally: Tally, min_pairs: int) -> Iterator[PreferencePair]:
    """The pairs, counted; raises StepFailed when they end before `min_pairs` came."""
    for pair in pairs:
        tally.add(pair)
        yield pair
    if tally.num_pairs < min_pairs:
        raise StepFailed(
            f"{tally.num_pairs} pairs came, {min_pairs} are needed: raise stage.instructions.num_instructions, or lower "
            "stage.pairs.min_pairs"
        )


def _met(kept: Artifact, heldout: Sequence[str]) -> set[str]:
    """The groups of the kept answers of which one meets a held-out text; the id of one that has no group."""
    index = DuplicateIndex(HELDOUT_SIMILARITY)
    index.add(heldout)
    return {_group(row) for row in kept.iter_rows() if meets(index, row["instruction"], row["text"])}


def _group(row: Mapping[str, Any]) -> str:
    return str(row.get("group") or row["prompt_id"])


def _new_pairs(
    work: Work, kept: Artifact, rejected: Artifact, met: Collection[str], constant: dict[str, Any], tally: Tally
) -> Iterator[PreferencePair]:
    """A pair for each kept answer, in order; drops those that are `met`, said too often, or have no other text to reject."""
    rng = random.Random(work.seed)
    answers = list(map(Answer.of, kept.iter_rows()))
    sources = Sources(
        rows=answers,
        zero_shot=_written(rejected, "zero_shot.jsonl"),
        run_on=_written(rejected, "run_on.jsonl"),
        refusals=rejected.json("refusals.json"),
    )
    places = _cap_identical(answers, work.settings["max_identical_chosen"])
    worse = {row.prompt_id for row in answers if (own := sources.zero_shot.get(row.prompt_id)) and is_worse(own, row)}
    made: dict[str, Collection[str]] = {
        "zero_shot": worse,
        "rambling": {id_ for id_, made in sources.run_on.items() if made.text.strip()},
    }
    kinds = iter(_assign([answers[place] for place in places], work.settings["rejected_mix"], made, rng))
    capped = set(range(len(answers))).difference(places)
    for place, (answer, row) in enumerate(zip(answers, kept.iter_rows(), strict=True)):
        if place in capped:
            work.drop([{**row, "step": "pairs", "reason": "this answer is chosen often enough"}])
            continue
        chosen, rejected_kind = templates.response(answer.text), next(kinds)
        if _group(row) in met:
            work.drop([{**row, "step": "pairs", "reason": "meets a held-out item"}])
            continue
        for _ in range(MAX_TRIES):
            text, eos, origin = NEGATIVES[rejected_kind](answer, sources, rng)
            if english.plain(text) != english.plain(chosen) or not eos:
                break
        if not text.strip() or (eos and english.plain(text) == english.plain(chosen)):
            work.drop([{**row, "step": "pairs", "reason": "rejected equals chosen"}])
            continue
        yield PreferencePair(
            id=f"{work.digest[:8]}-{tally.num_pairs:05d}",
            kind=answer.kind,
            instruction=answer.instruction,
            prompt=templates.cued(answer.instruction),
            chosen=chosen,
            rejected=text,
            chosen_eos=True,
            rejected_eos=eos,
            rejected_kind=rejected_kind,
            score=answer.score,
            selection=row["selection"],
            principle=row["principle"],
            group=row.get("group", ""),
            provenance={
                **constant,
                "prompt_id": answer.prompt_id,
                "instruction_source": row["instruction_source"],
                "chosen_prompt": row["rendered_prompt"],
                "chosen_seed": row["completion_seed"],
                "chosen_scores": row["scores"],
                "rejected_source": origin,
            },
        )


def _written(rejected: Artifact, file: str) -> dict[str, Written]:
    return {row["prompt_id"]: Written(row["text"], row["finish"], row["seed"]) for row in rejected.iter_rows(file)}


def _cap_identical(rows: Sequence[Answer], share: float) -> list[int]:
    """The places of rows with at most `share` of all saying the same; the best scored of them stay."""
    limit = max(1, int(share * len(rows)) - 1)
    counts: Counter[str] = Counter()
    places = []
    for place in sorted(range(len(rows)), key=lambda place: -rows[place].score):
        key = english.plain(rows[place].text)
        if counts[key] < limit:
            counts[key] += 1
            places.append(place)
    return sorted(places)


def _assign(
    rows: Sequence[Answer], mix: dict[str, float], made: Mapping[str, Collection[str]], rng: random.Random
) -> list[str]:
    """A rejected kind for each row, in the shares of `mix`: wrong facts for rows that state one, replies to other messages for
    replies, and what the model itself was asked to write (`made`: instructions by kind) where it did."""
    unknown = [kind for kind in mix if kind not in NEGATIVES]
    if unknown:
        raise StepFailed(f"rejected kind {unknown[0]!r} is not known: write one of {', '.join(NEGATIVES)}")
    kinds: list[str | None] = [None] * len(rows)
    fitting = {
        **{kind: [i for i, row in enumerate(rows) if row.prompt_id in ids] for kind, ids in made.items()},
        "factual": [i for i, row in enumerate(rows) if asks_for(row.kind) in ("answer", "complete")],
        "misplaced": [i for i, row in enumerate(rows) if asks_for(row.kind) == "respond"],
    }
    for kind, places in fitting.items():
        free = [i for i in places if kinds[i] is None]
        for i in rng.sample(free, min(len(free), round(mix.get(kind, 0) * len(rows)))):
            kinds[i] = kind
    rest = [i for i, kind in enumerate(kinds) if kind is None]
    rng.shuffle(rest)
    others = {kind: share for kind, share in mix.items() if kind not in fitting}
    total = sum(others.values()) or 1.0
    bounds, passed = [], 0.0
    for kind, share in others.items():
        passed += share / total
        bounds.append((round(passed * len(rest)), kind))
    for place, i in enumerate(rest):
        kinds[i] = next((kind for bound, kind in bounds if place < bound), bounds[-1][1])
    return [str(kind) for kind in kinds]
