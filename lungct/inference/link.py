"""Slice detections of one scan -> 3D nodules: boxes that overlap from slice to slice are one nodule.

Slices are taken from the feet up. On each slice the open nodules and the detections are paired one to one, largest
overlap of the nodule's last box and the detection first, of equals the nearest in place; a detection that finds no
nodule opens one. A nodule stays open while its last slice is at most ``gap_mm`` away, so a slice on which the detector
missed it does not cut it in two, and two nodules that pass each other stay two. Different categories never meet.
Parts of one nodule may then be joined, see :mod:`lungct.inference.join`.

The boxes of a nodule are fused as by several detectors, each searched slice from its first to its last being one of N:
with scores s_i, boxes b_i and slice indices z_i

    box = sum(s_i b_i) / sum(s_i),    z = sum(s_i z_i) / sum(s_i),    fused score = sum(s_i) / N,

the box and z over the core of the nodule, see :mod:`lungct.inference.nodule`, each slice as often as its slab is thick.
Slices on which it was missed count against the fused score. The best score and the mean of the s_i are kept, too.

Source of the fusion: Solovyev 2021, section 3.2, with slices in place of models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lungct.inference.join import JoinOptions, joined
from lungct.inference.nodule import Chain, FoundNodule, nodule_of
from lungct.inference.searched import TOLERANCE_MM, Searched
from lungct.types import Detections, FloatArray, Grid


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


def link(
    detections: Mapping[int, Detections],
    grid: Grid,
    options: LinkOptions | None = None,
    *,
    join: JoinOptions | None = None,
    case_id: str = "",
    searched: Searched | None = None,
) -> list[FoundNodule]:
    """The 3D nodules of one scan, best first.

    Args:
        detections: z index -> what was detected there; slices without a detection may be left out.
        grid: of the volume the slices were cut from, x and y of the boxes along its index axes.
        join: how parts of one nodule are then joined, see :mod:`lungct.inference.join`; None leaves them apart.
        searched: the slices that were looked at; every one of the grid if left out.
    """
    searched = searched or Searched.every(grid.shape_zyx[0])
    chains = chained(detections, searched, grid.spacing_mm_zyx[0], options or LinkOptions())
    if join is not None:
        chains = joined(chains, searched, grid.spacing_mm_zyx[0], join)
    nodules = [nodule_of(chain, searched, grid, case_id) for chain in chains]
    return sorted(nodules, key=lambda one: (-one.score, one.slices, one.box_xyxy_px))


def chained(
    detections: Mapping[int, Detections], searched: Searched, spacing_mm: float, options: LinkOptions
) -> list[Chain]:
    """The chains of slice detections, in the order in which they end."""
    reach_mm = options.gap_mm + TOLERANCE_MM
    done: list[Chain] = []
    alive: list[Chain] = []
    for z in sorted(detections):
        rank = searched.rank(z)
        near = [(z - chain.z[-1]) * spacing_mm <= reach_mm or rank - searched.rank(chain.z[-1]) <= 1 for chain in alive]
        done += [chain for chain, stays in zip(alive, near, strict=True) if not stays]
        alive = [chain for chain, stays in zip(alive, near, strict=True) if stays]
        alive += _extend(alive, detections[z], z, options)
    return done + alive


def _extend(alive: list[Chain], found: Detections, z: int, options: LinkOptions) -> list[Chain]:
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
    return [Chain(int(found.labels[one]), [z], [boxes[one]], [float(found.scores[one])], [one]) for one in left]


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
