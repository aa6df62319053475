"""RetinaNet: one stage, dense anchors, focal loss."""

from __future__ import annotations

from torch import nn
from torchvision.models.detection import RetinaNet

from lungct.models.card import ModelCard
from lungct.models.normalise import normalise
from lungct.models.precision import Float32AnchorGenerator, answer_in_float32


def build(card: ModelCard, backbone: nn.Module) -> RetinaNet:
    """The detector of a card.

    Source: Lin 2017, in torchvision's form; matched from IoU .5 on, background below .4, as theirs.
    """
    detector = RetinaNet(
        backbone,
        card.classes,
        anchor_generator=Float32AnchorGenerator(card.anchor_sizes_px, (card.aspect_ratios,) * len(card.strides)),
        score_thresh=card.score_threshold,
        nms_thresh=card.nms_iou,
        detections_per_img=card.max_detections,
        topk_candidates=4 * card.max_detections,
    )
    answer_in_float32(detector.head)
    detector.transform = normalise(card)
    return detector
