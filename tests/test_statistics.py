"""Numbers of `evals.statistics` against published and hand-computed ones, and properties that must hold everywhere."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import outcome
from scipy.stats import binomtest, norm

from cai_bootstrap.errors import UserError
from cai_bootstrap.evals import statistics


def arms(both: int, only_first: int, only_second: int, neither: int) -> tuple[list[bool], list[bool]]:
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return first, second


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (15, 20, 0.5313, 0.8881),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Stat. Med. 17:857–872, table I
        (15, 148, 0.0624, 0.1605),  # the same table
        (0, 20, 0.0, 0.1611),
        (29, 29, 0.8830, 1.0),  # mirror of that table's 0 of 29: 0 to 0.1170
    ],
)
def test_wilson_matches_published_intervals(successes: int, total: int, low: float, high: float) -> None:
    rate = statistics.wilson(successes, total)
    assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)
    assert rate.value == successes / total


@given(st.integers(1, 2000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_contains_the_estimate_and_mirrors(counts: tuple[int, int]) -> None:
    successes, total = counts
    rate, mirrored = statistics.wilson(successes, total), statistics.wilson(total - successes, total)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert rate.high - rate.low > 0
    assert rate.low == pytest.approx(1 - mirrored.high, abs=1e-9)
    wider = statistics.wilson(successes, total, confidence=0.99)
    assert wider.low <= rate.low
    assert wider.high >= rate.high


@pytest.mark.parametrize(("successes", "total", "word"), [(0, 0, "total=0"), (3, 2, "successes=3"), (-1, 2, "-1")])
def test_wilson_refuses_impossible_counts(successes: int, total: int, word: str) -> None:
    with pytest.raises(UserError, match=word):
        statistics.wilson(successes, total)


@pytest.mark.parametrize(
    ("table", "p_value", "low", "high"),
    [
        # Cavo et al. 2012 in Fagerland, Lydersen & Laake 2017, Statistical Analysis of Contingency Tables, chapter 8
        ((59, 6, 16, 80), 0.052479, -0.1186, -0.0046),
        # Altman et al. 2000, Statistics with Confidence, table 6.2; by hand p = 2 · 0.5⁵
        ((14, 5, 0, 22), 0.0625, 0.0115, 0.2265),
        # By hand p = 2 · (1 + 14 + 91) / 2¹⁴; a negative correlation, which is not continuity-corrected
        ((36, 12, 2, 0), 0.012939, 0.0569, 0.3404),
    ],
)
def test_mcnemar_matches_published_cases(table: tuple[int, int, int, int], p_value: float, low: float, high: float) -> None:
    test = statistics.mcnemar("case", *arms(*table))
    assert test.p_value == pytest.approx(p_value, abs=5e-7)
    assert (round(test.low, 4), round(test.high, 4)) == (low, high)
    assert (test.only_first, test.only_second, test.total) == (table[1], table[2], sum(table))
    assert test.effect_size == pytest.approx(abs(table[1] / (table[1] + table[2]) - 0.5))


@pytest.mark.parametrize("table", [(50, 0, 0, 0), (0, 0, 0, 50), (25, 0, 0, 25), (1, 0, 0, 0)])
def test_mcnemar_without_discordant_pairs_claims_nothing_and_keeps_a_width(table: tuple[int, int, int, int]) -> None:
    test = statistics.mcnemar("same", *arms(*table))
    assert (test.p_value, test.difference, test.effect_size) == (1.0, 0.0, 0.0)
    assert test.low < 0 < test.high


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=120))
def test_mcnemar_contains_the_estimate_and_is_antisymmetric(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    test, swapped = statistics.mcnemar("x", first, second), statistics.mcnemar("x", second, first)
    assert -1 <= test.low <= test.difference <= test.high <= 1
    assert test.high > test.low
    assert swapped.difference == -test.difference
    assert (swapped.low, swapped.high) == pytest.approx((-test.high, -test.low))
    assert (swapped.p_value, swapped.effect_size) == pytest.approx((test.p_value, test.effect_size))
    shuffled = statistics.mcnemar("x", first[::-1], second[::-1])
    assert shuffled == test  # the order of the items says nothing


def test_mcnemar_refuses_what_does_not_pair() -> None:
    with pytest.raises(UserError, match="2 and 1 outcomes"):
        statistics.mcnemar("x", [True, False], [True])
    with pytest.raises(UserError, match="no items"):
        statistics.mcnemar("x", [], [])


def test_benjamini_hochberg_by_hand() -> None:
    # Sorted 0.005 0.01 0.03 0.04 times 4/rank: 0.02 0.02 0.04 0.04, then the running minimum from the right.
    adjusted = statistics.benjamini_hochberg({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert list(adjusted) == ["a", "b", "c", "d"]
    assert adjusted == pytest.approx({"a": 0.02, "b": 0.04, "c": 0.04, "d": 0.02})
    assert statistics.benjamini_hochberg({}) == {}
    with pytest.raises(UserError, match=r"b=1\.5"):
        statistics.benjamini_hochberg({"a": 0.5, "b": 1.5})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_benjamini_hochberg_never_lowers_a_p_value_and_keeps_the_order(values: list[float]) -> None:
    raw = {str(index): value for index, value in enumerate(values)}
    adjusted = statistics.benjamini_hochberg(raw)
    assert all(raw[name] <= adjusted[name] + 1e-12 <= 1 + 1e-9 for name in raw)
    ranked = sorted(raw, key=lambda name: raw[name])
    assert all(adjusted[a] <= adjusted[b] + 1e-12 for a, b in itertools.pairwise(ranked))


@pytest.mark.parametrize(
    ("total", "discordant_share", "difference", "alpha"),
    [(300, 0.4, 0.1, 0.05), (60, 0.3, 0.2, 0.05), (300, 0.5, 0.0, 0.05), (40, 0.5, -0.25, 0.01)],
)
def test_power_agrees_with_simulation(total: int, discordant_share: float, difference: float, alpha: float) -> None:
    num_runs = 20_000
    generator = np.random.default_rng(7)
    one, two = (discordant_share + difference) / 2, (discordant_share - difference) / 2
    counts = generator.multinomial(total, [one, two, 1 - one - two], size=num_runs)
    cases, frequency = np.unique(counts[:, :2], axis=0, return_counts=True)
    rejected = [
        times
        for (first, second), times in zip(cases, frequency, strict=True)
        if first + second and binomtest(int(first), int(first + second), 0.5).pvalue <= alpha
    ]
    simulated = sum(rejected) / num_runs
    exact = statistics.power(total, discordant_share, difference, alpha)
    standard_error = math.sqrt(max(exact * (1 - exact), 1e-4) / num_runs)
    assert simulated == pytest.approx(exact, abs=4 * standard_error)


def test_power_lies_a_little_below_the_normal_formula_for_many_items() -> None:
    total, share, difference, alpha = 2000, 0.4, 0.04, 0.05
    # Connor 1987, Biometrics 43:207–211, solved for the power
    connor = norm.cdf(
        (difference * math.sqrt(total) - norm.ppf(1 - alpha / 2) * math.sqrt(share))
        / math.sqrt(share - difference * difference)
    )
    assert connor - 0.02 < statistics.power(total, share, difference, alpha) < connor


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 400), st.floats(0.1, 1.0), st.sampled_from([0.05, 0.001]))
def test_smallest_detectable_has_the_power_asked_for(total: int, share: float, alpha: float) -> None:
    difference = statistics.smallest_detectable(total, share, alpha)
    if math.isinf(difference):
        assert statistics.power(total, share, share, alpha) < 0.8
        return
    assert 0 < difference <= share
    assert statistics.power(total, share, difference, alpha) == pytest.approx(0.8, abs=1e-3)
    assert statistics.power(total, share, difference * 0.9, alpha) < 0.8


def test_smallest_detectable_says_when_there_are_too_few_items() -> None:
    # Five discordant pairs at best give p = 2 · 0.5⁵ = 0.0625.
    assert statistics.smallest_detectable(5, 1.0, 0.05) == math.inf
    with pytest.raises(UserError, match=r"difference=0\.5"):
        statistics.power(100, 0.4, 0.5, 0.05)
    with pytest.raises(UserError, match=r"discordant_share=1\.2"):
        statistics.smallest_detectable(100, 1.2, 0.05)


def test_auc_by_hand() -> None:
    value, low, high = statistics.auc([3, 4, 5], [1, 2, 3])
    assert value == pytest.approx(8.5 / 9)  # nine comparisons, one tie that counts half
    assert low < value < high <= 1
    value, low, high = statistics.auc([1, 1], [1, 1])
    assert (value, low + high) == pytest.approx((0.5, 1.0))
    value, low, high = statistics.auc([2.0] * 30, [1.0] * 30)
    assert (value, high) == (1.0, 1.0)
    # Perfect separation by hand: (1 − θ)·mn = z²·θ·(1 + 29·((1 − θ)/(2 − θ) + θ/(1 + θ))) at the lower bound
    theta = low
    right = norm.ppf(0.975) ** 2 * theta * (1 + 29 * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
    assert (1 - theta) * 900 == pytest.approx(right)
    assert 0.8 < low < 0.95


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_auc_contains_the_estimate_and_mirrors(good: list[int], bad: list[int]) -> None:
    value, low, high = statistics.auc(good, bad)
    pairs = [(g > b) + 0.5 * (g == b) for g in good for b in bad]
    assert value == pytest.approx(sum(pairs) / len(pairs))
    assert 0 <= low <= value <= high <= 1
    assert high > low
    assert statistics.auc(bad, good) == pytest.approx((1 - value, 1 - high, 1 - low), abs=1e-6)


def test_auc_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    truth = float(norm.cdf(1.5 / math.sqrt(2)))
    covered = 0
    for _ in range(400):
        _, low, high = statistics.auc(list(generator.normal(1.5, 1, 25)), list(generator.normal(0, 1, 25)))
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.99


def test_auc_refuses_missing_scores() -> None:
    with pytest.raises(UserError, match="bad"):
        statistics.auc([1.0], [])
    with pytest.raises(UserError, match="NaN"):
        statistics.auc([1.0, math.nan], [0.0])


def test_compare_pairs_by_item_whatever_the_order() -> None:
    first = [outcome("a", strict=True, content=True), outcome("b", strict=False, content=True)]
    second = [outcome("b", strict=False, content=False), outcome("a", strict=False, content=True)]
    test = statistics.compare("x", first, "strict", second, "content")
    assert (test.only_first, test.only_second, test.total) == (0, 0, 2)
    assert statistics.compare("x", first, "content", second, "content").only_first == 1


def test_compare_refuses_other_items_and_items_twice() -> None:
    first = [outcome("a", strict=True, content=True)]
    with pytest.raises(UserError, match="'a'"):
        statistics.compare("x", first, "strict", [outcome("b", strict=True, content=True)], "content")
    with pytest.raises(UserError, match="'a' occurs twice"):
        statistics.compare("x", first * 2, "strict", first, "content")


def test_compare_by_kind_adjusts_over_the_kinds() -> None:
    first = [outcome(f"a{i}", strict=True, content=True, kind="answer") for i in range(6)]
    first += [outcome(f"c{i}", strict=i < 3, content=True, kind="complete") for i in range(6)]
    second = [outcome(r.item_id, strict=False, content=False, kind=r.kind) for r in first]
    by_kind = statistics.compare_by_kind(first, "strict", second, "content")
    assert list(by_kind) == ["answer", "complete"]
    assert by_kind["answer"][0].p_value == pytest.approx(2 / 2**6)
    assert by_kind["answer"][1] == pytest.approx(2 * 2 / 2**6)
    assert by_kind["complete"][1] == by_kind["complete"][0].p_value == pytest.approx(2 / 2**3)


def test_numbers_are_printed_with_their_interval() -> None:
    assert statistics.percent(statistics.wilson(15, 20)) == "75.0 % [53.1, 88.8]"
    assert statistics.points(statistics.mcnemar("x", *arms(36, 12, 2, 0))) == "+20.0 [+5.7, +34.0] points"
    assert statistics.points(statistics.mcnemar("x", *arms(10, 0, 0, 0))).startswith("+0.0 ")
    assert (statistics.p_text(0.0309), statistics.p_text(2.14e-7)) == ("= 0.031", "= 2.1e-07")


def test_the_module_imports_without_scipy() -> None:
    code = "import sys, cai_bootstrap.evals.statistics; sys.exit(sum(m in sys.modules for m in ('scipy', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
