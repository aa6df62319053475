"""Paired differences against scipy's paired test, and Holm's correction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lungct.evaluation.bootstrap import draw_patients
from lungct.evaluation.paired import compare_pairs, paired_difference


def drawn_means(values: np.ndarray, draws: int = 4000) -> np.ndarray:
    """(B,) mean over patients in draws that depend on their number alone."""
    weight = draw_patients([f"{k:03d}" for k in range(len(values))], draws, seed=3).weight.astype(float)
    return weight @ values / len(values)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2, 0.3])
def test_p_is_near_that_of_the_t_test(shift: float) -> None:
    random = np.random.default_rng(7)
    a, noise = random.normal(0, 1, 80), random.normal(0, 0.7, 80)
    b = a + noise - noise.mean() - shift
    (low, high), p = paired_difference(drawn_means(a), drawn_means(b))
    test = stats.ttest_rel(a, b)
    assert p == pytest.approx(test.pvalue, abs=0.03)
    bounds = test.confidence_interval()
    assert [low, high] == pytest.approx([bounds.low, bounds.high], abs=0.02)


def test_pairing_is_what_makes_it_sharp() -> None:
    random = np.random.default_rng(0)
    a = random.normal(0, 1, 60)
    b = a - 0.1 - random.normal(0, 0.05, 60)
    _, paired = paired_difference(drawn_means(a), drawn_means(b))
    _, apart = paired_difference(drawn_means(a), drawn_means(random.permutation(b)))
    assert paired < 0.01 < 0.1 < apart


def test_p_below_a_twentieth_and_an_interval_without_zero_go_together() -> None:
    for seed in range(40):
        random = np.random.default_rng(seed)
        difference = random.normal(random.normal(0, 2), 1, 999)
        (low, high), p = paired_difference(difference, np.zeros(999))
        assert (p < 0.05) == (low > 0 or high < 0)


def test_equal_runs_and_draws_without_a_value() -> None:
    same = np.array([0.1, np.nan, 0.3])
    assert paired_difference(same, same) == ((0.0, 0.0), 1.0)
    interval, p = paired_difference(np.full(3, np.nan), same)
    assert np.isnan(interval).all()
    assert p == 1
    assert paired_difference(same + 1, same)[1] == pytest.approx(2 / 3), "two draws cannot say more"


def test_every_pair_and_the_correction() -> None:
    random = np.random.default_rng(2)
    base = random.normal(0, 1, 999)
    drawn = {"a": base, "b": base - 2.5 + random.normal(0, 1, 999), "c": base - 1.5 + random.normal(0, 1, 999)}
    tests = compare_pairs("ap", {"a": 0.5, "b": 0.3, "c": 0.4}, drawn)
    assert [(one.a, one.b) for one in tests] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert tests[0].difference == pytest.approx(0.2)
    p = [one.p for one in tests]
    assert sorted(p) == [p[0], p[1], p[2]]
    assert [one.p_holm for one in tests] == pytest.approx([3 * p[0], max(3 * p[0], 2 * p[1]), max(2 * p[1], p[2])])
