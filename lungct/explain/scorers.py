"""How strongly the detector still makes the same detections on a changed image.

A detector returns a set, and a detection may be gone after a change: below the score threshold, lost to non-maximum
suppression, or moved. ``roi`` therefore reads the target at the fixed place before any of that; ``match`` detects anew
and looks for the detection in what comes out; D-RISE compares with every candidate there is.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from lungct.explain.goals import THESIS, thesis_score
from lungct.explain.network import Network
from lungct.explain.places import Places
from lungct.models.detector import score_threshold
from lungct.types import BoolArray

SCORERS = ("roi", "match")
LOST_BELOW_IOU = 0.5


@dataclass(frozen=True, eq=False)
class Scores:
    """Of D detections on B images: ``score`` (B, D) float32, and ``lost`` (B, D): the box was not found again."""

    score: Tensor
    lost: Tensor


class Scorer(Protocol):
    """The target's value for fixed detections on changed images; the score where nothing else is asked."""

    def __call__(self, batch: Tensor) -> Scores:
        """Score (B, C, H, W) images in 0..1."""


@dataclass(frozen=True, eq=False)
class PlaceScorer:
    """The target at the proposal or anchor that each detection comes from: no proposals, no NMS, none is ever lost."""

    network: Network
    places: Places
    goal: str = "score"

    def __call__(self, batch: Tensor) -> Scores:
        with torch.inference_mode(), self.network.autocast():
            images = self.network.prepare(batch)
            features = self.network.pyramid_at(images, self._seen(images))
            score = self.places.values(features, self.goal)
        return Scores(score, torch.zeros_like(score, dtype=torch.bool))

    def _seen(self, images: ImageList) -> dict[int, list[BoolArray]]:
        """Of every level that is looked at, the cells that each of its detections sees."""
        height, width = images.tensors.shape[-2:]
        seen: dict[int, list[BoolArray]] = {}
        for number, level in enumerate(self.places.levels.tolist()):
            stride = self.network.model.card.strides[level]
            shape = (math.ceil(height / stride), math.ceil(width / stride))
            seen.setdefault(level, []).append(self.places.cells(level, number, shape))
        return seen


@dataclass(frozen=True, eq=False)
class MatchScorer:
    """Any detector: detect with threshold 0 and take the best p x IoU among detections of the same label.

    A detection counts as lost where nothing of its label overlaps it by IoU .5.

    Attributes:
        boxes: (D, 4) in pixels of the detector's input.
        classes: (D,) network labels.
        scores: (D,) of the detections, read by the thesis target.
    """

    network: Network
    boxes: Tensor
    classes: Tensor
    scores: Tensor | None = None
    goal: str = "score"

    def __call__(self, batch: Tensor) -> Scores:
        score = torch.zeros(len(batch), len(self.boxes), device=batch.device)
        overlap = torch.zeros_like(score)
        with torch.inference_mode(), self.network.autocast(), _everything(self.network.detector):
            outputs = self.network.detect(batch)
        for place, found in enumerate(outputs):
            if self.goal == THESIS and self.scores is not None:
                parts = found["boxes"], found["labels"], found["scores"]
                score[place], overlap[place] = thesis_score(self.boxes, self.classes, self.scores, parts)
            elif len(found["boxes"]) and len(self.boxes):
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
