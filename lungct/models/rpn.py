"""Torchvision's region proposals, with losses to choose."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.rpn import RegionProposalNetwork

from lungct.models.draws import ImageSampler, generators_of
from lungct.models.losses import Losses
from lungct.models.ranks import mean_count, world


class ChoosingRPN(RegionProposalNetwork):  # type: ignore[misc]
    """Region proposals whose objectness and boxes are learned by the losses of ``losses``."""

    def __init__(self, losses: Losses, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.losses = losses
        self.fg_bg_sampler = ImageSampler(named["batch_size_per_image"], named["positive_fraction"])
        self._anchors: list[Tensor] = []

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Torchvision's, and keeps the anchors for :meth:`compute_loss`, which is called next without them."""
        self._anchors = anchors
        self.fg_bg_sampler.generators = generators_of(targets, 0)
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        return labels, boxes

    def compute_loss(
        self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Over sampled anchors: mean cross-entropy, or focal loss per foreground anchor; box loss per anchor."""
        positive, negative = (torch.cat(one).bool() for one in self.fg_bg_sampler(labels))
        positive, negative = torch.where(positive)[0], torch.where(negative)[0]
        sampled = torch.cat((positive, negative))
        classes = self.losses.of_sigmoids(objectness.flatten()[sampled], torch.cat(labels)[sampled])
        count = mean_count(len(sampled), objectness.device)
        share = max(mean_count(len(positive), objectness.device), 1 / world()) if self.losses.focal else count
        anchors, self._anchors = torch.cat(self._anchors)[positive], []
        codes = deltas[positive], torch.cat(regression_targets)[positive]
        boxes = (self.box_coder.decode_single(code, anchors) for code in codes)
        return classes / share, self.losses.of_boxes(codes, (next(boxes), next(boxes))) / count
