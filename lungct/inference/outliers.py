"""Slice detections of one scan that lie far from where most of them lie, left out: for scans with one nodule.

With Q1 and Q3 the quartiles, over the scan, of the x and of the y of the boxes' centres, a detection stays whose centre
lies within Q1 - k (Q3 - Q1) .. Q3 + k (Q3 - Q1) in both, the ends included: first with k = 1.5, then, by the quartiles
of what is left, with k = 2. Something always stays, so the published rule's falling back on the best box, which a lone
box needs where the ends are not included, is not. On a scan with several nodules the filter takes true ones away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lungct.types import BoolArray, Detections, FloatArray

REACHES = (1.5, 2.0)
"""k of the first and of the second pass."""


def without_outliers(found: Mapping[int, Detections]) -> dict[int, Detections]:
    """z index -> what stays of what was detected there; slices on which nothing stays are left out."""
    for reach in REACHES:
        counts = [len(one) for one in found.values()]
        if not sum(counts):
            return {}
        boxes = np.concatenate([one.boxes_xyxy_px for one in found.values()]).astype(np.float64)
        stays = _inside((boxes[:, :2] + boxes[:, 2:]) / 2, reach)
        parts = np.split(stays, np.cumsum(counts)[:-1])
        found = {z: _of(one, mine) for (z, one), mine in zip(found.items(), parts, strict=True) if mine.any()}
    return dict(found)


def _inside(centers: FloatArray, reach: float) -> BoolArray:
    low, high = np.percentile(centers, (25, 75), axis=0)
    margin = reach * (high - low)
    inside: BoolArray = ((centers >= low - margin) & (centers <= high + margin)).all(axis=1)
    return inside


def _of(found: Detections, mine: BoolArray) -> Detections:
    return replace(found, boxes_xyxy_px=found.boxes_xyxy_px[mine], scores=found.scores[mine], labels=found.labels[mine])
