"""Branching trees of arteries, veins and airways that grow from the hila into the lungs, as balls on centre lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungct.phantom.lattice import Float32, Lattice
from lungct.types import FloatArray

MURRAY = 2.6
"""Exponent of the radii at a branching, r0^n = r1^n + r2^n; 3 for least work (Murray 1926), lower measured in lungs."""


@dataclass(frozen=True, eq=False)
class Balls:
    """Dense balls whose union is a set of tubes: (N, 3) centres in the patient frame, mm, and (N,) radii, mm."""

    points_mm: FloatArray
    radii_mm: FloatArray

    @classmethod
    def joined(cls, parts: list[Balls]) -> Balls:
        """All of them in one."""
        return cls(np.concatenate([one.points_mm for one in parts]), np.concatenate([one.radii_mm for one in parts]))


def grow_vessels(
    rng: np.random.Generator, lattice: Lattice, lung: Float32, points: tuple[Float32, Float32, Float32]
) -> tuple[Balls, Balls]:
    """Vessels and airways of both lungs.

    Args:
        lung: signed distance to the lungs' surface on the lattice.
        points: the lattice's points in the patient frame.

    Returns:
        The vessels, and the lumina of the airways (their walls are one wall thickness outside).
    """
    vessels, airways = [], [_trachea()]
    cell_ml = float(np.prod(lattice.spacing_mm_zyx)) / 1000.0
    for side in (-1.0, 1.0):
        flat = np.flatnonzero((lung > 4.0) & (points[0] * side > 0.0))
        inside = np.stack([one.ravel()[flat] for one in points], axis=1).astype(np.float64)
        volume_ml = len(flat) * cell_ml
        arteries = _tree(rng, inside, np.array([[side * 12, -8, -4], [side * 34, 4, -8]]), int(0.24 * volume_ml))
        veins = _tree(rng, inside, np.array([[side * 16, 6, -26], [side * 32, 4, -22]]), int(0.16 * volume_ml))
        for nodes, parents, radii in (arteries, veins):
            vessels.append(_centre_lines(nodes, parents, radii))
        airways.append(_beside(_centre_lines(*_thick_part(arteries, 1.15))))
    return Balls.joined(vessels), Balls.joined(airways)


def _tree(
    rng: np.random.Generator, inside: FloatArray, stem: FloatArray, leaves: int
) -> tuple[FloatArray, NDArray[np.intp], FloatArray]:
    """Grow outwards: each new end joins the node that makes its way from the root short and its bend gentle."""
    if len(inside) < 4 or leaves < 1:
        return stem, np.array([0, 0]), np.array([2.0, 1.8])
    ends = inside[rng.choice(len(inside), min(leaves, len(inside)), replace=False)]
    ends = np.concatenate([ends + rng.uniform(-1.5, 1.5, ends.shape), _scaffold(rng, inside, stem[1])])
    ends = ends[np.argsort(np.linalg.norm(ends - stem[1], axis=1), kind="stable")]
    nodes = np.concatenate([stem, ends])
    parents = np.zeros(len(nodes), dtype=np.intp)
    way = np.zeros(len(nodes))
    heading = np.zeros_like(nodes)
    way[1] = np.linalg.norm(stem[1] - stem[0])
    heading[1] = (stem[1] - stem[0]) / way[1]
    for new in range(2, len(nodes)):
        apart = nodes[new] - nodes[1:new]
        length = np.linalg.norm(apart, axis=1) + 1e-6
        bend = 1.0 - np.einsum("ij,ij->i", apart, heading[1:new]) / length
        best = int(np.argmin(length * (1.0 + 0.9 * bend) + 0.4 * way[1:new]))
        parents[new], way[new] = best + 1, way[best + 1] + length[best]
        heading[new] = apart[best] / length[best]
    return nodes, parents, _radii(rng, parents)


def _scaffold(rng: np.random.Generator, inside: FloatArray, root: FloatArray) -> FloatArray:
    """Lobar and segmental nodes part of the way to random ends, so that ways are shared and first branches thick."""
    parts = [
        root + share * (rng.permutation(inside)[:count] - root) for share, count in ((0.3, 5), (0.55, 12), (0.75, 24))
    ]
    return np.concatenate(parts)


def _radii(rng: np.random.Generator, parents: NDArray[np.intp]) -> FloatArray:
    ends_below = np.zeros(len(parents))
    has_child = np.zeros(len(parents), dtype=bool)
    has_child[parents[1:]] = True
    ends_below[~has_child] = 1.0
    for node in range(len(parents) - 1, 0, -1):
        ends_below[parents[node]] += ends_below[node]
    tip = 0.50 * rng.uniform(0.85, 1.15)
    return np.asarray(np.minimum(tip * ends_below ** (1.0 / MURRAY), 6.5))


def _thick_part(
    tree: tuple[FloatArray, NDArray[np.intp], FloatArray], radius_mm: float
) -> tuple[FloatArray, NDArray[np.intp], FloatArray]:
    nodes, parents, radii = tree
    keep = radii >= radius_mm
    keep[:2] = True
    number = np.cumsum(keep) - 1
    return nodes[keep], number[parents[keep]], radii[keep]


def _centre_lines(nodes: FloatArray, parents: NDArray[np.intp], radii: FloatArray) -> Balls:
    """Hermite curves along the edges, tapering from the parent's radius to the node's."""
    child = np.arange(1, len(nodes))
    parent = parents[1:]
    chord = nodes[child] - nodes[parent]
    length = np.linalg.norm(chord, axis=1)
    before = np.where((parent == 0)[:, None], chord, nodes[parent] - nodes[parents[parent]])
    leave = before / np.maximum(np.linalg.norm(before, axis=1, keepdims=True), 1e-6) * length[:, None]
    thin, thick = radii[child], np.minimum(radii[parent], 1.25 * radii[child])
    steps = np.ceil(length / np.clip(0.6 * thin, 0.45, 2.0)).astype(np.intp) + 1
    edge = np.repeat(np.arange(len(child)), steps)
    t = (np.arange(len(edge)) - np.repeat(np.cumsum(steps) - steps, steps) + 1.0) / steps[edge]
    t = t[:, None]
    start, end, out, to = nodes[parent][edge], nodes[child][edge], leave[edge], chord[edge]
    points = (2 * t**3 - 3 * t**2 + 1) * start + (t**3 - 2 * t**2 + t) * 0.8 * out
    points += (3 * t**2 - 2 * t**3) * end + (t**3 - t**2) * to
    return Balls(points, thick[edge] + t[:, 0] * (thin - thick)[edge])


def _beside(arteries: Balls) -> Balls:
    """Airways run beside the arteries, about as wide as they are."""
    lumen = 0.85 * arteries.radii_mm
    aside = np.array([0.45, 0.55, 0.70])
    return Balls(arteries.points_mm + aside * (arteries.radii_mm + lumen + 0.6)[:, None], lumen)


def _trachea() -> Balls:
    t = np.linspace(0, 1, 120)[:, None]
    tube = np.concatenate([np.array([0.0, 0.0, 150.0]) * (1 - t) + np.array([1.0, 12.0, 22.0]) * t])
    radii = np.full(120, 8.5)
    for side in (-1.0, 1.0):
        t = np.linspace(0, 1, 50)[:, None]
        tube = np.concatenate([tube, np.array([1.0, 12, 22]) * (1 - t) + np.array([side * 40, 12, -2 + 4 * side]) * t])
        radii = np.concatenate([radii, np.linspace(6.8, 4.6, 50)])
    return Balls(tube, radii)
