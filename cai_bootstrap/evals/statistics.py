"""Statistics of held-out suites: intervals, paired tests, power. Numbers come from scipy, imported where it is used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cai_bootstrap.errors import UserError
from cai_bootstrap.records import EvalRecord, PairedTest, Rate

_NUM_RESAMPLES = 2000

Outcome = Literal["content", "strict"]


def wilson(successes: int, total: int, confidence: float = 0.95) -> Rate:
    """The share of successes with its Wilson score interval (Wilson 1927, J. Am. Stat. Assoc. 22; no continuity
    correction), all in [0, 1]. UserError when there is nothing to count or the counts contradict each other.
    """
    _require_confidence(confidence)
    if total < 1:
        raise UserError(f"total={total} has no rate: give at least one item")
    if not 0 <= successes <= total:
        raise UserError(f"successes={successes} is not valid: write a count between 0 and total={total}")
    from scipy.stats import binomtest

    interval = binomtest(successes, total).proportion_ci(confidence_level=confidence, method="wilson")
    value = successes / total
    # At 0 and at `total` the exact bound equals the share; rounding must not put it on the wrong side.
    low, high = min(float(interval.low), value), max(float(interval.high), value)
    return Rate(successes=successes, total=total, value=value, low=low, high=high, confidence=confidence)


def mcnemar(name: str, first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> PairedTest:
    """Exact two-sided McNemar test of two arms on the same items, in the same order.

    The p-value is the two-sided binomial test of the discordant pairs at one half (McNemar 1947; 1.0 without discordant
    pairs). `difference` is rate(first) − rate(second) as a share; its interval is Newcombe's square-and-add of two
    Wilson intervals with continuity-corrected phi (Newcombe 1998, Stat. Med. 17:2635–2650, method 10), which keeps a
    positive width without discordant pairs. Effect size: Cohen's g, 0.0 without discordant pairs.
    UserError when the arms have different lengths or are empty.
    """
    if len(first) != len(second):
        raise UserError(f"{name}: {len(first)} and {len(second)} outcomes do not pair: give the same items to both")
    if not first:
        raise UserError(f"{name}: there are no items to compare: give at least one")
    from scipy.stats import binomtest

    both = sum(1 for a, b in zip(first, second, strict=True) if a and b)
    only_first = sum(1 for a, b in zip(first, second, strict=True) if a and not b)
    only_second = sum(1 for a, b in zip(first, second, strict=True) if b and not a)
    discordant = only_first + only_second
    p_value = float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0
    low, high = _newcombe(both, only_first, only_second, len(first) - both - discordant, confidence)
    return PairedTest(
        name=name,
        total=len(first),
        only_first=only_first,
        only_second=only_second,
        p_value=min(p_value, 1.0),
        difference=(only_first - only_second) / len(first),
        low=low,
        high=high,
        effect_size=abs(only_first / discordant - 0.5) if discordant else 0.0,
        confidence=confidence,
    )


def _newcombe(both: int, only_first: int, only_second: int, neither: int, confidence: float) -> tuple[float, float]:
    total = both + only_first + only_second + neither
    one, two = wilson(both + only_first, total, confidence), wilson(both + only_second, total, confidence)
    covariance = both * neither - only_first * only_second
    # The continuity correction shrinks a positive correlation only.
    covariance_corrected = max(covariance - total / 2, 0.0) if covariance > 0 else float(covariance)
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    phi = covariance_corrected / math.sqrt(margins) if margins else 0.0

    def add(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    difference = (only_first - only_second) / total
    low = difference - add(one.value - one.low, two.high - two.value)
    high = difference + add(one.high - one.value, two.value - two.low)
    return max(low, -1.0), min(high, 1.0)


def benjamini_hochberg(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p-values adjusted for the false discovery rate, under the same names and in the same order
    (Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57). UserError for a p-value outside [0, 1].
    """
    for name, value in p_values.items():
        if not 0 <= value <= 1:
            raise UserError(f"p-value of {name}={value!r} is not valid: write a number in [0, 1]")
    if not p_values:
        return {}
    from scipy.stats import false_discovery_control

    adjusted = false_discovery_control(list(p_values.values()), method="bh")
    return {name: float(value) for name, value in zip(p_values, adjusted, strict=True)}


def power(total: int, discordant_share: float, difference: float, alpha: float) -> float:
    """The probability that the exact two-sided McNemar test at level `alpha` rejects, on `total` items of which a share
    `discordant_share` differs between the arms, when the true difference of the rates is `difference`.

    Exact and unconditional: the conditional power of the exact test, averaged over the binomial number of discordant
    pairs (Duffy 1984, Biometrics 40). Connor's normal formula (1987, Biometrics 43) describes the asymptotic test and
    promises more than the exact test, which the gate uses, can keep. UserError for impossible arguments.
    """
    _require_power_arguments(total, discordant_share, alpha)
    if abs(difference) > discordant_share:
        raise UserError(f"difference={difference!r} is not possible: write one within ±discordant_share={discordant_share!r}")
    return _power(total, discordant_share, difference, alpha)


def _power(total: int, discordant_share: float, difference: float, alpha: float) -> float:
    import numpy as np
    from scipy.stats import binom

    discordant = np.arange(total + 1)
    weight = binom.pmf(discordant, total, discordant_share)
    # The largest count c per number of discordant pairs for which 2·P(X ≤ c) ≤ alpha; −1 where the test cannot reject.
    quantile = binom.ppf(alpha / 2, discordant, 0.5)
    critical = np.where(binom.cdf(quantile, discordant, 0.5) <= alpha / 2, quantile, quantile - 1)
    share_first = (1 + difference / discordant_share) / 2
    lower = binom.cdf(critical, discordant, share_first)
    upper = binom.sf(discordant - critical - 1, discordant, share_first)
    rejected = np.where(critical >= 0, lower + upper, 0.0)
    return min(float(np.sum(weight * rejected)), 1.0)


def smallest_detectable(total: int, discordant_share: float, alpha: float, power: float = 0.8) -> float:
    """The smallest true difference of the rates that the exact McNemar test (see the function `power`) detects with
    the given power.

    Returns a share in (0, discordant_share], or `math.inf` when no difference is detectable on so few items.
    UserError for impossible arguments.
    """
    _require_power_arguments(total, discordant_share, alpha)
    if not alpha < power < 1:
        raise UserError(f"power={power!r} is not valid: write a number between alpha={alpha!r} and 1")
    if _power(total, discordant_share, discordant_share, alpha) < power:
        return math.inf
    from scipy.optimize import brentq

    # At a fixed total the power only grows with the difference, so there is one crossing.
    return float(brentq(lambda d: _power(total, discordant_share, d, alpha) - power, 0.0, discordant_share, xtol=1e-6))


def auc(good: Sequence[float], bad: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """The probability that a good item scores above a bad one, ties counting half, and its interval (value, low, high).

    The interval inverts Hanley and McNeil's variance at the bound itself (Newcombe 2006, Stat. Med. 25:559–573,
    method 5), so that perfect separation of few items still has a width. UserError for an empty side or a NaN.
    """
    _require_confidence(confidence)
    for name, scores in (("good", good), ("bad", bad)):
        if not scores:
            raise UserError(f"{name}={list(scores)} has no scores: give at least one")
        if any(math.isnan(score) for score in scores):
            raise UserError(f"{name} holds a NaN: leave out what was not scored")
    from scipy.optimize import brentq
    from scipy.stats import norm, rankdata

    num_good, num_bad = len(good), len(bad)
    rank_sum = float(sum(rankdata([*good, *bad])[:num_good]))
    value = (rank_sum - num_good * (num_good + 1) / 2) / (num_good * num_bad)
    z = float(norm.ppf((1 + confidence) / 2))
    scale = (num_good + num_bad) / 2 - 1

    def excess(theta: float) -> float:
        variance = theta * (1 - theta) * (1 + scale * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
        return (value - theta) ** 2 - z * z * variance / (num_good * num_bad)

    # Between the estimate, where `excess` is negative, and the ends, where it is positive, lies one root each. An
    # estimate of 0 or 1 is itself a root (the variance vanishes there), so the search starts just inside.
    inside = min(max(value, 1e-12), 1 - 1e-12)
    low = float(brentq(excess, 0.0, inside)) if value > 0 else 0.0
    high = float(brentq(excess, inside, 1.0)) if value < 1 else 1.0
    return value, min(low, value), max(high, value)


def ratio(numerators: Sequence[float], denominators: Sequence[float], confidence: float = 0.95) -> dict[str, float]:
    """`value`, `low`, `high` of sum(numerators) / sum(denominators), over pairs that were drawn together.

    The interval is the percentile bootstrap's over the pairs (Efron and Tibshirani 1993, chapter 13), with a fixed seed. A
    denominator of 0 in all is UserError.
    """
    import numpy as np

    _require_confidence(confidence)
    above, below = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    if not below.sum() > 0:
        raise UserError(
            f"a ratio over {len(below)} denominators that add up to {below.sum():g} is not defined: give some above 0"
        )
    drawn = np.random.default_rng(20261121).integers(len(below), size=(_NUM_RESAMPLES, len(below)))
    sums = np.maximum(below[drawn].sum(axis=1), np.finfo(float).tiny)
    low, high = np.quantile(above[drawn].sum(axis=1) / sums, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(above.sum() / below.sum()), "low": float(low), "high": float(high)}


def compare(
    name: str,
    first: Sequence[EvalRecord],
    first_outcome: Outcome,
    second: Sequence[EvalRecord],
    second_outcome: Outcome,
) -> PairedTest:
    """`mcnemar` of one arm's outcome against another arm's, paired by item. UserError unless both hold the same items,
    each once.
    """
    one, two = outcomes(first, first_outcome), outcomes(second, second_outcome)
    if one.keys() != two.keys():
        odd = sorted(one.keys() ^ two.keys())
        raise UserError(f"{name}: the arms differ in {len(odd)} items, such as {odd[0]!r}: evaluate the same items in both")
    return mcnemar(name, list(one.values()), [two[item] for item in one])


def compare_by_kind(
    first: Sequence[EvalRecord], first_outcome: Outcome, second: Sequence[EvalRecord], second_outcome: Outcome
) -> dict[str, tuple[PairedTest, float]]:
    """For each kind of item, sorted by name: its paired test, and the p-value adjusted over the kinds
    (Benjamini–Hochberg). UserError as in `compare`.
    """
    tests = {
        kind: compare(
            kind,
            [record for record in first if record.kind == kind],
            first_outcome,
            [record for record in second if record.kind == kind],
            second_outcome,
        )
        for kind in sorted({record.kind for record in (*first, *second)})
    }
    adjusted = benjamini_hochberg({kind: test.p_value for kind, test in tests.items()})
    return {kind: (test, adjusted[kind]) for kind, test in tests.items()}


def rate(records: Sequence[EvalRecord], outcome: Outcome) -> Rate:
    """The share of items with the outcome, with its Wilson interval. UserError without items or with one twice."""
    return wilson(sum(outcomes(records, outcome).values()), len(records))


def outcomes(records: Sequence[EvalRecord], outcome: Outcome) -> dict[str, bool]:
    """Each item's outcome. UserError when an item occurs twice: it would count twice."""
    found: dict[str, bool] = {}
    for record in records:
        if record.item_id in found:
            raise UserError(f"item {record.item_id!r} occurs twice in arm {record.arm!r}: give each item once")
        found[record.item_id] = record.strict if outcome == "strict" else record.content
    return found


def check_of(name: str, test: PairedTest, threshold: float, passed: bool, reason: str, **more: float) -> dict[str, Any]:
    """A paired difference as one of a GateResult's checks; `more` are figures that it was decided by beside the threshold."""
    figures = {"value": test.difference, "low": test.low, "high": test.high, "threshold": threshold, **more}
    return {"name": name, **figures, "passed": passed, "reason": reason}


def percent(rate: Rate) -> str:
    """A rate with its interval, in percent: `75.0 % [53.1, 88.8]`."""
    return f"{100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def points(test: PairedTest) -> str:
    """A difference of rates with its interval, in percentage points: `+20.0 [+5.6, +32.9] points`."""
    value, low, high = (round(100 * share, 1) + 0.0 for share in (test.difference, test.low, test.high))  # no "-0.0"
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}] points"


def p_text(p_value: float) -> str:
    """`= 0.031`, or `= 2.1e-07` below 0.001."""
    return f"= {p_value:.3f}" if p_value >= 0.001 else f"= {p_value:.1e}"


def _require_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UserError(f"confidence={confidence!r} is not valid: write a number in (0, 1) such as 0.95")


def _require_power_arguments(total: int, discordant_share: float, alpha: float) -> None:
    if total < 1:
        raise UserError(f"total={total} is not valid: write the number of items, 1 or more")
    if not 0 < discordant_share <= 1:
        raise UserError(f"discordant_share={discordant_share!r} is not valid: write a number in (0, 1]")
    if not 0 < alpha < 1:
        raise UserError(f"alpha={alpha!r} is not valid: write a number in (0, 1)")
