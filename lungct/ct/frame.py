"""What the coordinates of a CSV may stand for besides LPS mm, and how scans tell which one it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.registry import CSV_FRAMES
from lungct.types import BoolArray, FloatArray, Grid

MOSTLY_OUTSIDE, NEARLY_ALL_INSIDE = 0.5, 0.9
AIR_HU = -700.0
FEWEST_TO_TELL = 5
RARELY_IN_TISSUE, OFTEN_IN_TISSUE = 0.75, 0.85
SMALLEST_MEDIAN_MM = 2.0
FLAT_RATIO = 1.25


def to_lps(points_xyz: FloatArray, frame: str, grid: Grid | None) -> FloatArray:
    """(..., 3) coordinates of one of ``CSV_FRAMES`` to (..., 3) LPS mm; only ``voxel``, the file's own 0-based index,
    asks for a grid."""
    points = np.asarray(points_xyz, dtype=np.float64)
    if frame == "voxel":
        if grid is None:
            raise ValueError("voxel indices say nothing without a grid")
        return grid.to_world(points)
    return points * [-1, -1, 1] if frame == "ras" else points


def from_lps(points_lps_mm: FloatArray, frame: str, grid: Grid) -> FloatArray:
    """The inverse of :func:`to_lps`."""
    return grid.to_index(points_lps_mm) if frame == "voxel" else to_lps(points_lps_mm, frame, None)


def inside(points_lps_mm: FloatArray, grid: Grid) -> BoolArray:
    """(N,) whether points lie in the scan, its outermost voxels included to their edges."""
    index = grid.to_index(np.asarray(points_lps_mm).reshape(-1, 3))
    return np.asarray(((index >= -0.5) & (index <= np.asarray(grid.shape_zyx[::-1]) - 0.5)).all(axis=1))


def in_tissue(points_lps_mm: FloatArray, hu: NDArray[Any], grid: Grid) -> BoolArray:
    """(N,) whether points lie in the scan and in something denser than lung and air: 3 x 3 voxels of their slice
    have a mean above -700 HU, in a (Z, Y, X) array in HU."""
    points = np.asarray(points_lps_mm, dtype=np.float64).reshape(-1, 3)
    found = inside(points, grid)
    for number in np.flatnonzero(found):
        x, y, z = np.rint(grid.to_index(points[number])).astype(int).clip(0, np.asarray(grid.shape_zyx[::-1]) - 1)
        around = hu[z, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        found[number] = np.mean(around) > AIR_HU
    return found


def likely_frames(scans: Iterable[tuple[FloatArray, Grid]], stated: str) -> tuple[int, int, Mapping[str, int]]:
    """Hold every reading of the coordinates against the scans' extents.

    Args:
        scans: for each scan its (N, 3) coordinates as the CSV has them, and its grid.
        stated: the frame they are said to be in.

    Returns:
        The number of points, how many lie inside their scan as stated, and the likely other frames, likeliest first:
        those that put nine tenths of the points inside where the stated one puts more than half outside.
    """
    counts = dict.fromkeys(CSV_FRAMES, 0)
    total = 0
    for points, grid in scans:
        total += len(points)
        for frame in CSV_FRAMES:
            counts[frame] += int(inside(to_lps(points, frame, grid), grid).sum())
    if counts[stated] >= (1 - MOSTLY_OUTSIDE) * total:
        return total, counts[stated], {}
    fit = {frame: count for frame, count in counts.items() if count >= NEARLY_ALL_INSIDE * total}
    return total, counts[stated], dict(sorted(fit.items(), key=lambda one: -one[1]))


def tissue_counts(points_lps_mm: FloatArray, stated: str, hu: NDArray[Any], grid: Grid) -> dict[str, int]:
    """``nodules``: how many (N, 3) centres there are, LPS mm by the stated frame; each frame: how many it puts in
    tissue."""
    written = from_lps(points_lps_mm, stated, grid)
    counts = {frame: int(in_tissue(to_lps(written, frame, grid), hu, grid).sum()) for frame in CSV_FRAMES}
    return {"nodules": len(written), **counts}


def likely_by_tissue(counts: Mapping[str, int], total: int, stated: str) -> str | None:
    """The frame that puts nearly all nodule centres into tissue where the stated one leaves many in air.

    A mirrored point of the lung hits tissue about half of the time, the true centre of a nodule nearly always.
    """
    frame = max(counts, key=lambda one: counts[one])
    few = counts[stated] <= RARELY_IN_TISSUE * total
    clear = counts[frame] >= OFTEN_IN_TISSUE * total and counts[frame] - counts[stated] >= FEWEST_TO_TELL
    return frame if few and clear else None


def likely_unit(size_mm_xyz: FloatArray, spacing_mm_xyz: FloatArray) -> str:
    """``mm``, ``cm`` or ``voxel``: what (N, 3) box sizes, said to be mm, seem to be, given each one's voxel spacing.

    Under a median of 2 mm they are cm. Where slices are further apart than pixels, sizes in voxels are flat; they are
    voxels if they are flat as mm and round as voxels in the median. Fewer than five sizes tell nothing.
    """
    size = np.asarray(size_mm_xyz, dtype=np.float64).reshape(-1, 3)
    if len(size) < FEWEST_TO_TELL:
        return "mm"
    if np.median(size.max(axis=1)) < SMALLEST_MEDIAN_MM:
        return "cm"
    as_mm, as_voxels = _flatness(size), _flatness(size * np.asarray(spacing_mm_xyz))
    return "voxel" if as_mm > FLAT_RATIO and as_voxels < np.sqrt(as_mm) else "mm"


def _flatness(size: FloatArray) -> float:
    """In the median, how many times a box is larger across than along z, or the other way round if that is more."""
    ratio = float(np.exp(np.median(np.log(size[:, :2].mean(axis=1) / size[:, 2]))))
    return max(ratio, 1 / ratio)
