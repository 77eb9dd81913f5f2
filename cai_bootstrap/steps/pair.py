"""Preference pairs: the selected answer over the base model's own habit or over a hard negative."""

from __future__ import annotations

import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cai_bootstrap import templates
from cai_bootstrap.errors import StepFailed
from cai_bootstrap.evals import english
from cai_bootstrap.records import PreferencePair
from cai_bootstrap.steps.duplicates import content_words
from cai_bootstrap.steps.judge import answer_key
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.provenance import code_revision
from cai_bootstrap.store.run import Work, step

PAIRS = "pairs.parquet"
_MAX_TRIES = 20


class _Sources:
    """What rejected answers are made from. Other rows are drawn by place, never searched: a search per pair is quadratic."""

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        zero_shot: dict[str, dict[str, Any]],
        run_on: dict[str, dict[str, Any]],
        refusals: Sequence[str],
    ) -> None:
        self.rows, self.zero_shot, self.run_on, self.refusals = rows, zero_shot, run_on, refusals
        self.num_kinds = len({row["kind"] for row in rows})
        self._by_size: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for row in rows:
            self._by_size.setdefault((row["kind"], len(row["text"].split())), []).append(row)

    def of_another_kind(self, kind: str, rng: random.Random) -> dict[str, Any]:
        """A row of another kind, or any where there is only one."""
        row = rng.choice(self.rows)
        while self.num_kinds > 1 and row["kind"] == kind:
            row = rng.choice(self.rows)
        return row

    def like(self, row: dict[str, Any], rng: random.Random) -> dict[str, Any] | None:
        """A row of the same kind with another answer, at most a word longer or shorter; None when some draws find none."""
        size, key = len(row["text"].split()), answer_key(row["text"], row["instruction"])
        alike = [self._by_size.get((row["kind"], near), []) for near in (size - 1, size, size + 1)]
        weights = list(map(len, alike))
        for _ in range(_MAX_TRIES):
            other = rng.choice(rng.choices(alike, weights)[0])  # never empty: `row` itself is in one of them
            if other["text"] != row["text"] and answer_key(other["text"], other["instruction"]) != key:
                return other
        return None


Negative = tuple[str, bool, str]
"""(text, whether EOS is taught after it, where it came from)."""


def _zero_shot(row: dict[str, Any], sources: _Sources, rng: random.Random) -> Negative:
    made = sources.zero_shot[row["prompt_id"]]
    return made["text"].rstrip(), made["finish"] == "eos", f"zero-shot, seed {made['seed']}"


def _off_topic(row: dict[str, Any], sources: _Sources, rng: random.Random) -> Negative:
    other = sources.of_another_kind(row["kind"], rng)
    return templates.response(other["text"]), True, f"answer to {other['prompt_id']}"


def _factual(row: dict[str, Any], sources: _Sources, rng: random.Random) -> Negative:
    """Another number in place of a number, or another answer of the same kind and nearly the same length."""
    number = re.search(r"\d+", row["text"])
    if number:
        value = int(number.group())
        changed = value + rng.choice([d for d in (-3, -2, -1, 1, 2, 3) if value + d >= 0])
        text = row["text"][: number.start()] + str(changed) + row["text"][number.end() :]
        return templates.response(text), True, f"number {value} → {changed}"
    other = sources.like(row, rng)
    if other is None:
        return _off_topic(row, sources, rng)
    return templates.response(other["text"]), True, f"answer to {other['prompt_id']} of the same kind"


def _rambling(row: dict[str, Any], sources: _Sources, rng: random.Random) -> Negative:
    made = sources.run_on[row["prompt_id"]]
    text = templates.response(row["text"]) + made["text"].rstrip()
    return text, made["finish"] == "eos", f"run-on, seed {made['seed']}"


def _broken_format(row: dict[str, Any], sources: _Sources, rng: random.Random) -> Negative:
    text, instruction = row["text"], row["instruction"]
    broken = rng.choice(
        [
            f" {instruction}\nResponse: {text}",
            f" {text}\nInstruction: {rng.choice(sources.rows)['instruction']}",
            f"\n\n{text}\n\n{text}",
            f" Response: Response: {text}",
            f" {instruction} {instruction}",
        ]
    )
    return broken, True, "format broken on purpose"


def _refusal(row: dict[str, Any], sources: _Sources, rng: random.Random) -> Negative:
    return templates.response(rng.choice(sources.refusals)), True, "refusal sampled from the base model"


def _echo(row: dict[str, Any], sources: _Sources, rng: random.Random) -> Negative:
    """A word of the instruction in place of an answer («Complete the pair: knife and» → «knife»), or the message itself."""
    body = row["instruction"].partition(": ")[2] or row["instruction"]
    if row["kind"] == "respond":
        return templates.response(body), True, "the message itself"
    said = set(english.words(row["text"]))
    words = [word for word in re.findall(r"[A-Za-z]+|\d+", body) if content_words(word) and not said & set(english.words(word))]
    if not words:
        return _off_topic(row, sources, rng)
    end = "." if row["text"].endswith(".") else ""
    return templates.response(words[-1] + end), True, "a word of the instruction"


NEGATIVES: dict[str, Callable[[dict[str, Any], _Sources, random.Random], Negative]] = {
    "zero_shot": _zero_shot,
    "off_topic": _off_topic,
    "factual": _factual,
    "rambling": _rambling,
    "broken_format": _broken_format,
    "refusal": _refusal,
    "echo": _echo,
}


@step(version=3)
def make_pairs(
    work: Work, *, model: Artifact, candidates: Artifact, kept: Artifact, rejected: Artifact, **earlier: Artifact
) -> None:
    """`pairs.parquet` (columns `prompt`, `chosen`, `rejected` and the provenance) and `statistics.json`.

    `earlier` holds the pairs of an earlier round, which come first.

    Raises StepFailed when fewer than `min_pairs` come, UserError's kin for a rejected kind that is not known.
    """
    settings = work.settings
    rng = random.Random(work.seed)
    sources = _Sources(
        rows=kept.rows(),
        zero_shot={row["prompt_id"]: row for row in rejected.rows("zero_shot.jsonl")},
        run_on={row["prompt_id"]: row for row in rejected.rows("run_on.jsonl")},
        refusals=rejected.json("refusals.json"),
    )
    rows, dropped = _cap_identical(sources.rows, settings["max_identical_chosen"])
    made = {"zero_shot": set(sources.zero_shot), "rambling": set(sources.run_on)}
    kinds = _assign(rows, settings["rejected_mix"], made, rng)
    constant = {
        "model": model.digest,
        "template": templates.digest(),
        "code_revision": code_revision(),
        "engine": candidates.manifest["engine"],
        "sampling": candidates.manifest["settings"]["sampling"],
    }
    pairs = [pair for artifact in earlier.values() for pair in read_pairs(artifact)]
    for row, rejected_kind in zip(rows, kinds, strict=True):
        chosen = templates.response(row["text"])
        for _ in range(_MAX_TRIES):
            text, eos, origin = NEGATIVES[rejected_kind](row, sources, rng)
            if english.plain(text) != english.plain(chosen) or not eos:
                break
        if not text.strip() or (eos and english.plain(text) == english.plain(chosen)):
            dropped.append({**row, "step": "pairs", "reason": "rejected equals chosen"})
            continue
        pairs.append(
            PreferencePair(
                id=f"{work.digest[:8]}-{len(pairs):05d}",
                kind=row["kind"],
                instruction=row["instruction"],
                prompt=templates.cued(row["instruction"]),
                chosen=chosen,
                rejected=text,
                chosen_eos=True,
                rejected_eos=eos,
                rejected_kind=rejected_kind,
                score=row["score"],
                selection=row["selection"],
                principle=row["principle"],
                provenance={
                    **constant,
                    "prompt_id": row["prompt_id"],
                    "instruction_source": row["instruction_source"],
                    "chosen_prompt": row["rendered_prompt"],
                    "chosen_seed": row["completion_seed"],
                    "chosen_scores": row["scores"],
                    "rejected_source": origin,
                },
            )
        )
    work.drop(dropped)
    if len(pairs) < settings["min_pairs"]:
        raise StepFailed(
            f"{len(pairs)} pairs came, {settings['min_pairs']} are needed: raise stage.instructions.num_instructions, or lower "
            "stage.pairs.min_pairs"
        )
    write_pairs(work, pairs)
    work.write_json("statistics.json", describe(pairs))


def read_pairs(artifact: Artifact) -> list[PreferencePair]:
    """The pairs of an artifact."""
    table = pq.read_table(io.BytesIO(artifact.read(PAIRS)))
    return [PreferencePair.from_row({**row, "provenance": json.loads(row["provenance"])}) for row in table.to_pylist()]


def write_pairs(work: Work, pairs: Sequence[PreferencePair]) -> None:
    """Pairs as Parquet: flat columns, `provenance` as JSON text; pandas and datasets read it in one line."""
    rows = [{**pair.to_row(), "provenance": json.dumps(pair.provenance, sort_keys=True)} for pair in pairs]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), buffer)
    work.write_bytes(PAIRS, buffer.getvalue())


_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "kind", "instruction", "prompt", "chosen", "rejected")),
        ("chosen_eos", pa.bool_()),
        ("rejected_eos", pa.bool_()),
        ("rejected_kind", pa.string()),
        ("score", pa.float64()),
        ("selection", pa.string()),
        ("principle", pa.string()),
        ("provenance", pa.string()),
    ]
)


def describe(pairs: Sequence[PreferencePair]) -> dict[str, Any]:
    """Counts by kind, the mix that came, length balance in characters, and the commonest chosen text's share."""
    chosen = [len(pair.chosen) for pair in pairs]
    rejected = [len(pair.rejected) for pair in pairs]
    common = Counter(pair.chosen for pair in pairs).most_common(1)[0]
    return {
        "num_pairs": len(pairs),
        "kinds": dict(Counter(pair.kind for pair in pairs)),
        "rejected_kinds": dict(Counter(pair.rejected_kind for pair in pairs)),
        "mean_chosen_characters": sum(chosen) / len(pairs),
        "mean_rejected_characters": sum(rejected) / len(pairs),
        "share_chosen_longer": sum(c > r for c, r in zip(chosen, rejected, strict=True)) / len(pairs),
        "share_chosen_longer_by_rejected_kind": {
            kind: sum(len(p.chosen) > len(p.rejected) for p in pairs if p.rejected_kind == kind)
            / sum(p.rejected_kind == kind for p in pairs)
            for kind in sorted({p.rejected_kind for p in pairs})
        },
        "most_common_chosen": common[0],
        "share_most_common_chosen": common[1] / len(pairs),
        "num_unique_chosen": len({pair.chosen for pair in pairs}),
    }


def _cap_identical(rows: Sequence[dict[str, Any]], share: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows with at most `share` of them saying the same, the best scored first; and those over it, as dropped."""
    limit = max(1, int(share * len(rows)) - 1)
    counts: Counter[str] = Counter()
    kept_ids = set()
    for row in sorted(rows, key=lambda r: -r["score"]):
        key = english.plain(row["text"])
        if counts[key] < limit:
            counts[key] += 1
            kept_ids.add(row["prompt_id"])
    dropped = [
        {**row, "step": "pairs", "reason": "this answer is chosen often enough"}
        for row in rows
        if row["prompt_id"] not in kept_ids
    ]
    return [row for row in rows if row["prompt_id"] in kept_ids], dropped


def _assign(rows: Sequence[dict[str, Any]], mix: dict[str, float], made: dict[str, set[str]], rng: random.Random) -> list[str]:
    """A rejected kind for each row, in the shares of `mix`: wrong facts for rows that state one, and what the model itself
    was asked to write (`made`: instructions by kind) where it did."""
    unknown = [kind for kind in mix if kind not in NEGATIVES]
    if unknown:
        raise StepFailed(f"rejected kind {unknown[0]!r} is not known: write one of {', '.join(NEGATIVES)}")
    kinds: list[str | None] = [None] * len(rows)
    fitting = {
        **{kind: [i for i, row in enumerate(rows) if row["prompt_id"] in ids] for kind, ids in made.items()},
        "factual": [i for i, row in enumerate(rows) if row["kind"] in ("answer", "complete")],
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
