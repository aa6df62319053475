"""From a model card to a torchvision detector, and the pair of both that the later stages work with."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lungct.models.backbone import build_backbone
from lungct.models.card import ModelCard
from lungct.models.losses import Losses
from lungct.registry import DETECTORS

__all__ = ["LoadedModel", "ModelCard", "build_detector", "score_threshold"]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A detector and its card.

    ``detector.backbone`` has ``body`` and ``fpn`` (``fpn.layer_blocks[i]`` makes level i); network boxes divided by
    ``card.magnify`` are stored-slice pixels; network label k is ``card.category_ids[k - 1]``.
    """

    detector: nn.Module
    card: ModelCard

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.detector.parameters()).device


def build_detector(card: ModelCard, losses: Losses | None = None) -> nn.Module:
    """The untrained detector of a card, torchvision's FasterRCNN, RetinaNet or FCOS, which learns by ``losses``."""
    module = importlib.import_module(DETECTORS[card.detector].module)
    detector: nn.Module = module.build(card, build_backbone(card), losses or Losses())
    return detector


@contextlib.contextmanager
def score_threshold(detector: nn.Module, threshold: float) -> Iterator[None]:
    """Let detections with at least ``threshold`` through while the block runs."""
    holder: Any = detector.roi_heads if hasattr(detector, "roi_heads") else detector
    before = holder.score_thresh
    holder.score_thresh = threshold
    try:
        yield
    finally:
        holder.score_thresh = before
