"""Where an earlier run was wrong: its false positives on the training split, to be looked at again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungct.errors import InputError
from lungct.io.coco import CocoTruth, read_detections, read_truth
from lungct.registry import SPLITS
from lungct.types import FloatArray, IntArray

LEAST_SCORE = 0.05
MOST_IOU = 0.1
"""A detection that overlaps no true box by more is wrong, and not merely off."""


@dataclass(frozen=True, eq=False)
class HardSpots:
    """False positives of a split.

    Attributes:
        index: (N,) the image of each, by its place in the split.
        boxes_xyxy_px: (N, 4) on that image.
        scores: (N,) above 0.
    """

    index: IntArray
    boxes_xyxy_px: FloatArray
    scores: FloatArray


def hard_spots(path: Path, truth: CocoTruth) -> HardSpots:
    """The false positives of score .05 or more in a COCO results file, which must be of this very split.

    Raises:
        InputError: broken, of another split, of what may as well be another split of the same folder, or without a
            single false positive.
    """
    found = read_detections(path, truth, np.float64)
    _check_split(path, truth, {one.image_id for one in found if len(one.scores)})
    index, boxes, scores = [], [], []
    for number, one in enumerate(found):
        wrong = (one.scores >= LEAST_SCORE) & (_best_iou(one.boxes_xyxy_px, truth.boxes_of(one.image_id)) <= MOST_IOU)
        index += [number] * int(wrong.sum())
        boxes.append(one.boxes_xyxy_px[wrong])
        scores.append(one.scores[wrong])
    if not index:
        raise InputError.of(path, f"holds no false positive of score {LEAST_SCORE:g} or more", "leave it out")
    return HardSpots(np.asarray(index, dtype=np.intp), np.concatenate(boxes), np.concatenate(scores))


def _check_split(path: Path, truth: CocoTruth, ids: set[int | str]) -> None:
    """Ids that count anew in each split cannot tell splits apart: refuse a file that fits another one as well."""
    own = {image.file_name for image in truth.images}
    for name in SPLITS:
        other_path = truth.root / f"{name}.json"
        if not ids or not other_path.is_file():
            continue
        other = read_truth(other_path)
        if own != {image.file_name for image in other.images} and ids <= {image.id for image in other.images}:
            raise InputError.of(
                path,
                f"its image ids are those of {other_path.name} too, so it may be of that split",
                "give the training split ids of its own, and detect on it again",
            )


def _best_iou(boxes: FloatArray, true_boxes: FloatArray) -> FloatArray:
    """(N,) the greatest IoU of each box with a true one, 0 where there are none."""
    if not len(true_boxes):
        return np.zeros(len(boxes))
    low = np.maximum(boxes[:, None, :2], true_boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], true_boxes[None, :, 2:])
    shared = (high - low).clip(min=0).prod(-1)
    areas = [(one[:, 2:] - one[:, :2]).prod(-1) for one in (boxes, true_boxes)]
    return np.asarray((shared / (areas[0][:, None] + areas[1] - shared).clip(min=1e-9)).max(1))
