"""One heatmap ranked once, so that every rule reads its brightest pixels, ties included, without sorting again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lungct.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Saliency:
    """A heatmap and its levels: the sets of pixels of equal value, brightest first.

    A rule that takes the k brightest pixels takes of the level at the edge the fraction that still fits, which is what
    breaking ties at random gives on average.

    Attributes:
        heatmap: (Y, X) finite, any float type; n = Y X pixels in L levels.
        threshold: of the min-max scaled map, tuned on other data; None where nobody tuned one.
    """

    heatmap: FloatArray
    threshold: float | None = None

    @cached_property
    def flat(self) -> FloatArray:
        """(n,) values in raster order."""
        return self.heatmap.reshape(-1)

    @cached_property
    def _ranked(self) -> tuple[IntArray, IntArray, FloatArray]:
        return _levels_of_half(self.flat) if self.flat.dtype == np.float16 else _levels(self.flat)

    @property
    def level(self) -> IntArray:
        """(n,) level of each pixel, 0 the brightest."""
        return self._ranked[0]

    @property
    def sizes(self) -> IntArray:
        """(L,) pixels of each level."""
        return self._ranked[1]

    @property
    def values(self) -> FloatArray:
        """(L,) float64 value of each level, falling."""
        return self._ranked[2]

    @cached_property
    def brighter(self) -> FloatArray:
        """(L + 1,) how many pixels are in the first 0, 1, ..., L levels."""
        return np.concatenate(([0], np.cumsum(self.sizes))).astype(np.float64)

    @cached_property
    def scaled(self) -> FloatArray:
        """(L,) the levels' values min-max scaled to 0..1; a constant map is 1 everywhere."""
        low, high = self.values[-1], self.values[0]
        return (self.values - low) / (high - low) if high > low else np.ones(1)

    @cached_property
    def positive(self) -> FloatArray:
        """(n,) float64 values with those below zero, which speak against, cut."""
        return np.maximum(self.flat, 0).astype(np.float64)

    @cached_property
    def mass(self) -> float:
        """Sum of the positive values."""
        return float(self.positive.sum())

    def hits(self, pixels: IntArray) -> IntArray:
        """(L,) how many of the given (a,) flat pixels are in each level."""
        return np.bincount(self.level[pixels], minlength=len(self.sizes))

    def share_of_top(self, count: int, pixels: IntArray) -> float:
        """Share of the ``count`` brightest pixels that are among the given (a,) flat pixels."""
        return self._over_top(count, self.hits(pixels))

    def mean_over_top(self, count: int, gain: FloatArray) -> float:
        """Mean of a (n,) gain over the ``count`` brightest pixels."""
        levels = int(np.searchsorted(self.brighter, count))  # the first so many hold them all
        pixels = np.flatnonzero(self.level < levels)
        gained = np.bincount(self.level[pixels], weights=gain[pixels], minlength=levels)
        return self._over_top(count, gained)

    def _over_top(self, count: int, per_level: Any) -> float:
        gained = np.concatenate(([0.0], np.cumsum(per_level, dtype=np.float64)))
        return float(np.interp(count, self.brighter[: len(gained)], gained)) / count

    @cached_property
    def brightest(self) -> IntArray:
        """(b,) flat pixels of the first level."""
        return np.flatnonzero(self.level == 0)

    def raster_top(self, count: int) -> IntArray:
        """(count,) flat brightest pixels, ties in raster order, as the published rules took them."""
        return np.argsort(self.level, kind="stable")[:count]

    def above(self, share: float) -> BoolArray:
        """(L,) levels whose scaled value is at least ``share``."""
        chosen: BoolArray = self.scaled >= share
        return chosen


def _levels(flat: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    order = np.argsort(flat)[::-1]
    ranked = flat[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    sizes = np.diff(np.append(starts, len(flat)))
    level = np.empty(len(flat), dtype=np.intp)
    level[order] = np.repeat(np.arange(len(starts)), sizes)
    return level, sizes, ranked[starts].astype(np.float64)


def _levels_of_half(flat: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """The same for float16, which has few enough values to count instead of sort."""
    code = np.ascontiguousarray(flat).view(np.uint16)
    code = np.where(code == 0x8000, np.uint16(0), code)  # minus zero is zero
    counts = np.bincount(code, minlength=1 << 16)
    codes = np.flatnonzero(counts).astype(np.uint16)
    values = codes.view(np.float16).astype(np.float64)
    order = np.argsort(-values)
    place = np.zeros(1 << 16, dtype=np.intp)
    place[codes[order]] = np.arange(len(codes))
    return place[code], counts[codes[order]], values[order]
