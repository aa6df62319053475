"""Paired tests between runs that were judged on the same patients, by the same draws of them.

In each of B draws both runs are judged on the same patients, which gives B differences d. The 95 % interval goes from
their 2.5th to their 97.5th percentile, and

    p = 2 (1 + min(#{d <= 0}, #{d >= 0})) / (B + 1),  at most 1,

the level at which the percentile interval would just reach 0: p < .05 goes with an interval without 0, up to one draw.

Source: Efron & Tibshirani 1993, An introduction to the bootstrap, 15 and 16; Davison & Hinkley 1997 for the + 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lungct.evaluation.bootstrap import interval
from lungct.types import FloatArray


@dataclass(frozen=True)
class PairedDifference:
    """Run ``a`` minus run ``b`` in one measure; ``p_holm`` after Holm's correction over the pairs of the measure."""

    measure: str
    a: str
    b: str
    value_a: float
    value_b: float
    difference: float
    ci95: tuple[float, float]
    p: float
    p_holm: float


def compare_pairs(measure: str, values: Mapping[str, float], drawn: Mapping[str, FloatArray]) -> list[PairedDifference]:
    """Test every pair of runs.

    Args:
        measure: its name.
        values: run -> its value.
        drawn: run -> (B,) its value in each draw, the same draws for every run; NaN where a draw gives none.
    """
    pairs = list(itertools.combinations(values, 2))
    found = [paired_difference(drawn[a], drawn[b]) for a, b in pairs]
    corrected = holm([p for _, p in found])
    return [
        PairedDifference(measure, a, b, values[a], values[b], values[a] - values[b], ci95, p, p_holm)
        for (a, b), (ci95, p), p_holm in zip(pairs, found, corrected, strict=True)
    ]


def paired_difference(a: FloatArray, b: FloatArray) -> tuple[tuple[float, float], float]:
    """The 95 % interval of a - b and its two-sided p, from (B,) values in the same draws."""
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    difference = difference[np.isfinite(difference)]
    if not len(difference):
        return (float("nan"), float("nan")), 1.0
    least = min((difference <= 0).sum(), (difference >= 0).sum())
    return interval(difference), min(1.0, 2 * (1 + float(least)) / (1 + len(difference)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Step-down corrected p values in the order given: p_(i) (m - i), i from 0, never below the one before.

    Source: Holm 1979.
    """
    order = np.argsort(p_values, kind="stable")
    raised = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1.0) if len(order) else raised
    return [float(value) for value in corrected]
