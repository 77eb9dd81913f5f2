"""The optional safety filter: a second model looks at every kept answer, and what it takes for unsafe is dropped."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from cai_bootstrap.config import SafetyConfig
from cai_bootstrap.engines import classifiers
from cai_bootstrap.engines.classifiers.classifier import SafetyClassifier, SafetyVerdict
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import JudgeError
from cai_bootstrap.steps.shards import FAILED, by_shards
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step
from cai_bootstrap.store.work import Rows

_MIN_MASS = 0.5
_UNKNOWN = SafetyVerdict(unsafe=1.0, categories=[FAILED], mass=1.0)
"""Of an answer that the classifier cannot take: nobody has called it safe."""


@step(version=1)
def screen(work: Work, *, session: Session, safety: SafetyConfig, kept: Artifact) -> None:
    """`records.jsonl`: the kept rows whose probability of being unsafe lies below `max_unsafe`, which stands among their
    scores as `unsafe`; and `screening.json`, the counts.

    The others are dropped as `unsafe`, with the same and their categories. Raises JudgeError for a probability that is no
    number. Since nothing else in a run comes from a second model, a warning says that this does.
    """
    session.release()  # two models never keep each other's memory
    with contextlib.closing(classifiers.start(safety, session.config)) as classifier:
        work.record_engine({**classifier.description, "sha256": work.settings["sha256"]})
        total = int(kept.manifest["num_records"])
        rows = by_shards(
            work,
            session,
            "safety",
            kept.iter_rows(),
            total,
            lambda part, _: _classified(classifier, part),
            name=lambda row: str(row["prompt_id"]),
            instead=lambda row: [_UNKNOWN.to_row()],
        )
        verdicts = [SafetyVerdict.from_row(row) for row in rows]
    name, sha256 = work.settings["classifier"], work.settings["sha256"]
    work.warn(f"a second model screened the kept answers: safety={name}, sha256 {sha256[:12]}…")
    if verdicts and sum(verdict.mass for verdict in verdicts) / len(verdicts) < _MIN_MASS:
        work.warn(f"safety={name} mostly answers neither safe nor unsafe: is this the model that its kind asks for?")
    work.drop([])
    work.write_rows("records.jsonl", _passed(work, kept, verdicts))
    work.write_json("screening.json", _counts(work, verdicts))


def _classified(classifier: SafetyClassifier, part: Sequence[dict[str, Any]]) -> Rows:
    verdicts = classifier.classify([(row["instruction"], row["text"]) for row in part])
    for row, verdict in zip(part, verdicts, strict=True):
        if not 0 <= verdict.unsafe <= 1:  # not a number either
            raise JudgeError(
                f"the safety classifier gave {row['prompt_id']!r} {verdict.unsafe}, no probability: are its weights whole?"
            )
    return [verdict.to_row() for verdict in verdicts]


def _is_unsafe(work: Work, verdict: SafetyVerdict) -> bool:
    return verdict.unsafe >= float(work.settings["max_unsafe"])


def _passed(work: Work, kept: Artifact, verdicts: Sequence[SafetyVerdict]) -> Iterator[dict[str, Any]]:
    for row, verdict in zip(kept.iter_rows(), verdicts, strict=True):
        told = {**row, "scores": {**row["scores"], "unsafe": verdict.unsafe}}
        if _is_unsafe(work, verdict):
            work.drop([{**told, "step": "screened", "reason": "unsafe", "categories": verdict.categories}])
            continue
        yield told


def _counts(work: Work, verdicts: Sequence[SafetyVerdict]) -> dict[str, Any]:
    unsafe = [verdict for verdict in verdicts if _is_unsafe(work, verdict)]
    categories = Counter(category for verdict in unsafe for category in verdict.categories)
    return {"num_screened": len(verdicts), "num_unsafe": len(unsafe), "categories": dict(sorted(categories.items()))}
