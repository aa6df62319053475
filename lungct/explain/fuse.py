"""One map for all detections of a class or of an image: the largest of their finished maps at every pixel.

Source: Zhao & Chan 2023 (ODAM), who bring instance maps together so. Each map is scaled to 0..1 before, so that a weak
detection is seen beside a strong one; flagged maps add nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lungct.explain.base import Explanation, finish
from lungct.explain.choose import Chosen
from lungct.explain.geometry import Geometry
from lungct.types import Detections


def groups_of(detections: Detections, per: str) -> list[list[int]]:
    """Numbers of the detections that share a map, best first in each; ``per`` of ``registry.PER``."""
    if per == "detection":
        return [[number] for number in range(len(detections))]
    keys = detections.labels.tolist() if per == "class" else [0] * len(detections)
    order = np.argsort(-detections.scores, kind="stable").tolist()
    return [[number for number in order if keys[number] == key] for key in sorted(set(keys))]


def fused(explanation: Explanation, geometry: Geometry, groups: Sequence[Sequence[int]]) -> Explanation:
    """An explanation of one map per group, on the slice's grid; what was noted of each detection moves a level down."""
    maps, flags = finish(explanation, geometry)
    raw = [maps[list(group)].max(axis=0).astype(np.float32) for group in groups]
    layers = ["+".join(sorted({explanation.layers[number] for number in group})) for group in groups]
    record = {
        "fused": "maximum",
        "members": [list(group) for group in groups],
        "of_detections": {**explanation.record, "flags": list(flags)},
    }
    return Explanation(raw, layers, on_slice=True, may_be_constant=explanation.may_be_constant, record=record)


def chosen_of(chosen: Chosen, groups: Sequence[Sequence[int]]) -> Chosen:
    """What stands for each group: the box around all of its boxes, and everything else of its best detection."""
    detections, first = chosen.detections, [group[0] for group in groups]
    of_groups = [detections.boxes_xyxy_px[list(group)] for group in groups]
    hulls = [np.r_[of[:, :2].min(axis=0), of[:, 2:].max(axis=0)] for of in of_groups]
    boxes = np.array(hulls, dtype=np.float32).reshape(-1, 4)
    together = Detections(detections.image_id, boxes, detections.scores[first], detections.labels[first])
    return Chosen(together, [chosen.annotations[one] for one in first], tuple(chosen.kinds[one] for one in first))
