"""A coarse lattice over a scan's grid: smooth geometry is computed at its few points and upsampled slice by slice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungct.types import FloatArray, Grid

Float32 = NDArray[np.float32]
STEP_MM = 3.6


@dataclass(frozen=True)
class Lattice:
    """Every n-th voxel of a grid along each axis, reaching one step past its last voxel.

    Attributes:
        grid: the fine grid.
        steps_zyx: fine voxels per lattice step.
        shape_zyx: number of lattice points.
    """

    grid: Grid
    steps_zyx: tuple[int, int, int]
    shape_zyx: tuple[int, int, int]

    @classmethod
    def over(cls, grid: Grid, step_mm: float = STEP_MM) -> Lattice:
        """The lattice over ``grid`` whose points lie at most about ``step_mm`` apart."""
        steps = tuple(max(1, round(step_mm / spacing)) for spacing in grid.spacing_mm_zyx)
        shape = tuple(math.ceil((n - 1) / step) + 1 for n, step in zip(grid.shape_zyx, steps, strict=True))
        return cls(grid, steps, shape)  # type: ignore[arg-type]

    @property
    def spacing_mm_zyx(self) -> tuple[float, ...]:
        """Distance between lattice points along each array axis, mm."""
        return tuple(step * mm for step, mm in zip(self.steps_zyx, self.grid.spacing_mm_zyx, strict=True))

    def points_lps_mm(self, offset_lps_mm: FloatArray) -> tuple[Float32, Float32, Float32]:
        """World x, y, z minus an offset at every lattice point: three (Z, Y, X) float32 arrays, mm."""
        affine = self.grid.affine_lps
        z, y, x = (np.arange(n) * step for n, step in zip(self.shape_zyx, self.steps_zyx, strict=True))
        found = []
        for row, shift in zip(affine[:3], np.asarray(offset_lps_mm), strict=True):
            plane = row[1] * y[:, None] + row[0] * x + (row[3] - shift)
            found.append((row[2] * z[:, None, None] + plane).astype(np.float32))
        return found[0], found[1], found[2]

    def at(self, field: Float32, index_xyz: FloatArray) -> FloatArray:
        """(N,) values of a lattice field at (N, 3) fractional fine voxel indices, trilinear, held at the border."""
        where = np.asarray(index_xyz)[:, ::-1].T / np.asarray(self.steps_zyx)[:, None]
        found: FloatArray = ndimage.map_coordinates(field, where, order=1, mode="nearest")
        return found

    def distance_like(self, field: Float32) -> Float32:
        """A level-set function divided by its slope: about the signed distance to its zero surface, mm."""
        with np.errstate(all="ignore"):
            slopes = np.gradient(field, *self.spacing_mm_zyx) if min(field.shape) > 1 else [np.ones_like(field)]
        steep = np.sqrt(sum(np.square(one) for one in slopes))
        return np.asarray(np.clip(field / np.maximum(steep, 1e-4), -80, 80), dtype=np.float32)


class Upsampler:
    """Linear interpolation of lattice fields to one fine slice at a time; elementwise, so the same bits everywhere."""

    def __init__(self, lattice: Lattice) -> None:
        """Prepare the indices and weights of each axis."""
        axes = zip(lattice.grid.shape_zyx, lattice.steps_zyx, lattice.shape_zyx, strict=True)
        self._z, self._y, self._x = (_weights(n, step, coarse) for n, step, coarse in axes)

    def slice_at(self, field: Float32, z_index: int) -> Float32:
        """(Y, X) float32 values of a (Z, Y, X) lattice field on the fine slice ``z_index``."""
        low, high, weight = self._z
        plane = field[low[z_index]] + weight[z_index] * (field[high[z_index]] - field[low[z_index]])
        low, high, weight = self._y
        rows = plane[low] + weight[:, None] * (plane[high] - plane[low])
        low, high, weight = self._x
        left = np.take(rows, low, axis=1)
        right = np.take(rows, high, axis=1)
        right -= left
        right *= weight
        right += left
        return np.asarray(right, dtype=np.float32)


def _weights(count: int, step: int, coarse: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Float32]:
    place = np.arange(count) / step
    low = np.minimum(place.astype(np.intp), coarse - 1)
    return low, np.minimum(low + 1, coarse - 1), (place - low).astype(np.float32)
