"""The inverse-distance rule: how near the brightest (1 + m) a pixels are to the nodule of a pixels.

    value = 1 - mean over T of d(pixel) / diagonal,  T the k = round((1 + m) a) brightest pixels, m = 1.8
    chance = 1 - mean over the image of d / diagonal,  ceiling = 1 - mean over the k nearest pixels of d / diagonal

d is the Minkowski distance, p = 6, from a pixel's centre to the box, 0 inside.

As published (``thesis``): the first box of the image, k truncated, ties in raster order.

Source: the published segmentation game. A distance in image diagonals says little of small nodules: chance is about
.75, and a map in the opposite lung scores as much.
"""

from __future__ import annotations

from collections.abc import Mapping

from lungct.game.rules.base import Rule, Score
from lungct.game.rules.published import first_box, published_count
from lungct.game.saliency import Saliency
from lungct.game.target import Target

MARGIN = 1.8


def inverse_distance(saliency: Saliency, target: Target) -> Score:
    """1 - mean distance of the top 2.8 x area pixels to the nodule, in image diagonals."""
    count = min(target.pixels, round((1 + MARGIN) * target.area))
    far = saliency.mean_over_top(count, target.distance_px) / target.diagonal_px
    return Score(1 - far, *_levels(target, count))


def thesis_inverse_distance(saliency: Saliency, target: Target) -> Score:
    """As published: the image's first box only, ties in raster order."""
    first = first_box(target)
    count = published_count(first, MARGIN)
    value = 1 - float(first.distance_px[saliency.raster_top(count)].mean()) / first.diagonal_px
    return Score(value, *_levels(first, count))


def _levels(target: Target, count: int) -> tuple[float, float]:
    return 1 - target.mean_distance_px / target.diagonal_px, 1 - target.nearest_px(count) / target.diagonal_px


RULES: Mapping[str, Rule] = {"inverse-distance": inverse_distance}
THESIS: Mapping[str, Rule] = {"inverse-distance": thesis_inverse_distance}
