"""Means, intervals and paired tests over patients: what one patient's slices have in common is not counted twice."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

from lungct.evaluation.paired import holm
from lungct.types import FloatArray

FEWEST_PATIENTS = 6
"""Below it a two-sided signed-rank test cannot reach .05: 2 / 2^5 > .05."""


@dataclass(frozen=True)
class PairedTest:
    """Two methods on the detections that both explained.

    Attributes:
        difference: mean over patients of (a - b).
        p: two-sided Wilcoxon signed-rank over patients; 1 where no patient differs.
        p_holm: the same after Holm's correction over the tests of one rule.
    """

    a: str
    b: str
    difference: float
    p: float
    p_holm: float
    patients: int


def patient_means(values: FloatArray, patients: Sequence[str]) -> FloatArray:
    """(P, K) mean of (N, K) values over each patient's finite ones; NaN where a patient has none. Patients sorted."""
    names, place = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    finite = np.isfinite(values)
    total = np.zeros((len(names), values.shape[1]))
    count = np.zeros_like(total)
    np.add.at(total, place, np.where(finite, values, 0.0))
    np.add.at(count, place, finite)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def mean_over_patients(of_patient: FloatArray) -> FloatArray:
    """(K,) mean of (P, K) over the patients that have a value; NaN where none has."""
    finite = np.isfinite(of_patient)
    count = finite.sum(axis=0)
    total = np.where(finite, of_patient, 0.0).sum(axis=0)
    means: FloatArray = np.divide(total, count, out=np.full(of_patient.shape[1], np.nan), where=count > 0)
    return means


def bootstrap_interval(of_patient: FloatArray, draws: int, seed: int) -> FloatArray:
    """(K, 2) 2.5 and 97.5 % percentiles of the mean over patients drawn with replacement.

    All K columns share the draws. A draw without any value of a column is left out for it; NaN with under two patients.

    Source: Field & Welsh 2007, the cluster bootstrap; percentile intervals.
    """
    count, columns = of_patient.shape
    finite = np.isfinite(of_patient)
    if count < 2 or not draws:
        return np.full((columns, 2), np.nan)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
    total, held = weights @ np.where(finite, of_patient, 0.0), weights @ finite
    means = np.divide(total, held, out=np.full(total.shape, np.nan), where=held > 0)
    enough = finite.sum(axis=0) >= 2
    interval = np.full((columns, 2), np.nan)
    interval[enough] = np.nanpercentile(means[:, enough], (2.5, 97.5), axis=0).T
    return interval


def paired_tests(
    values: FloatArray, methods: Sequence[str], patients: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[PairedTest]:
    """Wilcoxon's signed-rank test of each pair of methods over patients, with Holm's correction.

    Args:
        values: (N, M) score of N detections by M methods, NaN where a method has none.
        methods: M names.
        patients: N patient ids.
        pairs: which methods to compare.

    Source: Demsar 2006; Garcia & Herrera 2008.
    """
    rows = []
    for a, b in pairs:
        difference = values[:, [methods.index(a)]] - values[:, [methods.index(b)]]
        of_patient = patient_means(difference, patients)[:, 0]
        of_patient = of_patient[np.isfinite(of_patient)]
        if len(of_patient):
            rows.append((a, b, float(of_patient.mean()), signed_rank_p(of_patient), len(of_patient)))
    corrected = holm([row[3] for row in rows])
    return [
        PairedTest(a, b, difference, p, p_holm, count)
        for (a, b, difference, p, count), p_holm in zip(rows, corrected, strict=True)
    ]


def signed_rank_p(differences: FloatArray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, zeros left out; 1 where nothing is left."""
    left = differences[np.abs(differences) > 1e-12]
    if not len(left):
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of small samples and ties; the note says so in words
        return float(wilcoxon(left).pvalue)
