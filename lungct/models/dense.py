"""What a one-stage detector answers at every place of its pyramid, before any threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def dense_scores(detector: Any, maps: Sequence[Tensor]) -> Tensor:
    """(B, places, K) float32 in 0..1 of RetinaNet or FCOS, as their detections are scored.

    Source: Tian 2020, the geometric mean of class probability and centre-ness; RetinaNet has the probability alone.
    """
    head = detector.head
    probability: Tensor = head.classification_head(list(maps)).float().sigmoid()
    if not hasattr(head.regression_head, "bbox_ctrness"):
        return probability
    _, centerness = head.regression_head(list(maps))
    score: Tensor = (probability * centerness.float().sigmoid()).sqrt()
    return score


def dense_answers(detector: Any, maps: Sequence[Tensor], anchors: Tensor) -> tuple[Tensor, Tensor]:
    """(B, places, 4) float32 boxes decoded from (places, 4) anchors, not clipped, and :func:`dense_scores` of them."""
    regression = detector.head.regression_head(list(maps))
    if isinstance(regression, tuple):
        boxes = detector.box_coder.decode(regression[0].float(), anchors)
        return boxes, dense_scores(detector, maps)
    count = len(regression)
    decoded = detector.box_coder.decode_single(regression.float().flatten(0, 1), anchors.repeat(count, 1))
    return decoded.unflatten(0, (count, -1)), dense_scores(detector, maps)
