"""Linear resampling to another spacing on the edge-aligned grid, plane by plane, in little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.ct.geometry import resampled_grid
from lungct.ct.hu import clip_hu
from lungct.types import FloatArray, IntArray, Triple, Volume


def resample(volume: Volume, spacing_mm_zyx: Triple | None, hu_clip: tuple[int, int]) -> Volume:
    """Resample (Z, Y, X) HU linearly to a spacing, clip and round to int16; None keeps the grid.

    The new grid has the old directions, so the trilinear value is three linear interpolations one after the other.
    Within half an old voxel of the border, where a neighbour is missing, the outermost voxel's value holds. Values are
    clipped after interpolation.

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
    planes: dict[int, FloatArray] = {}
    low_z, high_z, weight_z = taps[0]
    for z in range(len(out)):
        wanted = (int(low_z[z]), int(high_z[z]))
        planes = {one: planes[one] if one in planes else _in_plane(volume.hu[one], taps) for one in wanted}
        plane = planes[wanted[0]] * (1 - weight_z[z])
        if weight_z[z]:
            plane += planes[wanted[1]] * weight_z[z]
        out[z] = clip_hu(plane, hu_clip)
    return Volume(out, grid)


def _taps(old: int, new: int, old_mm: float, new_mm: float) -> tuple[IntArray, IntArray, FloatArray]:
    """(new,) lower and upper old index and the upper one's weight, for each new voxel centre."""
    place = np.clip((np.arange(new) + 0.5) * (new_mm / old_mm) - 0.5, 0, old - 1)
    low = np.minimum(np.floor(place + 1e-9), old - 1).astype(np.intp)
    high = np.minimum(low + 1, old - 1)
    return low, high, np.clip(place - low, 0, 1).astype(np.float32)


def _in_plane(plane: NDArray[Any], taps: list[tuple[IntArray, IntArray, FloatArray]]) -> FloatArray:
    """(Y, X) of any number type to (Y', X') float32; along y first, where whole rows move."""
    (low_y, high_y, weight_y), (low_x, high_x, weight_x) = taps[1:]
    rows = plane.astype(np.float32)
    lower = rows.take(low_y, axis=0)
    upper = rows.take(high_y, axis=0)
    upper -= lower
    upper *= weight_y[:, None]
    lower += upper
    left = lower.take(low_x, axis=1)
    right = lower.take(high_x, axis=1)
    right -= left
    right *= weight_x
    left += right
    return left
