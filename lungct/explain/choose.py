"""Which detections of an image are explained: by score, number or outcome; missed nodules as proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungct.explain.matching import matched, on_crowd
from lungct.explain.targets import best, detections_at
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import BoolArray, Detections, FloatArray

DETECTED = ("tp", "fp")
MISSED = "fn"


@dataclass(frozen=True, eq=False)
class Chosen:
    """What of one image is explained.

    Attributes:
        detections: of the detector, best first, then the missed true boxes, whose score is not known yet.
        annotations: the true box each has found or is, None for a false positive.
        kinds: ``TP``, ``FP`` or ``FN`` of each.
    """

    detections: Detections
    annotations: Sequence[CocoAnnotation | None]
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.detections)

    @property
    def missed(self) -> BoolArray:
        """(D,) which are true boxes that the detector did not find."""
        return np.array([kind == "FN" for kind in self.kinds], dtype=bool)


def choose(
    truth: CocoTruth,
    image: CocoImage,
    found: Detections,
    *,
    top: int,
    score_threshold: float,
    outcomes: Sequence[str] = DETECTED,
    numbers: Sequence[int] = (),
) -> Chosen:
    """The detections of at least the threshold whose outcome is wanted, ``top`` at most, and all missed boxes.

    A detection is judged among all of at least the threshold, and numbered there: 0 is the best of the image. A box is
    missed where none of them has found it at IoU .5; crowds are never missed. A detection on a crowd region is neither
    right nor wrong, and is left out.

    Args:
        outcomes: of ``registry.OUTCOMES``.
        numbers: only detections of these numbers; empty all.
    """
    kept = best(found, len(found), score_threshold)
    annotations, neither = matched(truth, image, kept), on_crowd(truth, image, kept)
    wanted = [
        number
        for number, annotation in enumerate(annotations)
        if ("fp" if annotation is None else "tp") in outcomes
        and (not numbers or number in numbers)
        and not neither[number]
    ][:top]
    chosen = [annotations[number] for number in wanted]
    lost = _missed(truth, image, annotations) if MISSED in outcomes else []
    kinds = ["FP" if one is None else "TP" for one in chosen] + ["FN"] * len(lost)
    detections = _with_boxes(detections_at(kept, np.array(wanted, dtype=np.int64)), lost)
    return Chosen(detections, [*chosen, *lost], tuple(kinds))


def _missed(truth: CocoTruth, image: CocoImage, annotations: Sequence[CocoAnnotation | None]) -> list[CocoAnnotation]:
    found = {one.id for one in annotations if one is not None}
    return [one for one in truth.annotations_of[image.id] if one.id not in found and not one.iscrowd]


def _with_boxes(detections: Detections, lost: Sequence[CocoAnnotation]) -> Detections:
    boxes: FloatArray = np.array([one.box_xyxy_px for one in lost], dtype=np.float32).reshape(-1, 4)
    return Detections(
        detections.image_id,
        np.concatenate((detections.boxes_xyxy_px, boxes)).astype(np.float32),
        np.concatenate((detections.scores, np.zeros(len(lost)))).astype(np.float32),
        np.concatenate((detections.labels, [one.category_id for one in lost])).astype(np.int64),
    )
