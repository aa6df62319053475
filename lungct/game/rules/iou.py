"""Saliency IoU: overlap of the map above a threshold with the nodule.

    value = |S n B| / |S u B|,  S the m pixels at or above t, h min-max scaled to 0..1
    iou-otsu       t parts the map's values best (Otsu), so nothing is tuned
    iou-validated  t had the best mean IoU on other data, one t per method
    iou-oracle     t is the best for this very nodule: an upper bound, no result
    ceiling = 1

Chance is the expected IoU of the same m pixels at random places, exact from the hypergeometric distribution; for the
oracle it is the mean of the best IoU over 400 random rankings without ties. A constant map selects every pixel.

Source: Zhou 2016, Learning deep features for discriminative localization, for thresholded maps; Choe 2020, Evaluating
weakly supervised object localization methods right, for tuning t on held-out data; Otsu 1979.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from scipy.special import gammaln

from lungct.game.rules.base import Rule, Score, none_because
from lungct.game.saliency import Saliency
from lungct.game.target import Target
from lungct.types import FloatArray

ORACLE_DRAWS = 400


def iou_otsu(saliency: Saliency, target: Target) -> Score:
    """IoU above Otsu's threshold."""
    return _iou_of_first(saliency, target, otsu_levels(saliency))


def iou_validated(saliency: Saliency, target: Target) -> Score:
    """IoU above the threshold that was tuned for the method on other data."""
    if saliency.threshold is None:
        return none_because("no validated threshold")
    return _iou_of_first(saliency, target, int(saliency.above(saliency.threshold).sum()))


def iou_oracle(saliency: Saliency, target: Target) -> Score:
    """The best IoU over all thresholds, chosen with the truth known."""
    best = float(iou_curve(saliency, target).max())
    return Score(best, oracle_chance(target.pixels, target.area), 1.0)


def iou_curve(saliency: Saliency, target: Target) -> FloatArray:
    """(L,) IoU where the first 1, 2, ..., L levels are selected."""
    found = np.cumsum(saliency.hits(target.inside_flat))
    curve: FloatArray = found / (saliency.brighter[1:] + target.area - found)
    return curve


def _iou_of_first(saliency: Saliency, target: Target, levels: int) -> Score:
    selected = int(saliency.brighter[levels])
    value = float(iou_curve(saliency, target)[levels - 1])
    return Score(value, expected_iou(target.pixels, target.area, selected), 1.0)


def otsu_levels(saliency: Saliency) -> int:
    """How many of the first levels Otsu's threshold selects: w0 w1 (mean0 - mean1)^2 is largest, over all levels."""
    if len(saliency.sizes) == 1:
        return 1
    mass = np.cumsum(saliency.sizes * saliency.values)
    first, total = saliency.brighter[1:-1], saliency.brighter[-1]
    between = first * (total - first) * (mass[:-1] / first - (mass[-1] - mass[:-1]) / (total - first)) ** 2
    return int(np.argmax(between)) + 1


def expected_iou(pixels: int, area: int, selected: int) -> float:
    """Mean of I / (m + a - I) over I hits of m selected pixels at random places: I is hypergeometric."""
    hits = np.arange(max(0, area + selected - pixels), min(area, selected) + 1, dtype=np.float64)
    log = (
        _log_choose(area, hits)
        + _log_choose(pixels - area, selected - hits)
        - _log_choose(pixels, np.array(float(selected)))
    )
    return float((np.exp(log) * hits / (selected + area - hits)).sum())


def _log_choose(whole: int, part: FloatArray) -> FloatArray:
    found: FloatArray = gammaln(whole + 1) - gammaln(part + 1) - gammaln(whole - part + 1)
    return found


@lru_cache(maxsize=4096)
def oracle_chance(pixels: int, area: int) -> float:
    """Mean over random rankings of the best IoU; the k-th hit at rank r gives k / (r + a - k)."""
    random = np.random.default_rng((pixels, area))
    hit = np.arange(1, area + 1)
    best = [
        (hit / (np.sort(random.choice(pixels, area, replace=False, shuffle=False)) + 1 + area - hit)).max()
        for _ in range(ORACLE_DRAWS)
    ]
    return float(np.mean(best))


RULES: Mapping[str, Rule] = {"iou-otsu": iou_otsu, "iou-validated": iou_validated, "iou-oracle": iou_oracle}
