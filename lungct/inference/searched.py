"""Which slices of the model's grid are searched, and the slab of the scan that each of them stands for.

A scan that is coarser along z than the model's grid has several slices of the grid between two of its own. They are
interpolated and show nothing that its own do not, so that of every own slice the nearest one of the grid is searched,
and stands for the slab of that own slice. What lies above and below a searched slice in the network's stack is still
taken at the grid's spacing.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungct.ct.resample import place_on
from lungct.registry import SEARCHED
from lungct.types import FloatArray, Grid

TIE_PX = 1e-6
TOLERANCE_MM = 1e-3
"""By which a distance along z may pass a limit: spacings are written with few digits."""


@dataclass(frozen=True, eq=False)
class Searched:
    """The searched slices of one scan, from the feet up.

    Attributes:
        z: (N,) rising z indices.
        edges_px: (N + 1,) where their slabs meet, in slice edges: slice z of the grid lies from z to z + 1.
    """

    z: tuple[int, ...]
    edges_px: FloatArray

    @classmethod
    def every(cls, depth: int) -> Searched:
        """All slices of a grid."""
        return cls(tuple(range(depth)), np.arange(depth + 1, dtype=np.float64))

    def rank(self, z: int) -> int:
        """How many searched slices lie below z.

        Raises:
            ValueError: z was not searched.
        """
        place = bisect.bisect_left(self.z, z)
        if place == len(self.z) or self.z[place] != z:
            raise ValueError(f"slice {z} was not searched")
        return place

    def slabs(self, slices: Sequence[int]) -> FloatArray:
        """(n, 2) lower and upper edge of the slabs of some of the searched slices."""
        ranks = np.array([self.rank(z) for z in slices])
        return np.stack([self.edges_px[ranks], self.edges_px[ranks + 1]], axis=1)


def searched_slices(own: Grid, grid: Grid, which: str) -> Searched:
    """What is searched of ``grid``, the model's over a scan on the grid ``own``.

    Args:
        which: one of ``registry.SEARCHED``: those nearest to the scan's own slices where these lie further apart, or
            all.
    """
    depth = grid.shape_zyx[0]
    if which != SEARCHED[0] or own.spacing_mm_zyx[0] <= grid.spacing_mm_zyx[0]:
        return Searched.every(depth)
    place = place_on(grid, own, 0)
    # An own slice may lie halfway between two of the grid; rounding must not take the lower one here, the upper there.
    nearest = np.ceil(place - 0.5 - TIE_PX).astype(int)
    edges = place[0] + 0.5 + (np.arange(len(place) + 1) - 0.5) * (own.spacing_mm_zyx[0] / grid.spacing_mm_zyx[0])
    return Searched(tuple(nearest.tolist()), edges)
