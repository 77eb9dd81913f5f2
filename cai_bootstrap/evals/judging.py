"""What stage 4 reports of its suite: judgements by what is wrong with the answer, against two judges that do not judge.

A model that learnt only how long bad answers are, or which words stand in them, is no judge: both classifiers are trained on
the pairs that it was trained on, and must lose against it. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cai_bootstrap.errors import UserError
from cai_bootstrap.evals import baselines, statistics
from cai_bootstrap.evals.baselines import Row
from cai_bootstrap.evals.statistics import check_of, percent, points
from cai_bootstrap.records import EvalRecord, HeldOutItem

BASELINES = {"lengths alone": baselines.length_baseline, "words alone": baselines.bag_of_words_baseline}


def judging(trained: Sequence[EvalRecord], pairs: Sequence[Mapping[str, Any]], items: Sequence[HeldOutItem]) -> dict[str, Any]:
    """Rates, intervals and paired differences on the evaluation suite, as a plain dict for a gate's JSON.

    `by_corruption`: for each thing that is wrong with an answer the rates of groups judged right, `trained` (strict) and of
    each of `BASELINES`, which are trained on `pairs` (instruction, kind, chosen, group). `checks`, in the form of a
    GateResult's: one for each baseline, passed when the trained model's advantage on the same groups has its 95 % interval
    above 0. UserError when `items` lack a group of the records, or the pairs a kind of the items.
    """
    asked = {record.item_id for record in trained}
    heldout = [_asked(item) for item in items if item.group in asked]
    if missing := asked - {row.group for row in heldout}:
        raise UserError(f"group {min(missing)!r} is none of the {len(items)} items: give the suite that was answered")
    taught = [Row(row["instruction"], row["kind"], _label(row["chosen"]), row["group"]) for row in pairs if row["group"]]
    right = {name: fit(taught, heldout) for name, fit in BASELINES.items()}
    by_corruption: dict[str, Any] = {}
    for corruption in sorted({_corruption(record) for record in trained}):
        records = [record for record in trained if _corruption(record) == corruption]
        rates = {name: statistics.wilson(sum(found[r.item_id] for r in records), len(records)) for name, found in right.items()}
        by_corruption[corruption] = {
            name: rate.to_row() for name, rate in {"trained": statistics.rate(records, "strict"), **rates}.items()
        }
    return {"by_corruption": by_corruption, "checks": [_beats(name, trained, found) for name, found in right.items()]}


def _beats(name: str, trained: Sequence[EvalRecord], right: Mapping[str, bool]) -> dict[str, Any]:
    own = [record.strict for record in trained]
    test = statistics.mcnemar(f"trained strict vs {name}", own, [right[record.item_id] for record in trained])
    rate = statistics.wilson(sum(right.values()), len(right))
    passed = test.low > 0
    relation = "beats" if passed else "may be no better than"
    reason = (
        f"Trained strict {relation} a classifier of {name} that was trained on the same pairs and gets {percent(rate)}: "
        f"difference {points(test)} on {test.total} groups, needed is a lower end above 0."
    )
    return check_of(test.name, test, 0.0, passed, reason, p_value=test.p_value)


def _corruption(record: EvalRecord) -> str:
    return record.family.removeprefix(f"{record.kind}_")


def _asked(item: HeldOutItem) -> Row:
    label = item.arguments.get("label") or ("high" if "at_least" in item.arguments else "low")
    return Row(item.instruction, item.kind, str(label), item.group)


def _label(chosen: str) -> str:
    """A response's label, as a held-out item has it: its first word, a rating as high or low."""
    said = chosen.split()[0].rstrip(".")
    return ("high" if int(said) > 3 else "low") if said.isdigit() else said
