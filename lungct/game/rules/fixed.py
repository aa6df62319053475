"""The fixed rule: which share of the brightest .5 % of the image lies in any true nodule.

    value = |T n U| / |T|,  T the k = round(.005 n) brightest pixels, U the pixels of all true nodules of the image
    chance = |U| / n,  ceiling = min(1, |U| / k)

As published (``thesis``): T is every pixel at or above the 99.5th percentile, so that a constant map selects all of
them and is scored |U| / n, and a map with few values selects more than .5 %.

Source: the published segmentation game. k does not follow the nodule's size: below .5 % of the image a map needs only
to be near to hold all of a nodule, so the normalised score still favours small ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lungct.game.rules.base import Rule, Score
from lungct.game.saliency import Saliency
from lungct.game.target import Target

TOP_SHARE = 0.005


def fixed(saliency: Saliency, target: Target) -> Score:
    """Share of the top .5 % pixels inside any true nodule."""
    count = max(1, round(TOP_SHARE * target.pixels))
    area = len(target.inside_any_flat)
    value = saliency.share_of_top(count, target.inside_any_flat)
    return Score(value, area / target.pixels, min(1.0, area / count))


def thesis_fixed(saliency: Saliency, target: Target) -> Score:
    """As published: every pixel at or above the percentile, of a constant map all of them."""
    top = saliency.flat >= np.percentile(saliency.flat, 100 * (1 - TOP_SHARE))
    count, area = int(top.sum()), len(target.inside_any_flat)
    return Score(float(top[target.inside_any_flat].sum()) / count, area / target.pixels, min(1.0, area / count))


RULES: Mapping[str, Rule] = {"fixed": fixed}
THESIS: Mapping[str, Rule] = {"fixed": thesis_fixed}
