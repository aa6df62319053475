"""Linear resampling to another spacing on the edge-aligned grid, plane by plane, in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.ct.geometry import resampled_grid
from lungct.ct.hu import clip_hu
from lungct.types import FloatArray, IntArray, Triple, Volume

BLOCK = 16


def resample(volume: Volume, spacing_mm_zyx: Triple | None, hu_clip: tuple[int, int]) -> Volume:
    """Resample (Z, Y, X) HU linearly to a spacing, clip and round to int16; None keeps the grid.

    The new grid has the old directions, so the trilinear value is three linear interpolations one after the other.
    Within half an old voxel of the border, where a neighbour is missing, the outermost voxel's value holds. Values are
    clipped after interpolation; one that is not a number counts as the lowest.

    Source: the grid is ITK's ResampleImageFilter with the output origin moved by half the difference of the spacings.
    """
    grid = volume.grid if spacing_mm_zyx is None else resampled_grid(volume.grid, spacing_mm_zyx)
    out = np.empty(grid.shape_zyx, np.int16)
    if grid == volume.grid:
        for z, plane in enumerate(volume.hu):
            out[z] = clip_hu(plane, hu_clip)
        return Volume(out, grid)
    taps = [
        _taps(old, new, old_mm, new_mm)
        for old, new, old_mm, new_mm in zip(
            volume.grid.shape_zyx, grid.shape_zyx, volume.grid.spacing_mm_zyx, grid.spacing_mm_zyx, strict=True
        )
    ]
    in_plane = _InPlane(volume.hu.shape[1:], taps[1], taps[2])
    for z, plane in enumerate(_planes(volume.hu, taps[0], in_plane, float(hu_clip[0]))):
        np.clip(plane, *hu_clip, out=plane)
        np.copyto(out[z], np.rint(plane, out=plane), casting="unsafe")
    return Volume(out, grid)


@dataclass(frozen=True, eq=False)
class _Taps:
    """(new,) lower and upper old index and the upper one's weight, for each new voxel centre of one axis."""

    low: IntArray
    high: IntArray
    weight: FloatArray

    def blocks(self) -> list[tuple[slice, slice, FloatArray]]:
        """The same as dense matrices: new[s] = matrix @ old[t], for every (s, t, matrix).

        Multiplying by some zeros costs less than gathering does.
        """
        found = []
        for start in range(0, len(self.low), BLOCK):
            new = slice(start, min(start + BLOCK, len(self.low)))
            old = slice(int(self.low[start]), int(self.high[new.stop - 1]) + 1)
            matrix = np.zeros((new.stop - start, old.stop - old.start), np.float32)
            rows = np.arange(len(matrix))
            matrix[rows, self.low[new] - old.start] = 1 - self.weight[new]
            matrix[rows, self.high[new] - old.start] += self.weight[new]
            found.append((new, old, matrix))
        return found


def _taps(old: int, new: int, old_mm: float, new_mm: float) -> _Taps:
    place = np.clip((np.arange(new) + 0.5) * (new_mm / old_mm) - 0.5, 0, old - 1)
    low = np.minimum(np.floor(place + 1e-9), old - 1).astype(np.intp)
    return _Taps(low, np.minimum(low + 1, old - 1), np.clip(place - low, 0, 1).astype(np.float32))


class _InPlane:
    """(Y, X) float32 -> (Y', X') float32 of one shape, with a buffer made once: fresh memory costs more than sums."""

    def __init__(self, shape_yx: tuple[int, ...], taps_y: _Taps, taps_x: _Taps) -> None:
        self.shape_yx = (len(taps_y.low), len(taps_x.low))
        self._y, self._x = taps_y.blocks(), [(new, old, matrix.T.copy()) for new, old, matrix in taps_x.blocks()]
        self._tall = np.empty((len(taps_y.low), shape_yx[1]), np.float32)

    def __call__(self, plane: FloatArray, out: FloatArray) -> FloatArray:
        for new, old, matrix in self._y:
            np.matmul(matrix, plane[old], out=self._tall[new])
        for new, old, matrix in self._x:
            np.matmul(self._tall[:, old], matrix, out=out[:, new])
        return out


def _planes(hu: NDArray[Any], taps_z: _Taps, in_plane: _InPlane, lowest: float) -> Iterator[FloatArray]:
    """The (Y', X') float32 planes of the new grid in turn, to be used up before the next one.

    Works first along z where that leaves fewer planes for the rest.
    """
    z_first = len(taps_z.low) < len(hu)
    shape = hu.shape[1:] if z_first else in_plane.shape_yx
    raw, upper, between = (np.empty(one, np.float32) for one in (hu.shape[1:], shape, shape))
    new = np.empty(in_plane.shape_yx, np.float32)
    sources = {-1: np.empty(shape, np.float32), -2: np.empty(shape, np.float32)}
    for low, high, weight in zip(taps_z.low.tolist(), taps_z.high.tolist(), taps_z.weight, strict=True):
        for one in {low, high} - sources.keys():
            buffer = sources.pop(next(old for old in sources if old not in (low, high)))
            sources[one] = _read(hu[one], lowest, buffer) if z_first else in_plane(_read(hu[one], lowest, raw), buffer)
        np.multiply(sources[low], 1 - weight, out=between)
        if weight:
            between += np.multiply(sources[high], weight, out=upper)
        yield in_plane(between, new) if z_first else between


def _read(plane: NDArray[Any], lowest: float, out: FloatArray) -> FloatArray:
    np.copyto(out, plane, casting="unsafe")
    if plane.dtype.kind == "f" and not np.isfinite(out).all():
        np.nan_to_num(out, copy=False, nan=lowest)
    return out
