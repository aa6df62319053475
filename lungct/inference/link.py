"""Slice detections of one scan -> 3D nodules: boxes that overlap from slice to slice are one nodule.

Slices are taken from the feet up. On each slice the open nodules and the detections are paired one to one, largest
overlap of the nodule's last box and the detection first, of equals the nearest in place; a detection that finds no
nodule opens one. A nodule stays open while its last slice is at most ``gap_mm`` away, so a slice on which the detector
missed it does not cut it in two, and two nodules that pass each other stay two. Different categories never meet.

The boxes of a nodule are fused as by several detectors, each slice from its first to its last being one of N: with
scores s_i, boxes b_i and slice indices z_i

    box = sum(s_i b_i) / sum(s_i),    z = sum(s_i z_i) / sum(s_i),    fused score = sum(s_i) / N,

so that slices on which it was missed count against it. The best score and the mean of the s_i are kept, too.

Source of the fusion: Solovyev 2021, section 3.2, with slices in place of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lungct.io.calibration import Calibration
from lungct.registry import NODULE_SCORES
from lungct.types import Detections, FloatArray, Grid, Triple

TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class LinkOptions:
    """When two boxes are one nodule.

    Attributes:
        by: ``iou``, or ``ios`` for the intersection over the smaller box, which a nodule's small end keeps high.
        overlap: the least overlap.
        gap_mm: largest distance of two slices that follow each other in a nodule; neighbouring slices always may.
    """

    by: str = "ios"
    overlap: float = 0.5
    gap_mm: float = 2.5


@dataclass(frozen=True)
class FoundNodule:
    """One 3D nodule.

    Attributes:
        center_lps_mm: world centre of the score-weighted box.
        size_mm: extents along the scan's own x, y, z axes; z from the first to the last slice, both included.
        diameter_mm: of the ball of the volume of the ellipses in its slices' boxes, linear between them.
        score: best score of a slice; ``score_mean`` and ``score_fused`` as the module says.
        box_xyxy_px: score-weighted, pixel edges.
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
class _Chain:
    """A nodule in the making: parallel lists, a row per slice."""

    label: int
    z: list[int]
    boxes: list[FloatArray]
    scores: list[float]
    members: list[int]


def link(
    detections: Mapping[int, Detections], grid: Grid, options: LinkOptions | None = None, *, case_id: str = ""
) -> list[FoundNodule]:
    """The 3D nodules of one scan, best first.

    Args:
        detections: z index -> what was detected there; slices without a detection may be left out.
        grid: of the volume the slices were cut from, x and y of the boxes along its index axes.
    """
    options = options or LinkOptions()
    spacing_mm = grid.spacing_mm_zyx[0]
    reach_mm = max(options.gap_mm, spacing_mm) + TOLERANCE_MM
    done: list[_Chain] = []
    alive: list[_Chain] = []
    for z in sorted(detections):
        near = [(z - chain.z[-1]) * spacing_mm <= reach_mm for chain in alive]
        done += [chain for chain, stays in zip(alive, near, strict=True) if not stays]
        alive = [chain for chain, stays in zip(alive, near, strict=True) if stays]
        alive += _extend(alive, detections[z], z, options)
    nodules = [_nodule_of(chain, grid, case_id) for chain in done + alive]
    return sorted(nodules, key=lambda one: (-one.score, one.slices, one.box_xyxy_px))


def _extend(alive: list[_Chain], found: Detections, z: int, options: LinkOptions) -> list[_Chain]:
    """Give each open nodule at most one detection of slice z; the rest open nodules, which are returned."""
    boxes = np.asarray(found.boxes_xyxy_px, dtype=np.float64).reshape(-1, 4)
    lasts = np.asarray([chain.boxes[-1] for chain in alive], dtype=np.float64).reshape(-1, 4)
    overlap = overlaps(lasts, boxes, options.by)
    same = np.asarray([chain.label for chain in alive], dtype=int)[:, None] == np.asarray(found.labels)[None]
    rows, columns = np.nonzero(same & (overlap > 0) & (overlap >= options.overlap))
    gap = np.asarray([z - chain.z[-1] for chain in alive], dtype=int)
    shift = np.abs((lasts[rows] - boxes[columns]) @ (np.tile(np.eye(2), (2, 1)) / 2)).sum(axis=1)
    order = np.lexsort((columns, rows, shift, gap[rows], -overlap[rows, columns]))
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row in used_rows or column in used_columns:
            continue
        used_rows.add(row)
        used_columns.add(column)
        alive[row].z.append(z)
        alive[row].boxes.append(boxes[column])
        alive[row].scores.append(float(found.scores[column]))
        alive[row].members.append(column)
    left = [column for column in range(len(boxes)) if column not in used_columns]
    return [_Chain(int(found.labels[one]), [z], [boxes[one]], [float(found.scores[one])], [one]) for one in left]


def overlaps(a_xyxy: FloatArray, b_xyxy: FloatArray, by: str) -> FloatArray:
    """(A, B) overlap of (A, 4) and (B, 4) boxes: ``iou``, or ``ios`` over the smaller area."""
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area_a, area_b = ((one[:, 2] - one[:, 0]) * (one[:, 3] - one[:, 1]) for one in (a_xyxy, b_xyxy))
    smaller, union = np.minimum(area_a[:, None], area_b[None]), area_a[:, None] + area_b[None] - shared
    whole = smaller if by == "ios" else union
    ratio: FloatArray = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return ratio


def _nodule_of(chain: _Chain, grid: Grid, case_id: str) -> FoundNodule:
    boxes, weight = np.asarray(chain.boxes), np.maximum(np.asarray(chain.scores), 1e-9)
    x1, y1, x2, y2 = (float(one) for one in np.average(boxes, axis=0, weights=weight))
    z = float(np.average(chain.z, weights=weight))
    # Pixel edges to voxel centres: the centre of pixel 0 lies half a pixel behind its edge.
    x_mm, y_mm, z_mm = grid.to_world(((x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5, z)).tolist()
    dz, dy, dx = grid.spacing_mm_zyx
    return FoundNodule(
        case_id=case_id,
        label=chain.label,
        center_lps_mm=(x_mm, y_mm, z_mm),
        size_mm=((x2 - x1) * dx, (y2 - y1) * dy, (chain.z[-1] - chain.z[0] + 1) * dz),
        diameter_mm=_diameter_mm(boxes, chain.z, grid.spacing_mm_zyx),
        score=max(chain.scores),
        score_mean=float(np.mean(chain.scores)),
        score_fused=float(np.sum(chain.scores)) / (chain.z[-1] - chain.z[0] + 1),
        box_xyxy_px=(x1, y1, x2, y2),
        slices=tuple(chain.z),
        slice_scores=tuple(chain.scores),
        members=tuple(chain.members),
    )


def _diameter_mm(boxes_xyxy_px: FloatArray, slices: Sequence[int], spacing_mm_zyx: Triple) -> float:
    z_mm, y_mm, x_mm = spacing_mm_zyx
    area_mm2 = np.pi / 4 * (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]).prod(axis=1) * y_mm * x_mm
    every = np.arange(slices[0], slices[-1] + 1)
    volume_mm3 = float(np.interp(every, slices, area_mm2).sum()) * z_mm
    return float(np.cbrt(6 / np.pi * volume_mm3))
