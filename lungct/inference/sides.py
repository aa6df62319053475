"""In which lung a found nodule lies, by a mask that has 1 in the patient's right lung and 2 in the left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.ct.sides import LEFT, RIGHT
from lungct.types import Grid, Planes, Triple

REACH_MM = 15.0
"""How far outside the mask a nodule may lie: at the pleura and the hilum masks leave some out."""
NAMES = {RIGHT: "right", LEFT: "left"}


def sides_of(centers_lps_mm: Iterable[Triple], mask: Planes) -> list[str]:
    """``right``, ``left`` or nothing for each centre: that of the nearest voxel of a lung within ``REACH_MM``."""
    grid = mask.grid
    centers = [grid.to_index(one) for one in centers_lps_mm]
    reach = REACH_MM / np.asarray(grid.spacing_mm_zyx[::-1])
    nearest = [(np.inf, "")] * len(centers)
    for z in range(grid.shape_zyx[0]):
        near = [number for number, one in enumerate(centers) if abs(one[2] - z) <= reach[2]]
        if not near:
            continue
        plane = mask.read(z)
        for number in near:
            found = _nearest(plane, z, centers[number], reach, grid)
            nearest[number] = min(nearest[number], found)
    return [name if apart <= REACH_MM else "" for apart, name in nearest]


def _nearest(plane: NDArray[Any], z: int, center: NDArray[Any], reach: NDArray[Any], grid: Grid) -> tuple[float, str]:
    """Distance in mm and side of the voxel of a lung on plane z that lies nearest."""
    first = np.clip(np.ceil(center - reach).astype(int), 0, None)
    last = np.clip(np.floor(center + reach).astype(int) + 1, 0, None)
    part = plane[first[1] : last[1], first[0] : last[0]]
    best = (np.inf, "")
    for label, name in NAMES.items():
        y, x = np.nonzero(part == label)
        if len(x):
            away = np.stack([x + first[0], y + first[1], np.full(len(x), z)], axis=1) - center
            apart = np.linalg.norm(away * grid.spacing_mm_zyx[::-1], axis=1)
            best = min(best, (float(apart.min()), name))
    return best
