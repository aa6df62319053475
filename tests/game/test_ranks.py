"""Friedman, Kendall, Nemenyi, rank-biserial and the intervals: against scipy, published examples and simulation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, studentized_range, t, wilcoxon

from lungct.game.ranks import critical_difference, rank_test
from lungct.game.statistics import (
    bootstrap_interval,
    detectable_effect,
    needed_patients,
    patient_means,
    rank_biserial,
    signed_rank_p,
    tail_of,
)


@pytest.mark.parametrize(("patients", "methods"), [(6, 3), (12, 5), (30, 8)])
@pytest.mark.parametrize("ties", [False, True])
def test_friedman_is_scipys(patients: int, methods: int, ties: bool) -> None:
    values = np.random.default_rng(patients).normal(size=(patients, methods)) + np.linspace(0, 1, methods)
    values = np.round(values) if ties else values
    found = rank_test(values, [f"m{number}" for number in range(methods)])
    assert found is not None
    expected = friedmanchisquare(*values.T)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.kendall_w == pytest.approx(expected.statistic / (patients * (methods - 1)))


def test_by_hand() -> None:
    """Four patients that rank three methods alike: chi2 = P (M - 1) = 8, W = 1; a fifth without a value is left out."""
    values = np.array([[3, 2, 1], [30, 20, 10], [0.3, 0.2, 0.1], [5, 4, 0], [np.nan, 1, 2]])
    found = rank_test(values, ["a", "b", "c"])
    assert found is not None
    assert (found.statistic, found.kendall_w, found.patients) == (pytest.approx(8), pytest.approx(1), 4)
    assert found.mean_ranks == {"a": 1, "b": 2, "c": 3}
    assert found.groups == (("a", "b"), ("b", "c"))  # CD 1.66
    same = rank_test(np.ones((4, 3)), ["a", "b", "c"])
    assert same is not None
    assert (same.statistic, same.p) == (0, 1)
    assert rank_test(values[:, :2], ["a", "b"]) is None


def test_critical_differences_of_demsar() -> None:
    """Demsar 2006, table 5 and the example of section 3.2.2: 4 methods on 14 data sets, q 2.569, CD 1.25."""
    for methods, q in ((2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)):
        assert critical_difference(methods, 1) / np.sqrt(methods * (methods + 1) / 6) == pytest.approx(q, abs=2e-3)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)
    q = studentized_range.ppf(0.95, 6, np.inf) / np.sqrt(2)
    assert critical_difference(6, 20) == pytest.approx(q * np.sqrt(42 / 120))


def test_rank_biserial_by_hand() -> None:
    """Ranks of |1|, |-2|, |3|: 4 for, 2 against."""
    assert rank_biserial(np.array([1.0, -2, 3, 0])) == pytest.approx((1 + 3 - 2) / 6)
    assert rank_biserial(np.array([1.0, 2])) == 1
    assert rank_biserial(np.zeros(3)) == 0


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("count", [1, 2, 5, 9, 13, 14, 31, 50, 51, 120])
def test_signed_ranks_are_scipys(count: int, ties: bool) -> None:
    """Exact, exact with ties, and normal; zeros are left out."""
    random = np.random.default_rng(count)
    for shift in (0.0, 0.4):
        values = random.normal(shift, 1, count)
        values = np.round(2 * values) / 2 if ties else values
        values = values[values != 0]
        if len(values):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = wilcoxon(values).pvalue
            assert signed_rank_p(np.append(values, 0.0)) == pytest.approx(expected, rel=1e-9)


def test_power_notes() -> None:
    assert needed_patients(1) == 6
    assert needed_patients(10) == 9
    smallest = signed_rank_p(np.arange(1.0, 10))
    assert smallest * 10 <= 0.05 < signed_rank_p(np.arange(1.0, 9)) * 10
    assert detectable_effect(40) == pytest.approx(2.80 / np.sqrt(40 * 0.955), abs=5e-3)


def test_a_signed_rank_test_has_the_power_that_is_told() -> None:
    random = np.random.default_rng(0)
    effect = detectable_effect(25)
    found = [signed_rank_p(random.normal(effect, 1, 25)) < 0.05 for _ in range(300)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.08)


def test_the_tail_tends_to_two_and_a_half_percent() -> None:
    assert tail_of(np.array([100_000]))[0] == pytest.approx(0.025, abs=1e-4)
    assert tail_of(np.array([10]))[0] < 0.015
    assert tail_of(np.array([2]))[0] < 1e-6


def covered(patients: int, repeats: int, seed: int, draws: int) -> float:
    """Share of 95 % intervals that hold the true mean: skewed scores, 1 to 8 nodules a patient, which are alike."""
    random = np.random.default_rng(seed)
    hits = 0
    for repeat in range(repeats):
        counts = random.integers(1, 9, patients)
        own = random.beta(2, 3, patients)
        ids = np.repeat(np.arange(patients), counts)
        score = own[ids] + random.normal(0, 0.1, len(ids))
        means = patient_means(score[:, None], [str(one) for one in ids])
        low, high = bootstrap_interval(means, draws, repeat)[0]
        hits += low <= 0.4 <= high
    return hits / repeats


def test_intervals_cover_what_they_say_in_short() -> None:
    """250 repeats: 92 to 97 % widened by two standard errors of so few."""
    error = np.sqrt(0.05 * 0.95 / 250)
    assert 0.92 - 2 * error <= covered(12, 250, 1, 600) <= 0.97 + 2 * error


@pytest.mark.slow
@pytest.mark.parametrize("patients", [8, 15, 30, 60])
def test_intervals_cover_what_they_say(patients: int) -> None:
    assert 0.92 <= covered(patients, 3000, patients, 1000) <= 0.97


def test_the_interval_of_normal_means_is_students() -> None:
    values = np.random.default_rng(3).normal(size=(15, 1))
    low, high = bootstrap_interval(values, 20_000, 0)[0]
    half = t.ppf(0.975, 14) * values.std(ddof=1) / np.sqrt(15)
    assert (high - low) / 2 == pytest.approx(half, rel=0.06)
