"""Find a place for every nodule of a patient: free in the lung, at the pleura or at a vessel, clear of the others."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lungct.phantom.lattice import Float32, Lattice
from lungct.phantom.nodule import reach_mm
from lungct.phantom.sampling import NoduleDraw
from lungct.phantom.vessels import Balls
from lungct.types import FloatArray

GAP_MM = 4.0
SHRINK = 0.85


@dataclass(frozen=True, eq=False)
class Room:
    """Where nodules may go.

    Attributes:
        lattice, lung: signed distance to the lungs' surface, on the lattice.
        points_mm: (N, 3) candidate centres in the lungs, world LPS mm.
        depth_mm: (N,) their depth under the pleura.
        border_mm: (N,) their distance to the volume's border.
        vessels_lps_mm: balls of the vessels, in the world.
    """

    lattice: Lattice
    lung: Float32
    points_mm: FloatArray
    depth_mm: FloatArray
    border_mm: FloatArray
    vessels_lps_mm: Balls

    @classmethod
    def of(cls, lattice: Lattice, lung: Float32, vessels_lps_mm: Balls) -> Room:
        """The room in a chest."""
        index_zyx = np.argwhere(lung > 0.5) * np.asarray(lattice.steps_zyx)
        points = lattice.grid.to_world(index_zyx[:, ::-1].astype(np.float64))
        return cls(
            lattice, lung, points, lung[lung > 0.5].astype(np.float64), _to_border(lattice, points), vessels_lps_mm
        )


def place_nodules(
    room: Room, draws: tuple[NoduleDraw, ...], smallest_mm: float, rng: np.random.Generator
) -> list[tuple[NoduleDraw, FloatArray]]:
    """A centre (world LPS mm) for each nodule; one that fits nowhere shrinks, and is left out below ``smallest_mm``."""
    placed: list[tuple[NoduleDraw, FloatArray]] = []
    for draw in draws:
        now = draw
        while True:
            center = _find(room, now, placed, rng)
            if center is not None:
                placed.append((now, center))
                break
            now = replace(now, diameter_mm=now.diameter_mm * SHRINK)
            if now.diameter_mm < smallest_mm:
                break
    return placed


def _find(
    room: Room, draw: NoduleDraw, placed: list[tuple[NoduleDraw, FloatArray]], rng: np.random.Generator
) -> FloatArray | None:
    radius = draw.diameter_mm / 2
    if draw.place == "vessel-attached":
        points, depth = _beside_vessels(room, radius, rng)
        border = _to_border(room.lattice, points)
    else:
        points, depth, border = room.points_mm, room.depth_mm, room.border_mm
    at_pleura = draw.place == "juxta-pleural"
    near, far = (0.5 * radius + 0.6, 0.9 * radius + 0.6) if at_pleura else (1.2 * radius + 2.0, np.inf)
    fits = (depth >= near) & (depth <= far) & (border > reach_mm(draw) + 1.0)
    for other, taken in placed:
        apart = 1.3 * (radius + other.diameter_mm / 2) + GAP_MM
        fits &= np.linalg.norm(points - taken, axis=1) > apart
    found = np.flatnonzero(fits)
    if len(found) == 0:
        return None
    center: FloatArray = points[found[int(rng.integers(len(found)))]]
    return center


def _beside_vessels(room: Room, radius: float, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    thick = room.vessels_lps_mm.radii_mm
    chosen = np.flatnonzero((thick > 0.8) & (thick < 2.4))
    if len(chosen) == 0:
        return np.zeros((0, 3)), np.zeros(0)
    chosen = rng.choice(chosen, min(len(chosen), 2000), replace=False)
    aside = rng.standard_normal((len(chosen), 3))
    aside *= ((0.8 * radius + thick[chosen]) / np.linalg.norm(aside, axis=1))[:, None]
    points = room.vessels_lps_mm.points_mm[chosen] + aside
    depth = room.lattice.at(room.lung, room.lattice.grid.to_index(points))
    return points, depth


def _to_border(lattice: Lattice, points_lps_mm: FloatArray) -> FloatArray:
    index = lattice.grid.to_index(points_lps_mm)
    last = np.asarray(lattice.grid.shape_zyx[::-1]) - 1
    voxels = np.minimum(index, last - index)
    return np.asarray((voxels * np.asarray(lattice.grid.spacing_mm_zyx[::-1])).min(axis=1))
