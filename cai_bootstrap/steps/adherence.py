"""Principles at work: which one each prompt is judged by, how often each was used, and how often it was adhered to."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from cai_bootstrap.constitution import Principle
from cai_bootstrap.errors import UserError
from cai_bootstrap.evals import statistics


def fitting(
    principles: Sequence[Principle], prompts: Iterable[tuple[str, str]], applies: Mapping[str, Collection[str]]
) -> list[set[str]]:
    """For each (kind, form) the ids of the principles that an answer to it can be judged by.

    `applies` names them by form, or by kind for all its other forms. A form of a kind is named «category_sort»; where `applies`
    names no principle of this constitution, those of the form's category apply, and without any, all of them.
    """
    ids = {principle.id for principle in principles}
    found = []
    for kind, form in prompts:
        named = ids.intersection(applies.get(form, applies.get(kind, ())))
        category = {principle.id for principle in principles if principle.category == form.split("_")[0]}
        found.append(named or category or ids)
    return found


def balanced(
    principles: Sequence[Principle], n: int, rng: random.Random, fits: Sequence[Collection[str]] | None = None
) -> list[str]:
    """The id of one principle for each of `n` prompts, so that all are used and the categories are even.

    `fits` are, for each prompt, the ids that can apply to it (see `fitting`); without it, every principle does. As many
    principles as the prompts allow are used at least once. Every other prompt gets, of what fits it, the least used category
    and in it the least used principle, ties by lot, and is moved as long as that makes the counts more even.
    UserError for no principles, `fits` of another length, an id that is not known, and a prompt that nothing fits.
    """
    category = {principle.id: principle.category for principle in principles}
    if not category:
        raise UserError("there are no principles to assign: give a constitution with at least one")
    options = [set(category)] * n if fits is None else [set(ids) for ids in fits]
    if len(options) != n:
        raise UserError(f"fits has {len(options)} entries for n={n} prompts: give one for each prompt")
    for place, ids in enumerate(options):
        if not ids or not ids <= category.keys():
            odd = ", ".join(sorted(ids - category.keys())) or "no principle"
            raise UserError(f"prompt {place} fits {odd}: write ids of the constitution: {', '.join(category)}")
    order = [sorted(ids) for ids in options]  # a set has no order of its own; the draw must be the same in every process
    taken = _one_each(category, order, rng)
    used, categories = Counter(taken.values()), Counter(category[id_] for id_ in taken.values())

    def least(place: int) -> str:
        drawn = rng.sample(order[place], len(order[place]))
        return min(drawn, key=lambda id_: (categories[category[id_]], used[id_]))

    def count(id_: str, change: int) -> None:
        used[id_] += change
        categories[category[id_]] += change

    for place in rng.sample(range(n), n):
        if place not in taken:
            taken[place] = least(place)
            count(taken[place], 1)
    moved = True
    while moved:  # each move makes the counts more even, so that there is a last one
        moved = False
        for place, now in taken.items():
            best = least(place)
            if category[best] == category[now]:
                better = used[best] + 1 < used[now]
            else:
                better = categories[category[best]] + 1 < categories[category[now]]
            if better and used[now] > 1:
                count(now, -1)
                count(best, 1)
                taken[place], moved = best, True
    return [taken[place] for place in range(n)]


def adherence(
    principles: Sequence[Principle], pairs: Iterable[Mapping[str, Any]], verdicts: Iterable[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """By principle id, in the given order: `category`, `used` (pairs that name it), `judged` (verdicts by it), `adhered`,
    and their share with its 95 % Wilson interval (`value`, `low`, `high`; None where nothing was judged).

    `verdicts` are rows of Verdict on the revisions, one a prompt. A revision adheres when the critic prefers it to the original
    in both orders (`critic_as_a` and `critic_as_b` above 0). A verdict without these scores was not judged. Pairs and verdicts
    without a principle are left out. UserError for a principle that is not known and for two verdicts on one prompt by one.
    """
    used: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    adhered: Counter[str] = Counter()
    known = {principle.id for principle in principles}
    for pair in pairs:
        if (id_ := _named(pair, "pair", known)) is not None:
            used[id_] += 1
    seen: set[tuple[str, str]] = set()
    for verdict in verdicts:
        id_, scores = _named(verdict, "verdict", known), verdict["scores"]
        if id_ is None or not {"critic_as_a", "critic_as_b"} <= scores.keys():
            continue
        if (key := (verdict["prompt_id"], id_)) in seen:
            raise UserError(f"prompt {key[0]!r} has two verdicts by {id_!r}: give those on the revisions, one a prompt")
        seen.add(key)
        judged[id_] += 1
        adhered[id_] += scores["critic_as_a"] > 0 and scores["critic_as_b"] > 0
    return {
        principle.id: {
            "category": principle.category,
            "used": used[principle.id],
            "judged": judged[principle.id],
            "adhered": adhered[principle.id],
            **_share(adhered[principle.id], judged[principle.id]),
        }
        for principle in principles
    }


def _named(row: Mapping[str, Any], what: str, known: Collection[str]) -> str | None:
    id_ = row["principle"]
    if id_ is not None and id_ not in known:
        raise UserError(f"a {what} names principle {id_!r}, which is not in the constitution: give the one it was made with")
    return None if id_ is None else str(id_)


def _share(successes: int, total: int) -> dict[str, float | None]:
    if not total:
        return dict.fromkeys(("value", "low", "high"))
    rate = statistics.wilson(successes, total)
    return {"value": rate.value, "low": rate.low, "high": rate.high}


def _one_each(category: Mapping[str, str], options: Sequence[Collection[str]], rng: random.Random) -> dict[int, str]:
    """A prompt of its own for as many principles as can have one: bipartite matching by augmenting paths (Kuhn 1955)."""
    places = {id_: [place for place, fit in enumerate(options) if id_ in fit] for id_ in category}
    for found in places.values():
        rng.shuffle(found)
    # One of each category before a second of any, so that few prompts are in balance too.
    met: Counter[str] = Counter()
    rank = {}
    for id_ in rng.sample(list(category), len(category)):
        rank[id_] = met[category[id_]]
        met[category[id_]] += 1
    order = sorted(rank, key=lambda id_: rank[id_])
    taken: dict[int, str] = {}

    def give(id_: str, tried: set[int]) -> bool:
        for place in places[id_]:
            if place not in tried:
                tried.add(place)
                if place not in taken or give(taken[place], tried):
                    taken[place] = id_
                    return True
        return False

    for id_ in order:
        give(id_, set())
    return taken
