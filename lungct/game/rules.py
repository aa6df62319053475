"""The three published rules of the segmentation game: where a map is brightest, set against the true box.

h is a (Y, X) map, T its brightest pixels, n = Y X; a pixel belongs to a box if its centre lies in it.

    fixed             T: the top .5 %;                 value = share of T inside any true box of the image
    adaptive          T: the top (1 + m) area, m 1;    value = share of T inside the true box
    inverse-distance  T: the top (1 + m) area, m 1.8;  value = 1 - mean over T of d_p(pixel, box) / diagonal, p 6

d_p is the Minkowski distance from the pixel's centre to the box, 0 inside. ``repaired`` takes exactly |T| pixels, each
tie at the edge of T by the fraction of it that still fits (the expected value under random tie-breaking). ``thesis``
keeps what was published, flaws included: all pixels at or above the percentile, ties in raster order, only the image's
first box, failed maps as 0.

Every value comes with what pure chance gives it (the expectation of a random pixel, so of any map that is independent
of the box) and with its ceiling (the best map there is), for both depend on the nodule's size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from lungct.types import BoolArray, FloatArray, IntArray

TOP_SHARE = 0.005
ADAPTIVE_MARGIN = 1.0
DISTANCE_MARGIN = 1.8
MINKOWSKI_P = 6.0
VERSIONS = ("repaired", "thesis")


@dataclass(frozen=True, eq=False)
class Target:
    """The true boxes of one image, seen from the box that one detection found.

    Attributes:
        shape_yx: of the image.
        box_xyxy_px: (4,) the box found.
        boxes_xyxy_px: (N, 4) every true box of the image, in the file's order.
    """

    shape_yx: tuple[int, int]
    box_xyxy_px: FloatArray
    boxes_xyxy_px: FloatArray

    @cached_property
    def inside(self) -> BoolArray:
        """(Y, X) pixels of the box."""
        return pixels_inside(self.shape_yx, self.box_xyxy_px)

    @cached_property
    def inside_any(self) -> BoolArray:
        """(Y, X) pixels of any true box."""
        union = np.zeros(self.shape_yx, dtype=bool)
        for box in self.boxes_xyxy_px:
            union |= pixels_inside(self.shape_yx, box)
        return union

    @cached_property
    def distance(self) -> FloatArray:
        """(Y, X) Minkowski distance of each pixel to the box, in image diagonals."""
        return box_distance(self.shape_yx, self.box_xyxy_px)


@dataclass(frozen=True)
class Score:
    """One value with its chance level and ceiling."""

    value: float
    chance: float
    ceiling: float

    @property
    def normalised(self) -> float:
        """(value - chance) / (ceiling - chance): 0 by chance, 1 at best; NaN where the box fills the image."""
        room = self.ceiling - self.chance
        return (self.value - self.chance) / room if room > 1e-12 else float("nan")


Rule: TypeAlias = Callable[[FloatArray, Target], Score]


def pixels_inside(shape_yx: tuple[int, int], box_xyxy_px: FloatArray) -> BoolArray:
    """(Y, X) pixels whose centre lies in the box; a box too small for that has the pixel its own centre is in."""
    x1, y1, x2, y2 = (float(value) for value in box_xyxy_px)
    rows, columns = (np.arange(size) + 0.5 for size in shape_yx)
    mask = np.outer((rows >= y1) & (rows < y2), (columns >= x1) & (columns < x2))
    if not mask.any():
        row, column = int((y1 + y2) / 2), int((x1 + x2) / 2)
        mask[min(max(row, 0), shape_yx[0] - 1), min(max(column, 0), shape_yx[1] - 1)] = True
    return mask


def box_distance(shape_yx: tuple[int, int], box_xyxy_px: FloatArray) -> FloatArray:
    """(Y, X) float64 (dx^p + dy^p)^(1/p) / diagonal from each pixel's centre to the box, p = 6, 0 inside."""
    x1, y1, x2, y2 = (float(value) for value in box_xyxy_px)
    rows, columns = (np.arange(size) + 0.5 for size in shape_yx)
    down = np.maximum(np.maximum(y1 - rows, rows - y2), 0) ** MINKOWSKI_P
    across = np.maximum(np.maximum(x1 - columns, columns - x2), 0) ** MINKOWSKI_P
    distance: FloatArray = np.add.outer(down, across) ** (1 / MINKOWSKI_P) / np.hypot(*shape_yx)
    return distance


def mean_over_top(heatmap: FloatArray, count: int, gain: FloatArray | BoolArray) -> float:
    """Mean of ``gain`` over the ``count`` brightest pixels; pixels tied at the edge count by the fraction that fits."""
    flat = heatmap.ravel()
    edge = np.partition(flat, flat.size - count)[flat.size - count]
    above, tied = flat > edge, flat == edge
    values = np.asarray(gain, dtype=np.float64).ravel()
    inner = int(above.sum())
    return float((values[above].sum() + (count - inner) * values[tied].mean()) / count)


def fixed(heatmap: FloatArray, target: Target) -> Score:
    """Share of the top .5 % pixels inside any true box."""
    count = max(1, round(TOP_SHARE * heatmap.size))
    area = int(target.inside_any.sum())
    value = mean_over_top(heatmap, count, target.inside_any)
    return Score(value, area / heatmap.size, min(1.0, area / count))


def adaptive(heatmap: FloatArray, target: Target) -> Score:
    """Share of the top 2 x area pixels inside the true box; at best 1/2."""
    area = int(target.inside.sum())
    count = min(heatmap.size, round((1 + ADAPTIVE_MARGIN) * area))
    return Score(mean_over_top(heatmap, count, target.inside), area / heatmap.size, min(1.0, area / count))


def inverse_distance(heatmap: FloatArray, target: Target) -> Score:
    """1 - mean distance of the top 2.8 x area pixels to the true box, in image diagonals."""
    count = min(heatmap.size, round((1 + DISTANCE_MARGIN) * int(target.inside.sum())))
    nearest = np.partition(target.distance.ravel(), count - 1)[:count]
    value = 1 - mean_over_top(heatmap, count, target.distance)
    return Score(value, 1 - float(target.distance.mean()), 1 - float(nearest.mean()))


def thesis_fixed(heatmap: FloatArray, target: Target) -> Score:
    """As published: a constant map selects every pixel."""
    top = heatmap >= np.percentile(heatmap, 100 * (1 - TOP_SHARE))
    area = int(target.inside_any.sum())
    return Score(float(target.inside_any[top].mean()), area / heatmap.size, min(1.0, area / int(top.sum())))


def thesis_adaptive(heatmap: FloatArray, target: Target) -> Score:
    """As published: the image's first box only, ties in raster order."""
    first = _first_box(target)
    count = _thesis_count(first, ADAPTIVE_MARGIN, heatmap.size)
    area = int(first.inside.sum())
    value = float(first.inside.ravel()[_raster_top(heatmap, count)].mean())
    return Score(value, area / heatmap.size, min(1.0, area / count))


def thesis_inverse_distance(heatmap: FloatArray, target: Target) -> Score:
    """As published: the image's first box only, ties in raster order."""
    first = _first_box(target)
    count = _thesis_count(first, DISTANCE_MARGIN, heatmap.size)
    nearest = np.partition(first.distance.ravel(), count - 1)[:count]
    value = 1 - float(first.distance.ravel()[_raster_top(heatmap, count)].mean())
    return Score(value, 1 - float(first.distance.mean()), 1 - float(nearest.mean()))


def _first_box(target: Target) -> Target:
    first = target.boxes_xyxy_px[0]
    return target if np.array_equal(first, target.box_xyxy_px) else Target(target.shape_yx, first, target.boxes_xyxy_px)


def _thesis_count(target: Target, margin: float, pixels: int) -> int:
    x1, y1, x2, y2 = (float(value) for value in target.box_xyxy_px)
    return min(pixels, max(1, int((x2 - x1) * (y2 - y1) * (1 + margin))))


def _raster_top(heatmap: FloatArray, count: int) -> IntArray:
    return np.argsort(-heatmap.ravel(), kind="stable")[:count]


RULES: Mapping[str, Mapping[str, Rule]] = {
    "repaired": {"fixed": fixed, "adaptive": adaptive, "inverse-distance": inverse_distance},
    "thesis": {
        "fixed": thesis_fixed,
        "adaptive": thesis_adaptive,
        "inverse-distance": thesis_inverse_distance,
    },
}
