"""Means, intervals and paired tests over patients: what one patient's slices have in common is not counted twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata, t

from lungct.evaluation.paired import holm
from lungct.types import FloatArray

FEWEST_PATIENTS = 6
"""Below it a two-sided signed-rank test cannot reach .05: 2 / 2^5 > .05."""
LEVEL = 0.05
MOST_EXACT = 50
MOST_EXACT_TIES = 13
"""Patients up to which a signed-rank test is exact without and with ties among their differences."""


@dataclass(frozen=True)
class PairedTest:
    """Two methods on the detections that both explained.

    Attributes:
        difference: mean over patients of (a - b).
        rank_biserial: (W+ - W-) / (W+ + W-), from -1 (b always higher) to 1 (a always higher).
        p: two-sided Wilcoxon signed-rank over patients; 1 where no patient differs.
        p_holm: the same after Holm's correction over the tests of one rule.
    """

    a: str
    b: str
    difference: float
    rank_biserial: float
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
    """(K, 2) 95 % interval of the mean over patients drawn with replacement.

    All K columns share the draws. A draw without any value of a column is left out for it; NaN with under two patients.
    The percentiles are widened for few patients: Phi(-t sqrt(P / (P - 1))) and its mirror, t the 97.5 % point of
    Student's distribution with P - 1 degrees of freedom, in place of 2.5 and 97.5 %, which cover too little.

    Source: Field & Welsh 2007, the cluster bootstrap; Hesterberg 2015, What teachers should know about the bootstrap,
    section 5.3, the expanded percentile interval.
    """
    count, columns = of_patient.shape
    finite = np.isfinite(of_patient)
    interval = np.full((columns, 2), np.nan)
    if count < 2 or not draws:
        return interval
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
    total, held = weights @ np.where(finite, of_patient, 0.0), weights @ finite
    means = np.sort(np.divide(total, held, out=np.full(total.shape, np.nan), where=held > 0), axis=0)  # NaN last
    patients = finite.sum(axis=0)
    enough = np.flatnonzero(patients >= 2)
    tail = tail_of(patients[enough])
    last = np.isfinite(means[:, enough]).sum(axis=0) - 1
    for side, share in enumerate((tail, 1 - tail)):
        place = share * last
        below = np.floor(place).astype(np.intp)
        above = np.minimum(below + 1, last)
        low, high = means[below, enough], means[above, enough]
        interval[enough, side] = low + (place - below) * (high - low)
    return interval


def tail_of(patients: FloatArray) -> FloatArray:
    """Share of the draws below the 95 % interval of a mean over so many patients; 2.5 % for many."""
    wide: FloatArray = norm.cdf(-t.ppf(0.975, patients - 1) * np.sqrt(patients / (patients - 1)))
    return wide


def paired_tests(
    values: FloatArray, methods: Sequence[str], patients: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[PairedTest]:
    """Wilcoxon's signed-rank test of each pair of methods over patients, with Holm's correction.

    Args:
        values: (N, M) score of N detections by M methods, NaN where a method has none.
        methods: M names.
        patients: N patient ids.
        pairs: which methods to compare.

    Source: Demsar 2006; Garcia & Herrera 2008; Kerby 2014 for the rank-biserial correlation.
    """
    rows = []
    for a, b in pairs:
        difference = values[:, [methods.index(a)]] - values[:, [methods.index(b)]]
        of_patient = patient_means(difference, patients)[:, 0]
        of_patient = of_patient[np.isfinite(of_patient)]
        if len(of_patient):
            effect, p = rank_biserial(of_patient), signed_rank_p(of_patient)
            rows.append((a, b, float(of_patient.mean()), effect, p, len(of_patient)))
    corrected = holm([row[4] for row in rows])
    return [
        PairedTest(a, b, difference, effect, p, p_holm, count)
        for (a, b, difference, effect, p, count), p_holm in zip(rows, corrected, strict=True)
    ]


def signed_rank_p(differences: FloatArray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, zeros left out; 1 where nothing is left.

    Exact up to 50 patients, with ties up to 13; else normal, with the variance corrected for ties: as
    ``scipy.stats.wilcoxon`` chooses, in a fraction of its time.
    """
    left = _differing(differences)
    count = len(left)
    if not count:
        return 1.0
    ranks = rankdata(np.abs(left))
    for_a = float(ranks[left > 0].sum())
    _, ties = np.unique(ranks, return_counts=True)
    if count <= MOST_EXACT_TIES or (count <= MOST_EXACT and len(ties) == count):
        return _exact_p(ranks, for_a)
    spread = np.sqrt((count * (count + 1) * (2 * count + 1) - (ties**3 - ties).sum() / 2) / 24)
    return float(2 * norm.sf(abs(for_a - count * (count + 1) / 4) / spread))


def _exact_p(ranks: FloatArray, for_a: float) -> float:
    """Twice the smaller tail of the sum of the ranks that a fair coin gives to one side, at most 1."""
    halves = np.round(2 * ranks).astype(np.intp)  # ranks of ties are halves
    ways = np.zeros(int(halves.sum()) + 1)
    ways[0] = 1.0
    for size in halves:
        ways[size:] += ways[:-size].copy()
    ways /= ways.sum()
    at = round(2 * for_a)
    return float(min(1.0, 2 * min(ways[: at + 1].sum(), ways[at:].sum())))


def rank_biserial(differences: FloatArray) -> float:
    """(W+ - W-) / (W+ + W-) of the ranks of the absolute differences, zeros left out; 0 where nothing is left."""
    left = _differing(differences)
    if not len(left):
        return 0.0
    ranks = rankdata(np.abs(left))
    return float((np.sign(left) * ranks).sum() / ranks.sum())


def _differing(differences: FloatArray) -> FloatArray:
    left: FloatArray = differences[np.abs(differences) > 1e-12]
    return left


def needed_patients(tests: int) -> int:
    """The fewest patients with which the first of so many tests can reach .05 after Holm: 2 / 2^P <= .05 / tests."""
    return int(np.ceil(np.log2(2 * max(tests, 1) / LEVEL)))


def detectable_effect(patients: int) -> float:
    """Mean difference, in standard deviations over patients, that one signed-rank test finds with 80 % power.

    (z_.975 + z_.8) / sqrt(P 3 / pi), the test's efficiency for normal differences being 3 / pi.

    Source: Noether 1987; Lehmann 1975 for the efficiency.
    """
    return float((norm.ppf(1 - LEVEL / 2) + norm.ppf(0.8)) / np.sqrt(patients * 3 / np.pi))
