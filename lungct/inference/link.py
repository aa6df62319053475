"""Slice detections of one scan -> 3D nodules: boxes that overlap from slice to slice are one nodule.

Slices are taken from the feet up. On each slice the open nodules and the detections are paired one to one, largest
overlap of the nodule's last box and the detection first, of equals the nearest in place; a detection that finds no
nodule opens one. A nodule stays open while its last slice is at most ``gap_mm`` away, so a slice on which the detector
missed it does not cut it in two, and two nodules that pass each other stay two. Different categories never meet.

With scores s_i, box b_i and slice index z_i of the slices of one nodule

    box = sum(s_i b_i) / sum(s_i),    z = sum(s_i z_i) / sum(s_i),    probability = max(s_i).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungct.io import atomic
from lungct.types import Detections, FloatArray, Grid, Triple

COLUMNS = (
    "seriesuid",
    "coordX",
    "coordY",
    "coordZ",
    "probability",
    "w",
    "h",
    "d",
    "slice_first",
    "slice_last",
    "score_mean",
)
"""The LUNA16 submission's columns, then ours; mm, LPS."""
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
        score: best score of a slice; ``score_mean`` over the slices.
        box_xyxy_px: score-weighted, pixel edges.
        slices: z indices on which it was detected, rising.
        members: for each of them the place of its detection among the slice's.
    """

    case_id: str
    label: int
    center_lps_mm: Triple
    size_mm: Triple
    score: float
    score_mean: float
    box_xyxy_px: tuple[float, float, float, float]
    slices: tuple[int, ...]
    members: tuple[int, ...] = ()


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
    weight = np.maximum(np.asarray(chain.scores), 1e-9)
    x1, y1, x2, y2 = (float(one) for one in np.average(np.asarray(chain.boxes), axis=0, weights=weight))
    z = float(np.average(chain.z, weights=weight))
    # Pixel edges to voxel centres: the centre of pixel 0 lies half a pixel behind its edge.
    x_mm, y_mm, z_mm = grid.to_world(((x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5, z)).tolist()
    dz, dy, dx = grid.spacing_mm_zyx
    return FoundNodule(
        case_id,
        chain.label,
        (x_mm, y_mm, z_mm),
        ((x2 - x1) * dx, (y2 - y1) * dy, (chain.z[-1] - chain.z[0] + 1) * dz),
        max(chain.scores),
        float(np.mean(chain.scores)),
        (x1, y1, x2, y2),
        tuple(chain.z),
        tuple(chain.members),
    )


def write_found(path: Path, nodules: Iterable[FoundNodule]) -> None:
    """Write 3D nodules as a LUNA16 submission with our columns behind; mm to 1e-4, scores to 1e-6."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in nodules:
        place = [round(value, 4) + 0.0 for value in one.center_lps_mm]
        size = [round(value, 4) for value in one.size_mm]
        ends = (one.slices[0], one.slices[-1])
        writer.writerow([one.case_id, *place, round(one.score, 6), *size, *ends, round(one.score_mean, 6)])
    atomic.write_bytes(path, stream.getvalue().encode())
