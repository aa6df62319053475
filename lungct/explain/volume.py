"""Heatmaps of slices -> a heat volume on the grid of the scan that the slices came from.

Preprocessing permutes and flips index axes, resamples edge on edge and crops, but never turns: the slices' grid and the
scan's share their directions. A scan voxel therefore has a fractional slice index p along z, and a fractional pixel
along y and x. With maps H_1 ... H_m on the slices z_1 < ... < z_m of one nodule, its heat at p is

    H_i + (p - z_i) / (z_i+1 - z_i) (H_i+1 - H_i)    for z_i <= p <= z_i+1
    H_1 or H_m                                        beyond them by at most half the coarser slice distance
    0                                                 elsewhere

and in the plane each H is interpolated linearly between pixel centres, 0 outside the slice. A 2.5D map lies on the
middle slice of its stack, the one that its box is on. Several nodules are fused by their maximum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungct.ct.geometry import to_canonical
from lungct.ct.resample import place_on
from lungct.types import FloatArray, Grid, Volume


@dataclass(frozen=True, eq=False)
class ExplainedNodule:
    """The maps of one nodule of a scan.

    Attributes:
        slices: m rising indices z of the slices' grid.
        maps: m (Y, X) maps in 0..1 on that grid.
        boxes_xyxy_px: (m, 4) the detection on each slice, pixel edges.
    """

    slices: Sequence[int]
    maps: Sequence[FloatArray]
    boxes_xyxy_px: FloatArray


@dataclass(frozen=True, eq=False)
class Placing:
    """Where the voxels of a scan lie on the grid of its slices.

    Attributes:
        scan: the scan's grid, in its own index order; what volumes are returned on.
        z, y, x: fractional slice, row and column of each voxel of the scan with its axes in canonical order.
        reach: how far beyond its outermost slices a nodule's heat goes, in slices.
    """

    scan: Grid
    z: FloatArray
    y: FloatArray
    x: FloatArray
    reach: float

    @classmethod
    def of(cls, slices: Grid, scan: Grid) -> Placing:
        """Raises ValueError: the grids do not share their directions, so no slice lies flat in the scan."""
        canonical = _canonical(np.broadcast_to(np.float32(0), scan.shape_zyx), scan).grid
        if np.abs(canonical.direction_matrix - slices.direction_matrix).max() > 1e-3:
            raise ValueError("the slices' grid and the scan's have different directions")
        z, y, x = (place_on(slices, canonical, axis) for axis in range(3))
        apart = max(1.0, canonical.spacing_mm_zyx[0] / slices.spacing_mm_zyx[0])
        return cls(scan, z, y, x, apart / 2 + 1e-6)

    def heat(self, nodule: ExplainedNodule, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """(Z, Y, X) float32 heat of one nodule on the scan's grid, its maximum with ``out`` where that is given."""
        volume = np.zeros(self.scan.shape_zyx, np.float32) if out is None else out
        planes = _canonical(volume, self.scan).hu
        rows, columns = (_weights(one, size) for one, size in zip((self.y, self.x), nodule.maps[0].shape, strict=True))
        flat = [rows @ np.asarray(one, np.float32) @ columns.T for one in nodule.maps]
        for k, low, high, part in self._between(nodule.slices):
            plane = flat[low] if low == high else flat[low] + np.float32(part) * (flat[high] - flat[low])
            np.maximum(planes[k], plane, out=planes[k])
        return volume

    def mark(self, nodule: ExplainedNodule, label: int, out: NDArray[np.unsignedinteger]) -> None:
        """Write ``label`` where a voxel of ``out`` is still 0 and lies in the box of the nodule's nearest slice.

        A box between voxel centres takes the voxel nearest to its middle, so that none is lost.
        """
        planes = _canonical(out, self.scan).hu
        for k, low, high, part in self._between(nodule.slices):
            x1, y1, x2, y2 = nodule.boxes_xyxy_px[high if part > 0.5 else low].tolist()
            rows, columns = _within(self.y, y1, y2), _within(self.x, x1, x2)
            part_of = planes[k][rows, columns]
            part_of[part_of == 0] = label

    def _between(self, slices: Sequence[int]) -> Iterable[tuple[int, int, int, float]]:
        """(canonical plane, place of the slice below, of the one above, how far along) where a nodule has heat."""
        last = len(slices) - 1
        for k, p in enumerate(self.z.tolist()):
            if not slices[0] - self.reach <= p <= slices[-1] + self.reach:
                continue
            p = min(max(p, slices[0]), slices[-1])
            low = min(int(np.searchsorted(slices, p, side="right")) - 1, last)
            high = min(low + 1, last)
            yield k, low, high, 0.0 if low == high else (p - slices[low]) / (slices[high] - slices[low])


def fused(placing: Placing, nodules: Iterable[ExplainedNodule]) -> NDArray[np.float32]:
    """(Z, Y, X) float32 on the scan's grid: at each voxel the strongest heat of any nodule."""
    volume = np.zeros(placing.scan.shape_zyx, np.float32)
    for nodule in nodules:
        placing.heat(nodule, volume)
    return volume


def labelled(placing: Placing, nodules: Sequence[ExplainedNodule]) -> NDArray[np.unsignedinteger]:
    """(Z, Y, X) uint8 (uint16 for over 255) on the scan's grid: in the boxes of nodule n its number n, from 1."""
    volume = np.zeros(placing.scan.shape_zyx, np.uint8 if len(nodules) < 256 else np.uint16)
    for label, nodule in enumerate(nodules, 1):
        placing.mark(nodule, label, volume)
    return volume


def _canonical(volume: NDArray, grid: Grid) -> Volume:  # type: ignore[type-arg]
    """A view whose axes grow along left, posterior, superior; writing into it writes into the volume."""
    return to_canonical(Volume(volume, grid))


def _weights(place: FloatArray, pixels: int) -> NDArray[np.float32]:
    """(N, pixels) linear interpolation at N fractional pixels; beyond the outermost centres their value holds to the
    pixels' edges, and outside every weight is 0."""
    inside = (place >= -0.5 - 1e-6) & (place <= pixels - 0.5 + 1e-6)
    clipped = np.clip(place, 0, pixels - 1)
    low = np.minimum(clipped.astype(np.intp), max(pixels - 2, 0))
    part = np.where(inside, clipped - low, 0.0)
    weights = np.zeros((len(place), pixels), np.float32)
    here = np.arange(len(place))
    weights[here, low] = np.where(inside, 1 - part, 0.0)
    weights[here, np.minimum(low + 1, pixels - 1)] += part.astype(np.float32)
    return weights


def _within(place: FloatArray, low_px: float, high_px: float) -> slice:
    """The voxels whose centres lie between two pixel edges, or the nearest one to their middle."""
    found = np.flatnonzero((place + 0.5 >= low_px) & (place + 0.5 < high_px))
    if len(found):
        return slice(int(found[0]), int(found[-1]) + 1)
    nearest = int(np.abs(place + 0.5 - (low_px + high_px) / 2).argmin())
    return slice(nearest, nearest + 1)
