"""The axial planes of a scan one after the other, in LPS-canonical order within the plane and on any grid along z.

A file may hold its slices from the feet up or from the head down, and going through it the other way would cost its
whole memory: planes come in the order in which they are stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lungct.ct.geometry import to_canonical
from lungct.ct.hu import clip_hu
from lungct.ct.resample import planes_on
from lungct.types import Grid, Planes, Volume


@dataclass(frozen=True, eq=False)
class Axial:
    """A scan as axial planes.

    Attributes:
        grid: index axes x, y, z nearest to and growing along left, posterior, superior.
        from_head: whether the planes come from the head down.
        stored: the planes, in the order in which they come; z of ``grid`` is their number, or counts down.
    """

    grid: Grid
    from_head: bool
    stored: Planes

    @property
    def order(self) -> range:
        """The z of each plane in the order in which they come."""
        depth = self.grid.shape_zyx[0]
        return range(depth - 1, -1, -1) if self.from_head else range(depth)

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Every z and its (Y, X) plane."""
        for number, z in enumerate(self.order):
            yield z, self.stored.read(number)


def axial(planes: Planes) -> Axial:
    """The axial planes of a scan; one that is stored as sagittal or coronal planes is read as a whole."""
    depth, height, width = planes.grid.shape_zyx
    blank = np.broadcast_to(np.int16(0), planes.grid.shape_zyx)
    canonical = to_canonical(Volume(blank, planes.grid)).grid
    z_axis = planes.grid.direction_matrix[:, 2]
    along = float(z_axis @ canonical.direction_matrix[:, 2])
    if abs(along) < 0.5:
        whole = np.stack([planes.read(z) for z in range(depth)])
        turned = to_canonical(Volume(whole, planes.grid))
        return Axial(turned.grid, False, Planes(turned.grid, turned.hu.__getitem__))
    flat = replace(planes.grid, shape_zyx=(1, height, width))

    def read(number: int) -> NDArray[Any]:
        plane: NDArray[Any] = to_canonical(Volume(planes.read(number)[None], flat)).hu[0]
        return plane

    return Axial(canonical, along < 0, Planes(canonical if along > 0 else upside_down(canonical), read))


def upside_down(grid: Grid) -> Grid:
    """The same voxels counted from the other end of z."""
    origin = grid.to_world((0.0, 0.0, grid.shape_zyx[0] - 1.0))
    direction = grid.direction_matrix * [1, 1, -1]
    x, y, z = (float(one) for one in origin)
    return replace(grid, origin_lps_mm=(x, y, z), direction=tuple((direction + 0.0).ravel().tolist()))


def on_grid(scan: Axial, grid: Grid, hu_clip: tuple[int, int]) -> Iterator[NDArray[np.int16]]:
    """The (Y, X) int16 planes of a scan on a grid of its directions, in the order in which its own planes come.

    The values are those of :func:`lungct.ct.resample.resample`: linear, clipped, rounded.
    """
    if grid == scan.grid:
        for _, plane in scan:
            yield clip_hu(plane, hu_clip)
        return
    target = upside_down(grid) if scan.from_head else grid
    source = Volume(cast(NDArray[Any], _Passing(scan.stored)), scan.stored.grid)
    for plane in planes_on(source, target, lowest=hu_clip[0]):
        clipped = np.clip(plane, *hu_clip)
        yield np.rint(clipped, out=clipped).astype(np.int16)


class _Passing:
    """Planes under the face of a (Z, Y, X) array, of which the last two that were read stay at hand."""

    def __init__(self, planes: Planes) -> None:
        self.shape, self._read = planes.grid.shape_zyx, planes.read
        self._held: deque[tuple[int, NDArray[Any]]] = deque(maxlen=2)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, z: int) -> NDArray[Any]:
        last = self._held[-1][0] if self._held else -1
        for number in range(last + 1, z + 1):
            self._held.append((number, self._read(number)))
        return next(plane for number, plane in self._held if number == z)


def stacks(
    planes: Iterator[NDArray[np.int16]], order: range, context: int, wanted: Collection[int] | None = None
) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """Every z of ``order`` with its (C, Y, X) stack, as :func:`lungct.ct.stack.stack` cuts it, from planes in order.

    Args:
        wanted: the z to give; all if left out.
    """
    half, depth = context // 2, len(order)
    held: deque[NDArray[np.int16]] = deque(maxlen=context)
    read = 0
    for number, z in enumerate(order):
        while read < min(number + half + 1, depth):
            held.append(next(planes))
            read += 1
        if wanted is not None and z not in wanted:
            continue
        places = np.clip(np.arange(number - half, number + half + 1), 0, depth - 1) - (read - len(held))
        stacked = np.stack([held[index] for index in places])
        yield z, stacked[::-1] if order.step < 0 else stacked
