"""Which true box each detection has found; the one place that says what a true positive is for explanations."""

from __future__ import annotations

import numpy as np

from lungct.evaluation.match import UNMATCHED, greedy_match
from lungct.evaluation.pairs import pair_up
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import BoolArray, Detections

MATCH_IOU = 0.5


def matched(truth: CocoTruth, image: CocoImage, detections: Detections) -> list[CocoAnnotation | None]:
    """The true box each detection of one image has found at IoU >= .5, None for a false positive.

    COCO's greedy matching: a true box goes to the best-scored detection on it, another one there is a false positive.
    An annotation may have the id 0, which the COCO tools count as no match.
    """
    return [None if one is None or one.iscrowd else one for one in _taken(truth, image, detections)]


def on_crowd(truth: CocoTruth, image: CocoImage, detections: Detections) -> BoolArray:
    """(D,) which detections lie on a crowd region and on no true box of their own: neither true nor false."""
    if not any(one.iscrowd for one in truth.annotations_of[image.id]):
        return np.zeros(len(detections), dtype=bool)
    return np.array([one is not None and bool(one.iscrowd) for one in _taken(truth, image, detections)], dtype=bool)


def _taken(truth: CocoTruth, image: CocoImage, detections: Detections) -> list[CocoAnnotation | None]:
    """What each detection has taken, crowd regions among it, which can be taken many times."""
    annotations = truth.annotations_of[image.id]
    alone = CocoTruth(truth.categories, [image], annotations, truth.root)
    matches = greedy_match(pair_up(alone, [detections], max(len(detections), 1)), (MATCH_IOU,))
    # pair_up lays detections out by category and falling score, without those of unknown categories
    order = np.lexsort((-detections.scores.astype(np.float64), detections.labels))
    order = order[np.isin(detections.labels[order], list(truth.categories))]
    found: list[CocoAnnotation | None] = [None] * len(detections)
    for place, of_truth in zip(order, matches.truth_of[:, 0], strict=True):
        if of_truth != UNMATCHED:
            found[place] = annotations[of_truth]
    return found
