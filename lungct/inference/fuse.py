"""Weighted box fusion: the boxes that several detectors, views or slices found of one thing, made one box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungct.inference.link import overlaps
from lungct.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class FusedBoxes:
    """The fused boxes of one image, best first.

    Attributes:
        boxes_xyxy: (M, 4) float64, in the unit of what was fused.
        scores: (M,) float64.
        labels: (M,) of the boxes fused; boxes of different labels never are.
        counts: (M,) number of boxes in each.
        fused_into: (N,) for each box that was given, the row of what it became part of.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    labels: IntArray
    counts: IntArray
    fused_into: IntArray

    def __len__(self) -> int:
        return len(self.scores)


def weighted_box_fusion(
    boxes_xyxy: FloatArray,
    scores: FloatArray,
    labels: IntArray,
    source: IntArray,
    *,
    iou: float = 0.55,
    weights: Sequence[float] | int = 1,
    overflow: bool = False,
) -> FusedBoxes:
    """Fuse N boxes of one image.

    In order of their weighted scores the boxes join the fused box of their label that they overlap most, if by more
    than ``iou``, or begin one; with w_i the weights of their sources, of T boxes

        box = sum(w_i s_i b_i) / sum(w_i s_i),    score = sum(w_i s_i) / T * min(T, S) / sum(w),

    S being the number of sources, so that what few of them saw counts for less.

    Args:
        boxes_xyxy: (N, 4) corners in any unit.
        scores: (N,) above 0.
        source: (N,) number of the source of each box, 0, 1, ...
        weights: of each source, or the number of sources, all of weight 1.
        overflow: let a thing that has more boxes than there are sources count for more: T in place of min(T, S).

    Returns:
        The fused boxes; equal scores in the order in which they began.

    Source: Solovyev 2021, section 3.2, equations 1 to 5 (6 with ``overflow``), weights as its program has them.
    """
    per_source = np.ones(weights) if isinstance(weights, int) else np.asarray(weights, dtype=np.float64)
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    weighted = np.asarray(scores, dtype=np.float64) * per_source[np.asarray(source, dtype=np.int64)]
    labels = np.asarray(labels, dtype=np.int64)
    joined = _join(boxes, weighted, labels, iou)
    count = int(joined.max(initial=-1)) + 1
    counts = np.bincount(joined, minlength=count)
    mass = np.bincount(joined, weighted, count)
    fused = np.stack([np.bincount(joined, weighted * side, count) for side in boxes.T], axis=1) / mass[:, None]
    seen = counts if overflow else np.minimum(counts, len(per_source))
    fused_scores = mass / counts * seen / per_source.sum()
    label_of = np.zeros(count, dtype=np.int64)
    label_of[joined] = labels
    order = np.argsort(-fused_scores, kind="stable")
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    return FusedBoxes(fused[order], fused_scores[order], label_of[order], counts[order], place[joined])


def _join(boxes: FloatArray, weighted: FloatArray, labels: IntArray, iou: float) -> IntArray:
    """(N,) number of the fused box that each joins, in the order in which they begin."""
    joined = np.zeros(len(boxes), dtype=np.int64)
    fused, mass = np.zeros_like(boxes), np.zeros(len(boxes))
    fused_labels, begun = np.zeros_like(labels), 0
    for index in np.argsort(-weighted, kind="stable"):
        overlap = overlaps(fused[:begun], boxes[index][None], "iou")[:, 0]
        overlap[fused_labels[:begun] != labels[index]] = -1
        best = int(overlap.argmax()) if begun else 0
        if not begun or overlap[best] <= iou:
            best, begun = begun, begun + 1
            fused_labels[best] = labels[index]
        joined[index] = best
        share = weighted[index] / (mass[best] + weighted[index])
        fused[best] += share * (boxes[index] - fused[best])
        mass[best] += weighted[index]
    return joined
