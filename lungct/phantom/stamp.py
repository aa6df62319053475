"""Draw balls into a voxel volume as coverage in 0..255, in small boxes around each, all boxes of one size at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungct.types import FloatArray, Grid

RADII_MM = (0.7, 1.0, 1.5, 2.2, 3.2, 4.6, 6.5, 9.0, 13.0)
CHUNK = 400_000


def stamp_balls(grid: Grid, centers_xyz: FloatArray, radii_mm: FloatArray) -> NDArray[np.uint8]:
    """Coverage of each voxel by the union of balls, (Z, Y, X) uint8, 255 = full.

    A ball thinner than a voxel is drawn a voxel wide and fainter by the ratio of the cross-sections, as a scanner does.

    Args:
        centers_xyz: (N, 3) fractional voxel indices, x y z.
        radii_mm: (N,).
    """
    covered = np.zeros(grid.shape_zyx, dtype=np.uint8)
    edge_mm = grid.spacing_mm_zyx[2]
    least_mm = 0.5 * edge_mm
    wide = np.maximum(radii_mm, least_mm)
    faint = np.minimum(1.0, np.square(radii_mm / wide))
    bins = np.searchsorted(RADII_MM, wide)
    for number in np.unique(bins):
        chosen = np.flatnonzero(bins == number)
        reach = float(wide[chosen].max()) + 0.5 * edge_mm
        offsets = _offsets(grid, reach)
        for part in np.array_split(chosen, max(1, len(chosen) * len(offsets) // CHUNK)):
            _stamp(covered, grid, offsets, centers_xyz[part], wide[part], faint[part])
    return covered


def _offsets(grid: Grid, reach_mm: float) -> NDArray[np.int64]:
    spacing = grid.spacing_mm_zyx
    half = [int(np.ceil(reach_mm / mm)) for mm in spacing]
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in half), indexing="ij"), axis=-1).reshape(-1, 3)
    nearest = np.maximum(np.abs(steps) - 0.5, 0.0) * np.asarray(spacing)
    return np.asarray(steps[np.square(nearest).sum(axis=1) < reach_mm**2], dtype=np.int64)


def _stamp(
    covered: NDArray[np.uint8],
    grid: Grid,
    offsets_zyx: NDArray[np.int64],
    centers_xyz: FloatArray,
    radii_mm: FloatArray,
    faint: FloatArray,
) -> None:
    centers = centers_xyz[:, ::-1]
    base = np.rint(centers).astype(np.int64)
    within = ((base > -40) & (base < np.asarray(grid.shape_zyx) + 40)).all(axis=1)
    base, centers, radii_mm, faint = base[within], centers[within], radii_mm[within], faint[within]
    away = np.zeros((len(base), len(offsets_zyx)), dtype=np.float32)
    flat = np.zeros(away.shape, dtype=np.int64)
    inside = np.ones(away.shape, dtype=bool)
    for axis, (count, mm) in enumerate(zip(grid.shape_zyx, grid.spacing_mm_zyx, strict=True)):
        index = base[:, axis, None] + offsets_zyx[:, axis]
        away += np.square((offsets_zyx[:, axis] - (centers - base)[:, axis, None]) * mm).astype(np.float32)
        inside &= (index >= 0) & (index < count)
        flat = flat * count + index
    edge_mm = grid.spacing_mm_zyx[2]
    value = np.clip((radii_mm[:, None] - np.sqrt(away)) / edge_mm + 0.5, 0.0, 1.0) * faint[:, None]
    inside &= value > 0.01
    np.maximum.at(covered.reshape(-1), flat[inside], (255.0 * value[inside]).astype(np.uint8))
