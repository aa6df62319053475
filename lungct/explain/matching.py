"""Which true box each detection has found; the one place that says what a true positive is for explanations."""

from __future__ import annotations

import numpy as np

from lungct.evaluation.match import UNMATCHED, greedy_match
from lungct.evaluation.pairs import pair_up
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import Detections

MATCH_IOU = 0.5


def matched(truth: CocoTruth, image: CocoImage, detections: Detections) -> list[CocoAnnotation | None]:
    """The true box each detection of one image has found at IoU >= .5, None for a false positive.

    COCO's greedy matching: a true box goes to the best-scored detection on it, another one there is a false positive.
    An annotation may have the id 0, which the COCO tools count as no match.
    """
    annotations = truth.annotations_of[image.id]
    alone = CocoTruth(truth.categories, [image], annotations, truth.root)
    matches = greedy_match(pair_up(alone, [detections], max(len(detections), 1)), (MATCH_IOU,))
    # pair_up lays detections out by category and falling score, without those of unknown categories
    order = np.lexsort((-detections.scores.astype(np.float64), detections.labels))
    order = order[np.isin(detections.labels[order], list(truth.categories))]
    found: list[CocoAnnotation | None] = [None] * len(detections)
    for place, of_truth in zip(order, matches.truth_of[:, 0], strict=True):
        if of_truth != UNMATCHED and not annotations[of_truth].iscrowd:
            found[place] = annotations[of_truth]
    return found
