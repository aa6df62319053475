"""Torchvision's second stage, which also learns from shaken copies of the true boxes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads

COPIES = 8
SHAKE = 0.15
"""Standard deviation of a copy's shift, and of the logarithm of its scale, in units of the box's extent."""


class ShakenRoIHeads(RoIHeads):  # type: ignore[misc]
    """RoI heads for slices with one or two small boxes.

    The proposals of a young network seldom overlap a nodule by half, so torchvision's head would see hardly a
    foreground sample but the true box itself, which leaves nothing to regress. Here each true box also enters as
    ``COPIES`` shaken ones. Only training is touched.
    """

    def add_gt_proposals(self, proposals: list[Tensor], gt_boxes: list[Tensor]) -> list[Tensor]:
        """Proposals (P, 4) of each image with its true boxes and their copies appended."""
        return [torch.cat((few, true, shaken(true))) for few, true in zip(proposals, gt_boxes, strict=True)]


def shaken(boxes: Tensor) -> Tensor:
    """(COPIES * N, 4) random neighbours of (N, 4) boxes, drawn from torch's global generator."""
    copies = boxes.repeat(COPIES, 1)
    extents = copies[:, 2:] - copies[:, :2]
    noise = torch.randn(len(copies), 2, 2).to(boxes)  # drawn on the CPU: the same on every device
    centers = (copies[:, :2] + copies[:, 2:]) / 2 + SHAKE * noise[:, 0] * extents
    halves = extents * (SHAKE * noise[:, 1]).exp() / 2
    return torch.cat((centers - halves, centers + halves), 1)
