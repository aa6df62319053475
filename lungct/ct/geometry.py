"""Orientation of index axes, the edge-aligned resampling grid, and how far a box reaches along oblique axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lungct.types import FloatArray, Grid, Triple, Volume


def to_canonical(volume: Volume) -> Volume:
    """The same voxels with index axes x, y, z nearest to and growing along left, posterior, superior.

    Axes are permuted and flipped, never interpolated: every voxel keeps its place in the world and obliqueness stays.
    The array is a view.
    """
    direction = volume.grid.direction_matrix
    axes = _nearest_axes(direction)
    signs = np.sign([direction[world, axes[world]] for world in range(3)])
    hu = volume.hu.transpose([2 - axes[2], 2 - axes[1], 2 - axes[0]])
    hu = hu[tuple(slice(None, None, -1 if signs[world] < 0 else 1) for world in (2, 1, 0))]
    spacing_xyz = np.asarray(volume.grid.spacing_mm_zyx[::-1])
    shape_xyz = np.asarray(volume.grid.shape_zyx[::-1])
    first = np.zeros(3)
    first[list(axes)] = np.where(signs < 0, shape_xyz[list(axes)] - 1, 0)
    new_direction = direction[:, list(axes)] * signs
    grid = Grid(
        (hu.shape[0], hu.shape[1], hu.shape[2]),
        _triple(spacing_xyz[list(axes)][::-1]),
        _triple(volume.grid.to_world(first)),
        tuple((new_direction + 0.0).ravel().tolist()),
    )
    return Volume(hu, grid)


def _nearest_axes(direction: FloatArray) -> tuple[int, int, int]:
    """For each world axis the index axis that stands for it: the permutation of largest total alignment."""
    permutations = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    return max(permutations, key=lambda p: sum(abs(direction[world, p[world]]) for world in range(3)))


def resampled_grid(grid: Grid, spacing_mm_zyx: Triple) -> Grid:
    """The grid of another spacing over the same extent, edge on edge.

    The outer edge of the first voxel stays where it is, so the origin (a voxel *centre*) moves by half the difference
    of the spacings; along each axis as many voxels as come nearest to the old extent, at least one.
    """
    old, new = np.asarray(grid.spacing_mm_zyx), np.asarray(spacing_mm_zyx, dtype=np.float64)
    shape = np.maximum(1, np.rint(np.asarray(grid.shape_zyx) * old / new)).astype(int)
    shift_xyz = ((new - old) / 2)[::-1]
    origin = np.asarray(grid.origin_lps_mm) + grid.direction_matrix @ shift_xyz
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), _triple(new), _triple(origin), grid.direction)


def cropped(volume: Volume, box_zyx: Sequence[slice]) -> Volume:
    """The voxels within a box of whole, non-negative indices, where they were in the world; the array is a view.

    A step in the box leaves voxels out and widens the spacing.
    """
    z, y, x = (one.indices(size) for one, size in zip(box_zyx, volume.grid.shape_zyx, strict=True))
    hu = volume.hu[tuple(box_zyx)]
    spacing = np.asarray(volume.grid.spacing_mm_zyx) * (z[2], y[2], x[2])
    origin = volume.grid.to_world((x[0], y[0], z[0]))
    return Volume(
        hu, Grid((hu.shape[0], hu.shape[1], hu.shape[2]), _triple(spacing), _triple(origin), volume.grid.direction)
    )


def half_extents_index(size_mm: Triple, grid: Grid) -> FloatArray:
    """(3,) half extents, in voxels along index x, y, z, of a nodule whose box has ``size_mm`` along world x, y, z.

    A nodule is the ellipsoid inscribed in its world box; its reach along a unit vector u is sqrt(sum((half_i u_i)^2)),
    which for index axes along the world's is the box's own half extent, and for oblique ones does not grow by the
    corners that a turned box would have.
    """
    half = np.asarray(size_mm, dtype=np.float64) / 2
    reach_mm: FloatArray = np.linalg.norm(half[:, None] * grid.direction_matrix, axis=0)
    reach_mm /= np.asarray(grid.spacing_mm_zyx[::-1])
    return reach_mm


def _triple(values: FloatArray) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z
