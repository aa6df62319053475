"""The statistics against hand examples and scipy, and their unit: the patient."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t, wilcoxon

from lungct.game.statistics import (
    bootstrap_interval,
    holm,
    mean_over_patients,
    paired_tests,
    patient_means,
    signed_rank_p,
)


def test_holm_by_hand() -> None:
    """p .01 .04 .03 .005: sorted .005x4, .01x3, .03x2, .04x1 -> .02 .03 .06 .06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_patient_counts_once() -> None:
    """Ten detections of one patient at 1, one of another at 0: the mean is 1/2, not 10/11."""
    values = np.array([[1.0]] * 10 + [[0.0]])
    of_patient = patient_means(values, ["a"] * 10 + ["b"])
    assert of_patient.tolist() == [[1.0], [0.0]]
    assert mean_over_patients(of_patient).tolist() == [0.5]


def test_failed_maps_are_left_out_not_zero() -> None:
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, 2.0]])
    of_patient = patient_means(values, ["a", "a", "b"])
    np.testing.assert_array_equal(of_patient, [[1, np.nan], [3, 2]])
    assert mean_over_patients(of_patient).tolist() == [2, 2]


def test_bootstrap_is_seeded_and_clustered() -> None:
    random = np.random.default_rng(0)
    effect = random.normal(size=20)
    values = np.repeat(effect, 8)[:, None] + random.normal(0, 0.01, (160, 1))
    patients = [f"p{number}" for number in range(20) for _ in range(8)]
    clustered = bootstrap_interval(patient_means(values, patients), 2000, 1)
    single = bootstrap_interval(values, 2000, 1)
    np.testing.assert_array_equal(clustered, bootstrap_interval(patient_means(values, patients), 2000, 1))
    ratio = np.diff(clustered)[0, 0] / np.diff(single)[0, 0]
    assert 2.2 < ratio < 3.5  # sqrt(8): pretending that detections are independent narrows it so much
    half = t.ppf(0.975, 19) * effect.std(ddof=1) / np.sqrt(20)
    assert np.diff(clustered)[0, 0] / 2 == pytest.approx(half, rel=0.12)


def test_bootstrap_of_one_patient_or_none_has_no_interval() -> None:
    assert np.isnan(bootstrap_interval(np.array([[0.3]]), 100, 0)).all()
    assert np.isnan(bootstrap_interval(np.zeros((0, 2)), 100, 0)).all()
    gone = bootstrap_interval(np.array([[0.3, np.nan], [0.4, 0.2], [0.4, np.nan]]), 500, 0)
    assert np.isfinite(gone[0]).all()
    assert np.isnan(gone[1]).all()


def test_signed_rank_is_scipys() -> None:
    differences = np.random.default_rng(4).normal(0.4, 1, 15)
    assert signed_rank_p(differences) == wilcoxon(differences).pvalue
    assert signed_rank_p(np.r_[differences, 0.0, 0.0]) == wilcoxon(differences).pvalue
    assert signed_rank_p(np.zeros(5)) == 1.0


@pytest.mark.parametrize(("patients", "smallest"), [(5, 0.0625), (6, 0.03125)])
def test_fewer_than_six_patients_cannot_reach_five_percent(patients: int, smallest: float) -> None:
    assert signed_rank_p(np.arange(1.0, patients + 1)) == pytest.approx(smallest)


def test_pairs_use_what_both_explained_and_patients_as_unit() -> None:
    random = np.random.default_rng(5)
    patients = [f"p{number}" for number in range(8) for _ in range(3)]
    a = random.random(24)
    b = a - 0.1 * random.random(24)
    a[0] = b[5] = np.nan
    (test,) = paired_tests(np.stack([b, a], 1), ["b", "a"], patients, [("a", "b")])
    difference = patient_means((a - b)[:, None], patients)[:, 0]
    assert test.difference == pytest.approx(difference.mean())
    assert test.p == test.p_holm == wilcoxon(difference).pvalue
    assert test.patients == 8
    assert test.p == pytest.approx(2 / 2**8)
