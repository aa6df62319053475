"""Several methods at once, by their ranks within each patient: Friedman's test, Kendall's W, Nemenyi's difference.

With r_j the mean rank of method j over P patients (1 the best, ties share), M methods,

    chi2 = (M - 1) sum_j (R_j - P (M + 1) / 2)^2 / sum_ij (r_ij - (M + 1) / 2)^2,   R_j = P r_j,
    W = chi2 / (P (M - 1)),   CD = q sqrt(M (M + 1) / (6 P)).

Two methods differ at .05 where their mean ranks are more than CD apart; q is the 95 % point of the studentised range of
M means at infinite degrees of freedom over sqrt 2.

Source: Friedman 1937; Kendall & Babington Smith 1939; Demsar 2006, section 3.2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, rankdata, studentized_range

from lungct.game.statistics import LEVEL
from lungct.types import FloatArray


@dataclass(frozen=True)
class RankTest:
    """Friedman's test and what follows from the ranks.

    Attributes:
        mean_ranks: method -> mean rank, 1 the best, in rising order.
        kendall_w: 0 patients disagree, 1 all rank the methods alike.
        critical_difference: Nemenyi's, of mean ranks.
        groups: the largest sets of methods within one critical difference, best first.
    """

    mean_ranks: dict[str, float]
    statistic: float
    p: float
    kendall_w: float
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]
    patients: int


def rank_test(values: FloatArray, methods: Sequence[str]) -> RankTest | None:
    """Rank M methods within each of P patients.

    Args:
        values: (P, M), higher is better; patients without a value of every method are left out.
        methods: M names.

    Returns:
        None with under three methods or two patients, which can be ranked against nothing.
    """
    complete = values[np.isfinite(values).all(axis=1)]
    patients, count = complete.shape
    if count < 3 or patients < 2:
        return None
    ranks = rankdata(-np.round(complete, 12), axis=1)
    spread = float(((ranks - (count + 1) / 2) ** 2).sum())
    sums = ranks.sum(axis=0)
    statistic = (count - 1) * float(((sums - patients * (count + 1) / 2) ** 2).sum()) / spread if spread else 0.0
    order = np.argsort(sums, kind="stable")
    means = {methods[place]: float(sums[place]) / patients for place in order}
    distance = critical_difference(count, patients)
    return RankTest(
        means,
        statistic,
        float(chi2.sf(statistic, count - 1)),
        statistic / (patients * (count - 1)),
        distance,
        _groups(means, distance),
        patients,
    )


def critical_difference(methods: int, patients: int) -> float:
    """Nemenyi's critical difference of mean ranks at .05."""
    quantile = float(studentized_range.ppf(1 - LEVEL, methods, np.inf)) / np.sqrt(2)
    return float(quantile * np.sqrt(methods * (methods + 1) / (6 * patients)))


def _groups(means: dict[str, float], distance: float) -> tuple[tuple[str, ...], ...]:
    names, ranks = list(means), np.array(list(means.values()))
    ends = [int(np.searchsorted(ranks, rank + distance, side="right")) for rank in ranks]
    return tuple(
        tuple(names[start:end])
        for start, end in enumerate(ends)
        if end - start > 1 and (start == 0 or end > ends[start - 1])
    )
