"""How strongly the detector still makes the same detections on a changed image.

A detector returns a set, and a detection may be gone after a change: below the score threshold, lost to non-maximum
suppression, or moved. ``roi`` therefore reads the score at the fixed place before any of that; ``match`` detects anew
and looks for the detection in what comes out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from lungct.explain.network import Network
from lungct.models.dense import dense_scores
from lungct.models.detector import score_threshold
from lungct.types import IntArray

SCORERS = ("roi", "match")
LOST_BELOW_IOU = 0.5


@dataclass(frozen=True, eq=False)
class Scores:
    """Of D detections on B images: ``score`` (B, D) float32, and ``lost`` (B, D): the box was not found again."""

    score: Tensor
    lost: Tensor


class Scorer(Protocol):
    """The scores of fixed detections on changed images."""

    def __call__(self, batch: Tensor) -> Scores:
        """Score (B, C, H, W) images in 0..1."""


@dataclass(frozen=True, eq=False)
class RoiScorer:
    """Faster R-CNN: the class probability that the box head gives the detection's own box; no proposals, no NMS.

    Attributes:
        boxes: (D, 4) in the detector's own pixels.
        classes: (D,) columns of the class scores.
    """

    network: Network
    boxes: Tensor
    classes: Tensor

    def __call__(self, batch: Tensor) -> Scores:
        heads = self.network.detector.roi_heads
        with torch.inference_mode(), self.network.autocast():
            images = self.network.prepare(batch)
            features = self.network.pyramid(images)
            pooled = heads.box_roi_pool(features, [self.boxes] * len(batch), images.image_sizes)
            logits, _ = heads.box_predictor(heads.box_head(pooled))
            probability = logits.float().softmax(-1).reshape(len(batch), len(self.boxes), -1)
            score = probability[:, torch.arange(len(self.boxes), device=batch.device), self.classes]
        return Scores(score, torch.zeros_like(score, dtype=torch.bool))


@dataclass(frozen=True, eq=False)
class AnchorScorer:
    """RetinaNet and FCOS: the score of the anchor or place that the detection was decoded from.

    Attributes:
        levels, places: (D,) level of the anchor and its place in it.
        classes: (D,) columns of the class scores.
    """

    network: Network
    levels: IntArray
    places: IntArray
    classes: Tensor

    def __call__(self, batch: Tensor) -> Scores:
        score = torch.empty(len(batch), len(self.levels), device=batch.device)
        with torch.inference_mode(), self.network.autocast():
            maps = list(self.network.pyramid(self.network.prepare(batch)).values())
            for level in np.unique(self.levels):
                mine = np.flatnonzero(self.levels == level)
                found = dense_scores(self.network.detector, [maps[level]])
                score[:, mine] = found[:, self.places[mine], self.classes[mine]]
        return Scores(score, torch.zeros_like(score, dtype=torch.bool))


@dataclass(frozen=True, eq=False)
class MatchScorer:
    """Any detector: detect with threshold 0 and take the best p x IoU among detections of the same label.

    A detection counts as lost where nothing of its label overlaps it by IoU .5.

    Attributes:
        boxes: (D, 4) in pixels of the detector's input.
        classes: (D,) network labels.
    """

    network: Network
    boxes: Tensor
    classes: Tensor

    def __call__(self, batch: Tensor) -> Scores:
        score = torch.zeros(len(batch), len(self.boxes), device=batch.device)
        overlap = torch.zeros_like(score)
        with torch.inference_mode(), self.network.autocast(), _everything(self.network.detector):
            outputs = self.network.detector(list(batch))
        for place, found in enumerate(outputs):
            if not len(found["boxes"]):
                continue
            iou = box_iou(self.boxes, found["boxes"].float()).nan_to_num()  # two boxes without area
            iou = iou * (self.classes[:, None] == found["labels"][None])
            overlap[place] = iou.amax(dim=1)
            score[place] = (iou * found["scores"].float()).amax(dim=1)
        return Scores(score, overlap < LOST_BELOW_IOU)


@contextlib.contextmanager
def _everything(detector: Any) -> Iterator[None]:
    """Let every candidate through, whatever its score and number."""
    holder = getattr(detector, "roi_heads", detector)
    before = holder.detections_per_img
    holder.detections_per_img = 10_000
    try:
        with score_threshold(detector, 0.0):
            yield
    finally:
        holder.detections_per_img = before
