"""A nodule in the making, slice by slice, and the 3D nodule that it makes.

A detector's boxes fade out above and below a nodule, often along a vessel. So place, box, extents and diameter are of
the nodule's *core*: its best slice and those round it with at least half of its score, up to where two slices in a row
have less. All slices are remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lungct.inference.searched import Searched
from lungct.io.calibration import Calibration
from lungct.registry import NODULE_SCORES
from lungct.types import FloatArray, Grid, IntArray, Triple

CORE = 0.5
"""Share of the best score from which a slice is of the core."""


@dataclass(frozen=True)
class FoundNodule:
    """One 3D nodule.

    Attributes:
        center_lps_mm: world centre of the score-weighted box.
        size_mm: extents along the scan's own x, y, z axes; z from the first to the last slice of the core, with their
            slabs.
        diameter_mm: of the ball of the volume of the ellipses in the core's boxes, linear between them.
        score: best score of a slice; ``score_mean`` and ``score_fused`` of all, see :mod:`lungct.inference.link`.
        box_xyxy_px: score-weighted, pixel edges.
        ends_z_px: where the slab of the core's first slice begins and that of its last one ends, slice edges.
        slices: z indices on which it was detected, rising; ``slice_scores`` the scores there.
        members: for each of them the place of its detection among the slice's.
        side: ``right`` or ``left`` lung of the patient; empty where that is not known.
    """

    case_id: str
    label: int
    center_lps_mm: Triple
    size_mm: Triple
    diameter_mm: float
    score: float
    score_mean: float
    score_fused: float
    box_xyxy_px: tuple[float, float, float, float]
    ends_z_px: tuple[float, float]
    slices: tuple[int, ...]
    slice_scores: tuple[float, ...]
    members: tuple[int, ...] = ()
    side: str = ""

    def by(self, name: str) -> float:
        """The score of one of ``NODULE_SCORES``."""
        return dict(zip(NODULE_SCORES, (self.score, self.score_mean, self.score_fused), strict=True))[name]

    def calibrated(self, calibration: Calibration) -> FoundNodule:
        """The same nodule with each of its scores brought to a probability; it stays where it is."""
        given = np.asarray([self.score, self.score_mean, self.score_fused, *self.slice_scores], dtype=np.float64)
        peak, mean, fused, *scores = calibration.apply(given).tolist()
        return replace(self, score=peak, score_mean=mean, score_fused=fused, slice_scores=tuple(scores))


@dataclass(eq=False)
class Chain:
    """A nodule in the making: parallel lists, a row per slice, z rising."""

    label: int
    z: list[int]
    boxes: list[FloatArray]
    scores: list[float]
    members: list[int]


def nodule_of(chain: Chain, searched: Searched, grid: Grid, case_id: str) -> FoundNodule:
    """The nodule of a chain whose slices are among the searched ones of ``grid``."""
    scores = np.asarray(chain.scores, dtype=np.float64)
    core = _core(scores, np.array([searched.rank(z) for z in chain.z]))
    boxes, slices = np.asarray(chain.boxes)[core], [chain.z[row] for row in core]
    slabs = searched.slabs(slices)
    # A slice that stands for more of the scan counts for more.
    weight = np.maximum(scores[core], 1e-9) * (slabs[:, 1] - slabs[:, 0])
    x1, y1, x2, y2 = (float(one) for one in np.average(boxes, axis=0, weights=weight))
    z = float(np.average(slices, weights=weight))
    # Pixel edges to voxel centres: the centre of pixel 0 lies half a pixel behind its edge.
    x_mm, y_mm, z_mm = grid.to_world(((x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5, z)).tolist()
    dz, dy, dx = grid.spacing_mm_zyx
    first, last = float(slabs[0, 0]), float(slabs[-1, 1])
    return FoundNodule(
        case_id=case_id,
        label=chain.label,
        center_lps_mm=(x_mm, y_mm, z_mm),
        size_mm=((x2 - x1) * dx, (y2 - y1) * dy, (last - first) * dz),
        diameter_mm=_diameter_mm(boxes, slices, searched, grid.spacing_mm_zyx),
        score=float(scores.max()),
        score_mean=float(scores.mean()),
        score_fused=float(scores.sum()) / (searched.rank(chain.z[-1]) - searched.rank(chain.z[0]) + 1),
        box_xyxy_px=(x1, y1, x2, y2),
        ends_z_px=(first, last),
        slices=tuple(chain.z),
        slice_scores=tuple(chain.scores),
        members=tuple(chain.members),
    )


def _core(scores: FloatArray, ranks: IntArray) -> IntArray:
    """Which rows of a chain are its core."""
    strong = np.flatnonzero(scores >= CORE * scores.max())
    piece = np.concatenate([[0], np.cumsum(np.diff(ranks[strong]) > 2)])
    rows: IntArray = strong[piece == piece[scores[strong].argmax()]]
    return rows


def _diameter_mm(boxes_xyxy_px: FloatArray, slices: Sequence[int], searched: Searched, spacing_mm_zyx: Triple) -> float:
    z_mm, y_mm, x_mm = spacing_mm_zyx
    area_mm2 = np.pi / 4 * (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]).prod(axis=1) * y_mm * x_mm
    every = searched.z[searched.rank(slices[0]) : searched.rank(slices[-1]) + 1]
    thick_mm = np.diff(searched.slabs(every), axis=1)[:, 0] * z_mm
    volume_mm3 = float(np.interp(every, slices, area_mm2) @ thick_mm)
    return float(np.cbrt(6 / np.pi * volume_mm3))
