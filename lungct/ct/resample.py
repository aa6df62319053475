"""Linear resampling to another spacing on the edge-aligned grid, plane by plane, in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.ct.geometry import resampled_grid
from lungct.ct.hu import clip_hu
from lungct.types import FloatArray, Grid, IntArray, Triple, Volume

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
    for z, plane in enumerate(planes_on(volume, grid, lowest=hu_clip[0])):
        np.clip(plane, *hu_clip, out=plane)
        np.copyto(out[z], np.rint(plane, out=plane), casting="unsafe")
    return Volume(out, grid)


def resized(hu: NDArray[np.int16], size_xy: tuple[int, int]) -> NDArray[np.int16]:
    """(Y, X) int16 to another width and height over the same field, edge on edge; linear, as OpenCV resizes."""
    height, width = hu.shape
    spacing = (1.0, height / size_xy[1], width / size_xy[0])
    grid = Grid((1, size_xy[1], size_xy[0]), spacing, ((spacing[2] - 1) / 2, (spacing[1] - 1) / 2, 0.0))
    flat = Volume(hu[np.newaxis], Grid((1, height, width), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    (plane,) = planes_on(flat, grid, lowest=0)
    return np.rint(plane).astype(np.int16)


def planes_on(volume: Volume, grid: Grid, lowest: float) -> Iterator[FloatArray]:
    """The (Y', X') float32 planes of a volume on a grid of the same directions, each to be used before the next.

    Interpolated linearly; beyond the outermost voxel centres their values hold. What is not a number is ``lowest``.
    """
    z, y, x = (_Taps.at(place_on(volume.grid, grid, axis), volume.grid.shape_zyx[axis]) for axis in range(3))
    return _planes(volume.hu, z, _InPlane(volume.hu.shape[1:], y, x), lowest)


def place_on(old: Grid, new: Grid, axis_zyx: int) -> FloatArray:
    """(new,) float64: the fractional index in ``old`` of each voxel centre of ``new`` along an axis that they share."""
    axis = old.direction_matrix[:, 2 - axis_zyx]
    apart_mm = float(axis @ (np.asarray(new.origin_lps_mm) - old.origin_lps_mm))
    along_mm = apart_mm + np.arange(new.shape_zyx[axis_zyx]) * new.spacing_mm_zyx[axis_zyx]
    return np.asarray(along_mm / old.spacing_mm_zyx[axis_zyx])


@dataclass(frozen=True, eq=False)
class _Taps:
    """(new,) lower and upper old index and the upper one's weight, for each new voxel centre of one axis."""

    low: IntArray
    high: IntArray
    weight: FloatArray

    @classmethod
    def at(cls, place: FloatArray, old: int) -> _Taps:
        """For fractional indices into an axis of ``old`` voxels."""
        place = np.clip(place, 0, old - 1)
        low = np.minimum(np.floor(place + 1e-9), old - 1).astype(np.intp)
        return cls(low, np.minimum(low + 1, old - 1), np.clip(place - low, 0, 1).astype(np.float32))

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
