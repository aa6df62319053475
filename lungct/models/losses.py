"""The losses that a detector can learn from: of classes, and of boxes by their code or by what it decodes to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import distance_box_iou_loss, generalized_box_iou_loss, sigmoid_focal_loss

from lungct.models.ranks import mean_count, world

AUTO = "auto"
BETA = 1 / 9
"""Code difference at which smooth L1 turns from a parabola to a line; torchvision's in Faster R-CNN."""

LEAST_EXTENT_PX = 0.1
"""Below it a side has no say in the aspect of a box: a box of no extent, as FCOS makes at first, has none."""


@dataclass(frozen=True)
class Losses:
    """What is chosen of ``registry.CLASS_LOSSES`` and ``registry.BOX_LOSSES``; ``auto`` is the detector's own.

    Attributes:
        alpha: weight of the foreground in the focal loss, 1 - alpha being that of the background.
        gamma: how much the focal loss plays down what is already right.
    """

    classes: str = AUTO
    alpha: float = 0.25
    gamma: float = 2.0
    boxes: str = AUTO

    def resolved(self, classes: str, boxes: str) -> Losses:
        """With a detector's own in place of ``auto``."""
        return Losses(
            classes if self.classes == AUTO else self.classes,
            self.alpha,
            self.gamma,
            boxes if self.boxes == AUTO else self.boxes,
        )

    @property
    def focal(self) -> bool:
        """Whether classes are learned by the focal loss."""
        return self.classes == "focal"

    def of_sigmoids(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Sum over independent yes-no answers; ``targets`` of the shape of ``logits``, 0 or 1.

        Source: Lin 2017, equation 5.
        """
        if self.focal:
            total: Tensor = sigmoid_focal_loss(logits, targets, self.alpha, self.gamma, reduction="sum")
            return total
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")

    def of_softmax(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, K) logits and (N,) labels, 0 being background.

        The mean cross-entropy, or the sum of the focal loss over the number of foreground samples.

        Source: Lin 2017, equation 5, with the softmax's probability of the true class as its p_t.
        """
        each = F.cross_entropy(logits, labels, reduction="none")
        if not self.focal:
            return each.sum() / mean_count(len(labels), labels.device)
        weight = torch.where(labels > 0, self.alpha, 1 - self.alpha)
        count = max(mean_count(int((labels > 0).sum()), labels.device), 1 / world())
        return (weight * (1 - (-each).exp()) ** self.gamma * each).sum() / count

    def of_boxes(self, codes: tuple[Tensor, Tensor], boxes: tuple[Tensor, Tensor]) -> Tensor:
        """Sum over N boxes, each given twice: (N, 4) predicted and true code, (N, 4) predicted and true xyxy pixels.

        Source: Girshick 2015 (smooth L1), Rezatofighi 2019 (GIoU), Zheng 2020 (DIoU, CIoU).
        """
        if self.boxes == "l1":
            return F.l1_loss(*codes, reduction="sum")
        if self.boxes == "smooth_l1":
            return F.smooth_l1_loss(*codes, reduction="sum", beta=BETA)
        by_name = {"giou": generalized_box_iou_loss, "diou": distance_box_iou_loss, "ciou": complete_iou_loss}
        total: Tensor = by_name[self.boxes](*boxes, reduction="sum")
        return total


def complete_iou_loss(predicted: Tensor, true: Tensor, *, reduction: str) -> Tensor:
    """CIoU loss of (N, 4) boxes, pair by pair; finite, unlike torchvision's, where a predicted box has no extent.

    Source: Zheng 2020, equations 8 to 11; alpha is a constant to the gradient.
    """
    extents = predicted[:, 2:] - predicted[:, :2], true[:, 2:] - true[:, :2]
    inner = (torch.minimum(predicted[:, 2:], true[:, 2:]) - torch.maximum(predicted[:, :2], true[:, :2])).clamp(min=0)
    shared = inner.prod(1)
    iou = shared / (extents[0].prod(1) + extents[1].prod(1) - shared)
    angles = [torch.atan(one[:, 0] / one[:, 1]) for one in (side.clamp(min=LEAST_EXTENT_PX) for side in extents)]
    aspect = 4 / math.pi**2 * (angles[1] - angles[0]) ** 2
    alpha = (aspect / (1 - iou + aspect).clamp(min=1e-7)).detach()
    each: Tensor = distance_box_iou_loss(predicted, true) + alpha * aspect
    return each.sum() if reduction == "sum" else each
