"""Average precision of the map's pixels as a ranking of the nodule's: the area under precision over recall.

    value = 1/a sum over the nodule's pixels of precision at their rank
    chance = [(a - 1) / (n - 1) (n - H_n) + H_n] / n,  H_n = 1 + 1/2 + ... + 1/n;  ceiling = 1

Ties are broken at random and the expectation taken, in closed form: of a level of m pixels with g of the nodule, which
N pixels with G of it precede,

    sum over i of (g / m) (G + 1 + (i - 1) b) / (N + i) = (g / m) [m b + (G + 1 - b - N b) (H_(N+m) - H_N)],
    b = (g - 1) / (m - 1).

Chance is often given as the share a / n; that is its limit for large a. For a nodule of 3 mm (14 pixels in 512 x 512)
the exact level is twice as high, and random maps meet that one.

Source: Saito & Rehmsmeier 2015 for the curve; Bestgen 2015, Exact expected average precision of the random baseline.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import digamma

from lungct.game.rules.base import Rule, Score
from lungct.game.saliency import Saliency
from lungct.game.target import Target
from lungct.types import FloatArray


def auprc(saliency: Saliency, target: Target) -> Score:
    """Expected average precision of the pixels' order."""
    hits = saliency.hits(target.inside_flat).astype(np.float64)
    before = np.concatenate(([0.0], np.cumsum(hits)[:-1]))
    some = hits > 0
    sizes = saliency.sizes[some].astype(np.float64)
    value = expected_precision(hits[some], sizes, before[some], saliency.brighter[:-1][some]).sum() / target.area
    area, pixels = np.array([float(target.area)]), np.array([float(target.pixels)])
    chance = expected_precision(area, pixels, np.zeros(1), np.zeros(1))[0] / target.area
    return Score(float(value), float(chance), 1.0)


def expected_precision(hits: FloatArray, sizes: FloatArray, hits_before: FloatArray, before: FloatArray) -> FloatArray:
    """(L,) sum over a level's hits of the precision at their rank, expected over the order within the level."""
    slope = np.divide(hits - 1, sizes - 1, out=np.zeros_like(hits), where=sizes > 1)
    harmonic = digamma(before + sizes + 1) - digamma(before + 1)
    found: FloatArray = hits / sizes * (sizes * slope + (hits_before + 1 - slope - before * slope) * harmonic)
    return found


RULES: Mapping[str, Rule] = {"auprc": auprc}
