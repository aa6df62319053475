"""The adaptive rule: which share of the brightest (1 + m) a pixels lies in the nodule, of a pixels itself.

    value = |T n B| / |T|,  T the k = round((1 + m) a) brightest pixels, m = 1, B the pixels of the nodule
    chance = a / n,  ceiling = min(1, a / k) = 1 / (1 + m)

As published (``thesis``): B is the first box of the image, k is truncated, ties are taken in raster order.

Source: the published segmentation game.
"""

from __future__ import annotations

from collections.abc import Mapping

from lungct.game.rules.base import Rule, Score
from lungct.game.rules.published import first_box, published_count
from lungct.game.saliency import Saliency
from lungct.game.target import Target

MARGIN = 1.0


def adaptive(saliency: Saliency, target: Target) -> Score:
    """Share of the top 2 x area pixels inside the nodule; at best 1/2."""
    count = min(target.pixels, round((1 + MARGIN) * target.area))
    value = saliency.share_of_top(count, target.inside_flat)
    return Score(value, target.area / target.pixels, min(1.0, target.area / count))


def thesis_adaptive(saliency: Saliency, target: Target) -> Score:
    """As published: the image's first box only, ties in raster order."""
    first = first_box(target)
    count = published_count(first, MARGIN)
    value = float(first.inside_of_flat[saliency.raster_top(count)].mean())
    return Score(value, first.area / first.pixels, min(1.0, first.area / count))


RULES: Mapping[str, Rule] = {"adaptive": adaptive}
THESIS: Mapping[str, Rule] = {"adaptive": thesis_adaptive}
