"""Nodules of the world -> the slices they span and their box on those slices; index boxes -> boxes of the world."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lungct.ct.geometry import half_extents_index
from lungct.types import FloatArray, Grid, Nodule, Triple

ROUNDING = 1e-6


@dataclass(frozen=True)
class Footprint:
    """Where a nodule lies on an LPS-canonical grid.

    Attributes:
        nodule_id: of the nodule.
        z_first, z_last: the slices whose centre plane cuts its box, both included, within the scan.
        center_index: fractional voxel index (x, y, z), centres at whole numbers; may lie outside the scan.
        half_index: half extents in voxels along x, y, z.
        box_xyxy_px: its full in-plane box, pixel edges, clipped to the image.
    """

    nodule_id: str
    z_first: int
    z_last: int
    center_index: tuple[float, float, float]
    half_index: tuple[float, float, float]
    box_xyxy_px: tuple[float, float, float, float]

    def spans(self, z: int) -> bool:
        """Whether slice ``z`` cuts the box."""
        return self.z_first <= z <= self.z_last


def footprint(nodule: Nodule, grid: Grid) -> Footprint | None:
    """The footprint of a nodule, None where its box misses the scan.

    A box thinner than the slice spacing that lies between two slice planes spans the one nearest to its centre.
    """
    center = grid.to_index(nodule.center_lps_mm)
    half = half_extents_index(nodule.size_mm, grid)
    first = math.ceil(center[2] - half[2] - ROUNDING)
    last = math.floor(center[2] + half[2] + ROUNDING)
    if first > last:
        first = last = math.floor(center[2] + 0.5)
    first, last = max(first, 0), min(last, grid.shape_zyx[0] - 1)
    box = _clipped_box(center, half, grid)
    if first > last or box[0] >= box[2] or box[1] >= box[3]:
        return None
    x, y, z = (float(value) for value in center)
    half_x, half_y, half_z = (float(value) for value in half)
    return Footprint(nodule.nodule_id, first, last, (x, y, z), (half_x, half_y, half_z), box)


def world_box(low_xyz: FloatArray, high_xyz: FloatArray, grid: Grid) -> tuple[Triple, Triple]:
    """Centre and full extents (LPS mm, along world x, y, z) of the box between two corners in voxel indices.

    As in :func:`~lungct.ct.geometry.half_extents_index` the nodule is taken for the ellipsoid inscribed in the box, so
    on oblique axes the box does not grow by the corners of a turned one. There and back is exact for spheres and for
    grids along the axes; a flat ellipsoid on an oblique grid comes back thicker, as three extents do not tell its turn.
    """
    center = grid.to_world((low_xyz + high_xyz) / 2)
    half_mm = (high_xyz - low_xyz) / 2 * np.asarray(grid.spacing_mm_zyx[::-1])
    size = 2 * np.linalg.norm(grid.direction_matrix * half_mm, axis=1)
    return (float(center[0]), float(center[1]), float(center[2])), (float(size[0]), float(size[1]), float(size[2]))


def is_cut(place: Footprint, grid: Grid) -> bool:
    """Whether a part of the nodule's box lies outside the scan."""
    center, half = np.asarray(place.center_index), np.asarray(place.half_index)
    last = np.asarray(grid.shape_zyx[::-1]) - 0.5
    return bool((center - half < -0.5 - ROUNDING).any() or (center + half > last + ROUNDING).any())


def _clipped_box(center: FloatArray, half: FloatArray, grid: Grid) -> tuple[float, float, float, float]:
    """Pixel i has its centre at i + .5 in edge coordinates."""
    size = np.asarray(grid.shape_zyx[:0:-1])
    low = np.clip(center[:2] - half[:2] + 0.5, 0, size)
    high = np.clip(center[:2] + half[:2] + 0.5, 0, size)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
