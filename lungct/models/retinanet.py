"""RetinaNet: one stage, dense anchors, focal loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.retinanet import RetinaNetHead

from lungct.models.card import ModelCard
from lungct.models.losses import Losses
from lungct.models.normalise import normalise
from lungct.models.precision import Float32AnchorGenerator, answer_in_float32

BETWEEN = -2
"""torchvision's mark of an anchor that is neither foreground nor background."""


class ChoosingHead(RetinaNetHead):  # type: ignore[misc]
    """torchvision's head with losses to choose; each is per foreground anchor of its image."""

    def __init__(self, channels: int, anchors: int, classes: int, losses: Losses) -> None:
        super().__init__(channels, anchors, classes)
        self.losses = losses

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """Mean over the images of a batch; ``matched_idxs`` holds the true box of each anchor, -1 for background."""
        classes, boxes = [], []
        coder = self.regression_head.box_coder
        outputs = zip(head_outputs["cls_logits"], head_outputs["bbox_regression"], strict=True)
        for (logits, deltas), target, place, matched in zip(outputs, targets, anchors, matched_idxs, strict=True):
            positive, judged = torch.where(matched >= 0)[0], matched != BETWEEN
            count = max(len(positive), 1)
            wanted = torch.zeros_like(logits)
            wanted[positive, target["labels"][matched[positive]]] = 1.0
            classes.append(self.losses.of_sigmoids(logits[judged], wanted[judged]) / count)
            true = target["boxes"][matched[positive]]
            codes = deltas[positive], coder.encode_single(true, place[positive])
            decoded = coder.decode_single(codes[0], place[positive])
            boxes.append(self.losses.of_boxes(codes, (decoded, true)) / count)
        return {"classification": torch.stack(classes).mean(), "bbox_regression": torch.stack(boxes).mean()}


def build(card: ModelCard, backbone: nn.Module, losses: Losses) -> RetinaNet:
    """The detector of a card.

    Source: Lin 2017, in torchvision's form; matched from IoU .5 on, background below .4, as theirs.
    """
    generator = Float32AnchorGenerator(card.anchor_sizes_px, (card.aspect_ratios,) * len(card.strides))
    anchors = generator.num_anchors_per_location()[0]
    detector = RetinaNet(
        backbone,
        card.classes,
        anchor_generator=generator,
        head=ChoosingHead(card.fpn_channels, anchors, card.classes, losses.resolved("focal", "l1")),
        score_thresh=card.score_threshold,
        nms_thresh=card.nms_iou,
        detections_per_img=card.max_detections,
        topk_candidates=4 * card.max_detections,
    )
    answer_in_float32(detector.head)
    detector.transform = normalise(card)
    return detector
