"""Do scores mean what they say? Reliability, calibration errors, and maps that mend a score.

With the detections in bins b by score, n_b of N in each, conf_b their mean score and prec_b the share of them that are
true positives,

    ECE   = sum over b of (n_b / N) |prec_b - conf_b|,      largest gap = max of |prec_b - conf_b| over filled bins,
    D-ECE = the same with the bins also cut by the box's relative centre and size (5 bins each of score, x, y, w, h),
    Brier = mean of (score - true)^2,      AUC = chance that a true detection scores above a false one.

Bins are of equal width and closed on the right, as in scikit-learn. A detection on a crowd region is left out.

*Temperature* takes sigmoid(logit(score) / T) with the T of least negative log-likelihood; *isotonic* the rising steps
of least squares, straight between them. Fit on one split, judge on another.

Source: Guo 2017 for ECE and temperature; Kueppers 2020, Multivariate confidence calibration for object detection, for
D-ECE; Zadrozny & Elkan 2002 for isotonic regression.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import optimize, stats

from lungct.evaluation.bootstrap import Draws
from lungct.io.calibration import Calibration, logit
from lungct.types import BoolArray, FloatArray, IntArray

BINS = 10
BOX_BINS = 5
HIGHEST_LOG_TEMPERATURE = 5.0


def calibration_part(score: FloatArray, true: BoolArray, box_share: FloatArray | None = None) -> dict[str, Any]:
    """The ``calibration`` entry of a metrics document; empty where there is no score, or one outside 0..1.

    Args:
        score: (N,) scores.
        true: (N,) whether each is a true positive.
        box_share: (N, 4) centre x, y and width, height of each box over those of its image; None leaves D-ECE out.
    """
    if not len(score) or score.min() < 0 or score.max() > 1:
        return {}
    part = {"n": len(score), **reliability(score, true), "brier": float(((score - true) ** 2).mean())}
    if 0 < true.sum() < len(true):
        part["auc"] = auc(score, true)
    if box_share is not None:
        part["d_ece"] = detection_ece(score, true, box_share)
    return part


def reliability(score: FloatArray, true: BoolArray, bins: int = BINS) -> dict[str, Any]:
    """Per bin its lower ``edge``, ``count``, mean ``score`` and ``share`` of true ones (None if empty); ECE and MCE."""
    total, scores, trues = (
        np.bincount(bin_of(score, bins), weights, bins) for weights in (None, score, true.astype(float))
    )
    filled = total > 0
    conf, prec = (np.divide(one, total, out=np.full(bins, np.nan), where=filled) for one in (scores, trues))
    gap = np.abs(prec - conf)[filled]
    return {
        "edge": np.linspace(0, 1, bins + 1)[:-1].tolist(),
        "count": total.astype(int).tolist(),
        "score": [None if np.isnan(one) else float(one) for one in conf],
        "share": [None if np.isnan(one) else float(one) for one in prec],
        "ece": float((gap * total[filled]).sum() / len(score)),
        "mce": float(gap.max()),
    }


def bin_of(values: FloatArray, bins: int) -> IntArray:
    """(N,) which of ``bins`` equal parts of 0..1, closed on the right, each value is in."""
    place: IntArray = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], values)
    return place


def detection_ece(score: FloatArray, true: BoolArray, box_share: FloatArray, bins: int = BOX_BINS) -> float:
    """D-ECE over bins of score, centre and size, ``bins`` of each."""
    columns = [score, *np.clip(box_share, 0, 1).T]
    cell = np.ravel_multi_index([bin_of(column, bins) for column in columns], (bins,) * len(columns))
    _, cell = np.unique(cell, return_inverse=True)
    return float(np.abs(np.bincount(cell, true - score)).sum() / len(score))


def auc(score: FloatArray, true: BoolArray) -> float:
    """Area under the ROC curve of true against false detections, ties counted half."""
    ranks = stats.rankdata(score)
    positives = int(true.sum())
    wins = ranks[true].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * (len(true) - positives)))


def ece_draws(score: FloatArray, true: BoolArray, patient: IntArray, draws: Draws) -> FloatArray:
    """(B,) ECE of each draw of patients; NaN where a draw holds no detection."""
    shape = (draws.weight.shape[1], BINS)
    count, gap = np.zeros(shape), np.zeros(shape)
    place = bin_of(score, BINS)
    np.add.at(count, (patient, place), 1.0)
    np.add.at(gap, (patient, place), true - score)
    weight = draws.weight.astype(np.float64)
    total, gaps = (weight @ count).sum(axis=1), np.abs(weight @ gap).sum(axis=1)
    drawn: FloatArray = np.divide(gaps, total, out=np.full(len(total), np.nan), where=total > 0)
    return drawn


def fit(method: str, score: FloatArray, true: BoolArray) -> Calibration:
    """Fit a map on (N,) scores in 0..1 and whether they are true.

    A temperature is kept in exp(-5) .. exp(5): scores that part true from false without fault would take it to 0.
    """
    calibration = _isotonic(score, true) if method == "isotonic" else _temperature(score, true)
    before, after = (reliability(one, true)["ece"] for one in (score, calibration.apply(score)))
    record = {"n": len(score), "true": int(true.sum()), "ece_before": before, "ece_after": after}
    return Calibration(method, calibration.temperature, calibration.scores, calibration.probabilities, record)


def _temperature(score: FloatArray, true: BoolArray) -> Calibration:
    odds = np.where(true, -logit(score), logit(score))

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, odds / np.exp(log_temperature)).mean())

    bounds = (-HIGHEST_LOG_TEMPERATURE, HIGHEST_LOG_TEMPERATURE)
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    return Calibration("temperature", float(np.exp(found.x)))


def _isotonic(score: FloatArray, true: BoolArray) -> Calibration:
    different, place, count = np.unique(score, return_inverse=True, return_counts=True)
    share = np.bincount(place, true) / count
    steps = optimize.isotonic_regression(share, weights=count).x
    # Of each level stretch its two ends say everything.
    keep = np.r_[True, (steps[1:-1] != steps[:-2]) | (steps[1:-1] != steps[2:]), True][: len(steps)]
    return Calibration(
        "isotonic", scores=tuple(different[keep].tolist()), probabilities=tuple(np.clip(steps[keep], 0, 1).tolist())
    )
