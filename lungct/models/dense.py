"""What a one-stage detector answers at every place of its pyramid, before any threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def dense_outputs(detector: Any, maps: Sequence[Tensor], anchors: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """(B, places, 4) float32 boxes decoded from (places, 4) anchors, not clipped, and what the head says of them.

    That is the (B, places, K) float32 class probability and, for FCOS, the (B, places, 1) centre-ness in 0..1.
    """
    head = detector.head
    probability: Tensor = head.classification_head(list(maps)).float().sigmoid()
    regression = head.regression_head(list(maps))
    if isinstance(regression, tuple):
        boxes = detector.box_coder.decode(regression[0].float(), anchors)
        return boxes, probability, regression[1].float().sigmoid()
    count = len(regression)
    decoded = detector.box_coder.decode_single(regression.float().flatten(0, 1), anchors.repeat(count, 1))
    return decoded.unflatten(0, (count, -1)), probability, None


def dense_answers(detector: Any, maps: Sequence[Tensor], anchors: Tensor) -> tuple[Tensor, Tensor]:
    """(B, places, 4) float32 boxes of RetinaNet or FCOS, not clipped, and (B, places, K) scores as detections have.

    Source: Tian 2020, the geometric mean of class probability and centre-ness; RetinaNet has the probability alone.
    """
    boxes, probability, centerness = dense_outputs(detector, maps, anchors)
    return boxes, probability if centerness is None else (probability * centerness).sqrt()
