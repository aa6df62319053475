"""Found nodules as voxels: a label volume on the scan's own grid, each voxel the number of the nodule that it is of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.inference.nodule import FoundNodule
from lungct.io.nifti import write_nifti_planes
from lungct.types import BoolArray, FloatArray, Grid


@dataclass(frozen=True, eq=False)
class Body:
    """A nodule on a grid, by its box along the grid's axes.

    Attributes:
        center, half: (3,) fractional index x, y, z of the middle, and half extents in voxels.
        round: the ellipsoid in the box rather than the box.
    """

    center: FloatArray
    half: FloatArray
    round: bool

    def on_plane(self, z: int, shape_yx: tuple[int, int]) -> tuple[tuple[slice, slice], BoolArray] | None:
        """Where on plane z it may be, and which of these voxels are of it: those whose centre is inside.

        The voxel that holds its middle always is, so that nothing is too small to be seen.
        """
        nearest = np.rint(self.center).astype(int)
        if abs(z - self.center[2]) > self.half[2] and z != nearest[2]:
            return None
        first = np.clip(np.minimum(np.ceil(self.center - self.half).astype(int), nearest)[:2], 0, None)
        last = np.maximum(np.floor(self.center + self.half).astype(int), nearest)[:2]
        last = np.minimum(last, np.asarray(shape_yx[::-1]) - 1)
        if (last < first).any():
            return None
        x, y = (np.arange(first[axis], last[axis] + 1) for axis in (0, 1))
        off = [np.abs(place - self.center[axis]) / self.half[axis] for axis, place in enumerate((x, y, np.array([z])))]
        inside: BoolArray
        if self.round:
            inside = off[1][:, None] ** 2 + off[0] ** 2 + off[2] ** 2 <= 1
        else:
            inside = np.maximum(np.maximum(off[1][:, None], off[0]), off[2]) <= 1
        if z == nearest[2]:
            inside |= (y == nearest[1])[:, None] & (x == nearest[0])
        return (slice(first[1], last[1] + 1), slice(first[0], last[0] + 1)), inside


def bodies(nodules: Sequence[FoundNodule], searched: Grid, target: Grid, shape: str) -> list[Body]:
    """Each nodule on ``target``.

    Its box is, across, the fused one, and along z reaches from its first to its last slice, with their slabs.

    Args:
        searched: the grid that the nodules' boxes and slices count on.
        target: a grid whose axes are those of ``searched`` in any order and sense.
        shape: one of ``LABEL_SHAPES``.
    """
    turn = np.abs(target.direction_matrix.T @ searched.direction_matrix)
    found = []
    for one in nodules:
        x1, y1, x2, y2 = one.box_xyxy_px
        z1, z2 = one.ends_z_px
        center = searched.to_world(((x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5, (z1 + z2) / 2 - 0.5))
        half_px = np.array([x2 - x1, y2 - y1, z2 - z1]) / 2
        half_mm = turn @ (half_px * searched.spacing_mm_zyx[::-1])
        found.append(Body(target.to_index(center), half_mm / target.spacing_mm_zyx[::-1], shape == "ellipsoid"))
    return found


def label_planes(found: Sequence[Body], grid: Grid) -> Iterator[NDArray[Any]]:
    """The (Y, X) planes of the label volume in order: n at the n-th body, the first of them where several overlap."""
    depth, height, width = grid.shape_zyx
    for z in range(depth):
        plane = np.zeros((height, width), number_type(len(found)))
        for number in range(len(found), 0, -1):
            place = found[number - 1].on_plane(z, (height, width))
            if place is not None:
                plane[place[0]][place[1]] = number
        yield plane


def number_type(count: int) -> type[np.generic]:
    """The smallest number type for labels up to ``count``."""
    return np.uint8 if count < 256 else np.uint16


def write_labels(path: Path, nodules: Sequence[FoundNodule], searched: Grid, own: Grid, shape: str) -> None:
    """Write the label volume of a scan on its own grid, in its own index order, plane by plane."""
    found = bodies(nodules, searched, own, shape)
    write_nifti_planes(path, label_planes(found, own), own, number_type(len(found)), durable=False)
