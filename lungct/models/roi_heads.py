"""Torchvision's second stage, which also learns from shaken copies of the true boxes, by losses to choose."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads

from lungct.models.draws import ImageSampler, generators_of
from lungct.models.losses import Losses
from lungct.models.ranks import mean_count

COPIES = 8
SHAKE = 0.15
"""Standard deviation of a copy's shift, and of the logarithm of its scale, in units of the box's extent."""


class ShakenRoIHeads(RoIHeads):  # type: ignore[misc]
    """RoI heads for slices with one or two small boxes.

    The proposals of a young network seldom overlap a nodule by half, so torchvision's head would see hardly a
    foreground sample but the true box itself, which leaves nothing to regress. Here each true box also enters as
    ``COPIES`` shaken ones. Only training is touched.
    """

    def __init__(self, losses: Losses, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.losses = losses
        self.fg_bg_sampler = ImageSampler(named["batch_size_per_image"], named["positive_fraction"])

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Torchvision's detections, or the losses of a training step."""
        if not self.training:
            found, losses = super().forward(features, proposals, image_shapes, targets)
            return found, losses
        self.fg_bg_sampler.generators = generators_of(targets or [], 1)
        chosen, _, labels, codes = self.select_training_samples(proposals, targets)
        pooled = self.box_roi_pool(features, chosen, image_shapes)
        logits, deltas = self.box_predictor(self.box_head(pooled))
        return [], self._losses(logits, deltas, torch.cat(chosen), torch.cat(labels), torch.cat(codes))

    def _losses(
        self, logits: Tensor, deltas: Tensor, proposals: Tensor, labels: Tensor, codes: Tensor
    ) -> dict[str, Tensor]:
        """Of (N,) sampled proposals; the box loss is per proposal, background included, as torchvision's."""
        positive = torch.where(labels > 0)[0]
        own = deltas.reshape(len(labels), -1, 4)[positive, labels[positive]]
        both = own, codes[positive]
        boxes = [self.box_coder.decode_single(code, proposals[positive]) for code in both]
        return {
            "loss_classifier": self.losses.of_softmax(logits, labels),
            "loss_box_reg": self.losses.of_boxes(both, (boxes[0], boxes[1])) / mean_count(len(labels), labels.device),
        }

    def add_gt_proposals(self, proposals: list[Tensor], gt_boxes: list[Tensor]) -> list[Tensor]:
        """Proposals (P, 4) of each image with its true boxes and their copies appended."""
        generators = self.fg_bg_sampler.generators or [None] * len(gt_boxes)
        images = zip(proposals, gt_boxes, generators, strict=True)
        return [torch.cat((few, true, shaken(true, generator))) for few, true, generator in images]


def shaken(boxes: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """(COPIES * N, 4) random neighbours of (N, 4) boxes, drawn from a generator on the CPU, the global one if None."""
    copies = boxes.repeat(COPIES, 1)
    extents = copies[:, 2:] - copies[:, :2]
    noise = torch.randn(len(copies), 2, 2, generator=generator).to(boxes)  # drawn on the CPU: the same on every device
    centers = (copies[:, :2] + copies[:, 2:]) / 2 + SHAKE * noise[:, 0] * extents
    halves = extents * (SHAKE * noise[:, 1]).exp() / 2
    return torch.cat((centers - halves, centers + halves), 1)
