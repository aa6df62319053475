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
        heatmap: (Y, X) any float type; n = Y X pixels in L levels.
        threshold: of the min-max scaled map, tuned on other data; None where nobody tuned one.
        counted: (Y X,) which pixels there are; None all. Flat pixels are numbered among these.
    """

    heatmap: FloatArray
    threshold: float | None = None
    counted: BoolArray | None = None

    @cached_property
    def flat(self) -> FloatArray:
        """(n,) values in raster order."""
        flat = self.heatmap.reshape(-1)
        return flat if self.counted is None else flat[self.counted]

    @cached_property
    def _ranked(self) -> _Ranked:
        return _of_half(self.flat) if self.flat.dtype == np.float16 else _of_any(self.flat)

    @cached_property
    def level(self) -> IntArray:
        """(n,) level of each pixel, 0 the brightest."""
        return self._ranked.level_of[self._ranked.code]

    @property
    def sizes(self) -> IntArray:
        """(L,) pixels of each level."""
        return self._ranked.sizes

    @property
    def values(self) -> FloatArray:
        """(L,) float64 value of each level, falling."""
        return self._ranked.values

    @property
    def finite(self) -> bool:
        """Whether every value is a number; if not, nothing else here means anything."""
        return bool(np.isfinite(self.values).all())

    @property
    def constant(self) -> bool:
        """Whether all pixels have the same value."""
        return len(self.sizes) == 1

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
    def mass(self) -> float:
        """Sum of the positive values; those below zero, which speak against, are cut."""
        return float((self.sizes * np.maximum(self.values, 0)).sum())

    def mass_in(self, pixels: IntArray) -> float:
        """The same over the given (a,) flat pixels."""
        return float(np.maximum(self.flat[pixels].astype(np.float64), 0).sum())

    def hits(self, pixels: IntArray) -> IntArray:
        """(L,) how many of the given (a,) flat pixels are in each level."""
        ranked = self._ranked
        return np.bincount(ranked.level_of[ranked.code[pixels]], minlength=len(self.sizes))

    def share_of_top(self, count: int, pixels: IntArray) -> float:
        """Share of the ``count`` brightest pixels that are among the given (a,) flat pixels."""
        return self._over_top(count, self.hits(pixels))

    def mean_over_top(self, count: int, gain: FloatArray) -> float:
        """Mean of a (n,) gain over the ``count`` brightest pixels."""
        if self.constant:
            return float(gain.mean())
        ranked = self._ranked
        levels = int(np.searchsorted(self.brighter, count))  # the first so many hold them all
        pixels = np.flatnonzero(ranked.code >= ranked.codes[levels - 1])
        gained = np.bincount(ranked.level_of[ranked.code[pixels]], weights=gain[pixels], minlength=levels)
        return self._over_top(count, gained)

    def _over_top(self, count: int, per_level: Any) -> float:
        gained = np.concatenate(([0.0], np.cumsum(per_level, dtype=np.float64)))
        return float(np.interp(count, self.brighter[: len(gained)], gained)) / count

    @cached_property
    def brightest(self) -> IntArray:
        """(b,) flat pixels of the first level."""
        return np.flatnonzero(self._ranked.code == self._ranked.codes[0])

    def raster_top(self, count: int) -> IntArray:
        """(count,) flat brightest pixels, ties in raster order, as the published rules took them."""
        return np.argsort(self.level, kind="stable")[:count]

    def above(self, share: float) -> BoolArray:
        """(L,) levels whose scaled value is at least ``share``."""
        chosen: BoolArray = self.scaled >= share
        return chosen


@dataclass(frozen=True, eq=False)
class _Ranked:
    """Values as whole numbers in the same order.

    Attributes:
        code: (n,) of each pixel.
        codes: (L,) those that occur, falling; ``sizes`` (L,) how often, ``values`` (L,) float64 what they stand for.
        level_of: (any code + 1,) code -> level.
    """

    code: IntArray
    codes: IntArray
    sizes: IntArray
    values: FloatArray
    level_of: IntArray


def _of_any(flat: FloatArray) -> _Ranked:
    order = np.argsort(flat)
    ranked = flat[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    sizes = np.diff(np.append(starts, len(flat)))
    code = np.empty(len(flat), dtype=np.intp)
    code[order] = np.repeat(np.arange(len(starts)), sizes)
    falling = np.arange(len(starts))[::-1]
    return _Ranked(code, falling, sizes[::-1], ranked[starts][::-1].astype(np.float64), falling)


def _of_half(flat: FloatArray) -> _Ranked:
    """The same for float16, which has few enough values to count instead of sort."""
    code = np.ascontiguousarray(flat).view(np.uint16)
    signed = bool(code.max(initial=0) >= _SIGN)
    if signed:
        code = np.where(code == _SIGN, np.uint16(0), code)  # minus zero is zero
        code = np.where(code < _SIGN, code | _SIGN, ~code)  # and the bits of what is below it fall as it rises
    counts = np.bincount(code, minlength=1 << 16)
    codes = np.flatnonzero(counts)[::-1].astype(np.uint16)
    level_of = np.zeros(1 << 16, dtype=np.uint16)
    level_of[codes] = np.arange(len(codes), dtype=np.uint16)
    bits = np.where(codes >= _SIGN, codes & ~_SIGN, ~codes) if signed else codes
    return _Ranked(code, codes, counts[codes], bits.view(np.float16).astype(np.float64), level_of)


_SIGN = np.uint16(0x8000)
