"""Match detections with true boxes one to one, over all images at once: the step that AP, counts and errors share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungct.evaluation.pairs import Pairs, starts_of
from lungct.types import BoolArray, FloatArray, IntArray

UNMATCHED = -1
CLOSE_TO_ONE = 1 - 1e-10


@dataclass(frozen=True, eq=False)
class Matches:
    """The greedy one-to-one matching at T thresholds.

    Attributes:
        truth_of: (D, T) place of the true box that a detection took, -1 for none.
        hit, false: (D, T) true and false positives; a detection on an ignored box or of another size is neither.
        counted: (G,) true boxes that count: no crowd, of the size that is judged.
    """

    truth_of: IntArray
    hit: BoolArray
    false: BoolArray
    counted: BoolArray


@dataclass(frozen=True, eq=False)
class Within:
    """Which true boxes (G,) and which detections (D,) are of the size that is judged."""

    truth: BoolArray
    detection: BoolArray


def area_within(pairs: Pairs, lowest_px: float, highest_px: float) -> Within:
    """COCO's area range in px^2, both ends included."""
    areas = pairs.truth.area_px, pairs.detections.area_px
    truth, detection = ((area >= lowest_px) & (area <= highest_px) for area in areas)
    return Within(truth, detection)


def greedy_match(pairs: Pairs, ious: Sequence[float], within: Within | None = None) -> Matches:
    """COCO's matching: by falling score each detection takes the free true box of largest IoU >= the threshold.

    A true box that counts goes before one that is ignored (crowd, or not ``within``); among equal IoUs the later box
    of the file is taken. A crowd region can be taken any number of times. A detection that takes nothing and is not
    ``within`` counts neither way.

    All images are matched at once, rank by rank: two detections of one rank cannot compete for a box.

    Source: Lin 2014, COCO; the reference program's cocoeval.evaluateImg. It notes a match by the annotation's id, so a
    detection that took the annotation of id 0 counts as a false positive; kept, since published numbers have it.
    """
    ignored = pairs.crowd if within is None else pairs.crowd | ~within.truth
    thresholds = np.minimum(np.asarray(ious, dtype=np.float64), CLOSE_TO_ONE)
    truth_of = _take_in_turn(pairs, ignored, thresholds)
    taken = truth_of != UNMATCHED
    on_ignored = taken & np.r_[ignored, False][truth_of]
    noted = taken & ~np.r_[pairs.id_zero, False][truth_of]
    false = ~noted & ~on_ignored
    if within is not None:
        false &= within.detection[:, None]
    return Matches(truth_of, noted & ~on_ignored, false, ~ignored)


def _take_in_turn(pairs: Pairs, ignored: BoolArray, thresholds: FloatArray) -> IntArray:
    use = np.flatnonzero(pairs.iou >= thresholds.min(initial=np.inf))
    order = np.lexsort(
        (
            -pairs.pair_truth[use],
            -pairs.iou[use],
            ignored[pairs.pair_truth[use]],
            pairs.pair_detection[use],
            pairs.rank[pairs.pair_detection[use]],
        )
    )
    use = use[order]
    detection, truth, iou = pairs.pair_detection[use], pairs.pair_truth[use], pairs.iou[use]
    truth_of = np.full((len(pairs.score), len(thresholds)), UNMATCHED, dtype=np.int32)
    taken = np.zeros((len(pairs.crowd), len(thresholds)), dtype=bool)
    for turn in np.split(np.arange(len(use)), starts_of(pairs.rank[detection])[1:]):
        mine, boxes = detection[turn], truth[turn]
        free = (iou[turn, None] >= thresholds) & ~taken[boxes]
        firsts = starts_of(mine)
        preference = np.where(free, np.arange(len(turn), 0, -1)[:, None], 0)
        best = np.maximum.reduceat(preference, firsts, axis=0) if len(turn) else preference
        row, column = np.nonzero(best)
        chosen = boxes[len(turn) - best[row, column]]
        truth_of[mine[firsts[row]], column] = chosen
        taken[chosen, column] = ~pairs.crowd[chosen]
    return truth_of
