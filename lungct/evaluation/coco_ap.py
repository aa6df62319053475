"""Average precision and recall of box detections, exactly by the COCO protocol, on flat arrays.

At one IoU threshold the detections of a category, by falling score, are true positives (TP), false positives (FP) or
ignored (see :mod:`lungct.evaluation.match`). With n true boxes that count, after each detection

    recall = TP / n,    precision = TP / (TP + FP),    envelope(r) = max of the precisions at recalls >= r,

AP is the mean of the envelope at the 101 recalls 0, .01, ... 1 (0 where a recall is never reached), AR the recall after
the last detection. Both are means over the categories that have a true box; a category without one is left out.
AP@.5:.95 is the mean of AP over the ten thresholds .5, .55, ... .95.

Source: Lin 2014, Microsoft COCO, and its reference program (cocoeval.accumulate), whose numbers these are, also in the
order of ties (by score, then by sorted image id, then by place in the file) and for an annotation whose id is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lungct.evaluation.match import Matches, area_within, greedy_match
from lungct.evaluation.pairs import Pairs, pair_up
from lungct.io.coco import CocoTruth
from lungct.types import BoolArray, Detections, FloatArray, IntArray

RECALLS = np.linspace(0.0, 1.0, 101)
COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
ALL_IOUS = tuple(np.linspace(0.05, 0.45, 9).tolist()) + COCO_IOUS
"""The reference program's own floats, so that an IoU of exactly .6 falls on the same side."""


@dataclass(frozen=True, eq=False)
class ApResult:
    """AP and AR per IoU threshold; NaN where no category has a true box.

    Attributes:
        ap, ar: threshold -> mean over categories, 0..1. Keys are rounded to six places, so ``ap[0.6]`` is found.
        ap_of, ar_of: category id -> the same for one category, only of categories with a true box.
        precision: threshold -> (101,) envelope precision at :data:`RECALLS`, mean over categories.
        truths: number of true boxes that count.
    """

    ap: Mapping[float, float]
    ar: Mapping[float, float]
    ap_of: Mapping[int, Mapping[float, float]]
    ar_of: Mapping[int, Mapping[float, float]]
    precision: Mapping[float, FloatArray]
    truths: int

    def mean_ap(self, low: float = 0.5, high: float = 0.95) -> float:
        """Mean AP over the computed thresholds in [low, high]."""
        return mean_between(self.ap, low, high)

    def mean_ar(self, low: float = 0.5, high: float = 0.95) -> float:
        """Mean AR over the computed thresholds in [low, high]."""
        return mean_between(self.ar, low, high)


def average_precision(
    truth: CocoTruth,
    detections: Iterable[Detections],
    iou_thresholds: Sequence[float] = COCO_IOUS,
    max_detections: int = 100,
    area_range_px: tuple[float, float] | None = None,
) -> ApResult:
    """COCO AP and AR at each IoU threshold.

    Args:
        truth: one split.
        detections: at most one entry per image; images without an entry have no detections.
        iou_thresholds: in (0, 1].
        max_detections: best detections kept of a category on an image.
        area_range_px: (lowest, highest) area in px^2, both included; true boxes out of it are ignored, and so are
            unmatched detections out of it. None counts everything.

    Raises:
        InputError: detections of an image that the truth does not hold.
    """
    pairs = pair_up(truth, detections, max_detections)
    within = None if area_range_px is None else area_within(pairs, *area_range_px)
    return score_matches(pairs, greedy_match(pairs, iou_thresholds, within), iou_thresholds)


def score_matches(pairs: Pairs, matches: Matches, iou_thresholds: Sequence[float]) -> ApResult:
    """AP and AR of a matching that is there already."""
    keys = [round(float(iou), 6) for iou in iou_thresholds]
    curves: dict[int, FloatArray] = {}
    recalls: dict[int, FloatArray] = {}
    for place, identifier in enumerate(pairs.category_ids):
        truths = int((matches.counted & (pairs.truth.category == place)).sum())
        if truths:
            order = by_score(pairs, place)
            curves[identifier], recalls[identifier] = envelope_curves(matches.hit[order], matches.false[order], truths)
    precision = np.mean(list(curves.values()), axis=0) if curves else np.full((len(keys), len(RECALLS)), np.nan)
    recall = np.mean(list(recalls.values()), axis=0) if curves else np.full(len(keys), np.nan)
    return ApResult(
        ap=_keyed(keys, precision.mean(axis=1)),
        ar=_keyed(keys, recall),
        ap_of={identifier: _keyed(keys, one.mean(axis=1)) for identifier, one in curves.items()},
        ar_of={identifier: _keyed(keys, one) for identifier, one in recalls.items()},
        precision=dict(zip(keys, precision, strict=True)),
        truths=int(matches.counted.sum()),
    )


def by_score(pairs: Pairs, category: int) -> IntArray:
    """(D',) places of one category's detections by falling score; ties by image id, then by place in the file."""
    mine = np.flatnonzero(pairs.detections.category == category)
    return mine[np.argsort(-pairs.score[mine], kind="stable")]


def envelope_curves(hit: BoolArray, false: BoolArray, truths: int) -> tuple[FloatArray, FloatArray]:
    """(T, 101) envelope precision at :data:`RECALLS` and (T,) final recall from (D, T) flags by falling score."""
    precision = np.zeros((hit.shape[1], len(RECALLS)))
    recall = np.zeros(hit.shape[1])
    for column in range(hit.shape[1]):
        # Precision only rises at a true positive, so the envelope is known from the values there.
        at = np.flatnonzero(hit[:, column])
        if not len(at):
            continue
        positives = np.arange(1, len(at) + 1)
        negatives = np.cumsum(false[:, column])[at]
        exact = positives / (positives + negatives + np.spacing(1))
        envelope = np.r_[np.maximum.accumulate(exact[::-1])[::-1], 0.0]
        precision[column] = envelope[np.searchsorted(positives / truths, RECALLS, side="left")]
        recall[column] = len(at) / truths
    return precision, recall


def _keyed(keys: Sequence[float], values: FloatArray) -> dict[float, float]:
    return dict(zip(keys, values.tolist(), strict=True))


def mean_between(values: Mapping[float, float], low: float, high: float) -> float:
    """Mean of the values at the IoU thresholds in [low, high]."""
    wanted = [value for iou, value in values.items() if low - 1e-9 <= iou <= high + 1e-9]
    return float(np.mean(wanted)) if wanted else float("nan")
