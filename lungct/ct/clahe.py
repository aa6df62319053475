"""Contrast-limited adaptive histogram equalisation of one slice, with whole HU as levels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungct.types import FloatArray, IntArray

GRAYS = 256


def clahe(levels: IntArray, gray_of_level: FloatArray, clip_limit: float, tiles: int) -> NDArray[np.float32]:
    """(Y, X) float32 gray 0..255 of a (Y, X) slice whose pixels are levels, each of which has a gray.

    The slice is cut into ``tiles`` x ``tiles`` tiles, mirrored at its end where it does not divide. Each has a
    histogram of 256 grays, cut at ``clip_limit`` times its mean; what is cut off is spread evenly. Its running sum is
    the tile's new gray for each old one, straight between whole grays, and a pixel's new gray is interpolated between
    the four tiles round it.

    Args:
        levels: whole numbers that index ``gray_of_level``.
        gray_of_level: (L,) rising, 0..255.
        clip_limit: 1 leaves hardly any contrast to be gained; higher is stronger.

    Source: Zuiderveld 1994, to the definition of OpenCV's ``createCLAHE`` for 8 bits, from which it differs only in
    not rounding the grays of the output and of pixels between whole ones.
    """
    height, width = _whole_tiles(levels.shape, tiles)
    table = _tables(levels, gray_of_level, clip_limit, tiles)
    top, bottom, down = _between(levels.shape[0], height, tiles)
    left, right, along = _between(levels.shape[1], width, tiles)

    def looked_up(row: IntArray, column: IntArray) -> NDArray[np.float32]:
        start = (row[:, None] * tiles + column[None, :]) * len(gray_of_level)
        return table.take(start + levels)

    upper, lower = looked_up(top, left), looked_up(bottom, left)
    upper += (looked_up(top, right) - upper) * along
    lower += (looked_up(bottom, right) - lower) * along
    upper += (lower - upper) * down[:, None]
    return upper


def _tables(levels: IntArray, gray_of_level: FloatArray, clip_limit: float, tiles: int) -> NDArray[np.float32]:
    """(tiles * tiles, L) float32: the new gray of every level in every tile."""
    nearest = np.rint(gray_of_level).astype(np.intp)[levels]
    height, width = _whole_tiles(levels.shape, tiles)
    padded = np.pad(nearest, ((0, height - levels.shape[0]), (0, width - levels.shape[1])), mode="reflect")
    area = (height // tiles) * (width // tiles)
    row, column = np.arange(height) // (height // tiles), np.arange(width) // (width // tiles)
    tile = row[:, None] * tiles + column[None, :]
    count = np.bincount((tile * GRAYS + padded).ravel(), minlength=tiles * tiles * GRAYS).reshape(-1, GRAYS)
    running = np.cumsum(_clipped(count, max(1, int(clip_limit * area / GRAYS))), axis=1) * ((GRAYS - 1) / area)
    low = np.minimum(gray_of_level.astype(np.intp), GRAYS - 2)
    share = gray_of_level - low
    return np.asarray(running[:, low] * (1 - share) + running[:, low + 1] * share, dtype=np.float32)


def _whole_tiles(shape: tuple[int, ...], tiles: int) -> tuple[int, int]:
    """The padded shape; where one side does not divide, the other grows by a whole tile's worth too, as in OpenCV."""
    height, width = shape
    if height % tiles == 0 and width % tiles == 0:
        return height, width
    return height + tiles - height % tiles, width + tiles - width % tiles


def _clipped(count: IntArray, limit: int) -> IntArray:
    """Histograms (T, 256) with what is above ``limit`` spread over all grays, the rest of that over every n-th."""
    excess = np.maximum(count - limit, 0).sum(axis=1)
    each, rest = np.divmod(excess, GRAYS)
    count = np.minimum(count, limit) + each[:, None]
    step = np.maximum(GRAYS // np.maximum(rest, 1), 1)[:, None]
    gray = np.arange(GRAYS)
    return np.asarray(count + ((gray % step == 0) & (gray // step < rest[:, None])))


def _between(size: int, padded: int, tiles: int) -> tuple[IntArray, IntArray, NDArray[np.float32]]:
    """(size,) each: the tiles whose middles lie before and after a pixel, and how near it is to the latter."""
    place = np.arange(size) / (padded // tiles) - 0.5
    before = np.floor(place).astype(np.intp)
    after = np.minimum(before + 1, tiles - 1)
    return np.maximum(before, 0), after, (place - before).astype(np.float32)
