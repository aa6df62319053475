"""How good a detector is on the validation split while it learns: COCO average precision."""

from __future__ import annotations

import dataclasses
import math

from torch import nn

from lungct.evaluation.coco_ap import average_precision
from lungct.inference.detect import detect_slices
from lungct.io.coco import CocoTruth
from lungct.models.card import ModelCard
from lungct.models.detector import LoadedModel
from lungct.models.ranks import gathered, rank, world
from lungct.types import Progress

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
SCORE_THRESHOLD = 0.01


def validation_scores(
    detector: nn.Module, card: ModelCard, truth: CocoTruth, *, batch: int, amp: str, progress: Progress
) -> dict[str, float]:
    """Each process looks at its part of the split, all get the same scores.

    ``val_ap`` (mean over IoU .5 to .95), ``val_ap50``, ``val_ap75``; left out where the split has no boxes.
    """
    mine = dataclasses.replace(truth, images=truth.images[rank() :: world()])
    part = list(
        detect_slices(
            LoadedModel(detector, card),
            mine,
            batch=batch,
            score_threshold=SCORE_THRESHOLD,
            amp=amp,
            override=True,
            progress=progress,
        )
    )
    parts = gathered(part)
    found = [parts[index % world()][index // world()] for index in range(len(truth.images))]
    by_iou = average_precision(truth, found, IOU_THRESHOLDS).ap
    scores = {
        "val_ap": sum(by_iou[iou] for iou in IOU_THRESHOLDS) / len(IOU_THRESHOLDS),
        "val_ap50": by_iou[0.5],
        "val_ap75": by_iou[0.75],
    }
    return {name: round(value, 6) for name, value in scores.items() if math.isfinite(value) and value >= 0}
