"""FROC over images: sensitivity against false positives per image, and counts at one score.

A detection hits a true box of its category when their IoU is at least a threshold, or when its centre lies in the true
box (the rule for marks, as LUNA16 has it, with the box in place of the sphere). At a score threshold t

    sensitivity(t) = true boxes hit by a detection of score >= t / true boxes,
    FP(t)          = detections of score >= t that hit nothing / images.

Further hits on a found box count neither way, and neither does a detection on a crowd region. A true box is one nodule
on one slice. The curve has one point per distinct score, from (0, 0), and is exact; between two points it is read off
linearly, which matters only where detections share a score (elsewhere the curve is a staircase). Beyond its last point
it stays level. The mean is over the rates 1/8, 1/4, 1/2, 1, 2, 4, 8.

Source: van Ginneken 2010 (ANODE09) for the rates; Setio 2017 (LUNA16) for the counting. LUNA16 interpolates on a grid
of 10,000 rates and takes the nearest; here the curve is read at the rate itself, at the top of a step that lies on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lungct.evaluation.pairs import Pairs
from lungct.types import BoolArray, FloatArray, IntArray

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
IOU_HIT = 0.1


@dataclass(frozen=True, eq=False)
class Finds:
    """Which true boxes are found, and which detections are to blame.

    Attributes:
        found_score: (G,) best score of a detection that hits the box, -inf where none does or the box is a crowd.
        counted: (G,) true boxes that count.
        false: (D,) detections that hit nothing at all.
        extra: (D,) detections that hit only boxes which a better one has found.
    """

    found_score: FloatArray
    counted: BoolArray
    false: BoolArray
    extra: BoolArray


@dataclass(frozen=True, eq=False)
class Tally:
    """What a FROC curve is drawn from, and what a bootstrap weighs; an image is a slice or a whole scan.

    Attributes:
        found_score, found_image: (H,) of each true box or nodule that is found, the score and the place of its image.
        false_score, false_image: (F,) of each false positive.
        truth_image: (G,) of each true box or nodule, the missed ones too.
        images: how many there are, those without a nodule too.
    """

    found_score: FloatArray
    found_image: IntArray
    false_score: FloatArray
    false_image: IntArray
    truth_image: IntArray
    images: int

    @property
    def curve(self) -> FrocCurve:
        """The exact curve."""
        return curve_of(self.found_score, self.false_score, len(self.truth_image), self.images)


@dataclass(frozen=True, eq=False)
class FrocCurve:
    """The exact curve: (N,) false positives per image, sensitivity and the score of each point, all of one length."""

    fp_per_image: FloatArray
    sensitivity: FloatArray
    score: FloatArray

    @property
    def at(self) -> Mapping[float, float]:
        """Rate -> sensitivity at the seven rates."""
        return dict(zip(RATES, np.interp(RATES, self.fp_per_image, self.sensitivity).tolist(), strict=True))

    @property
    def mean(self) -> float:
        """Mean sensitivity over the seven rates."""
        return float(np.mean(list(self.at.values())))

    @property
    def score_at(self) -> Mapping[float, float]:
        """Rate -> the lowest score at which there are no more false positives than that per image.

        Just above the highest score where even that one is too many.
        """
        last = np.searchsorted(self.fp_per_image, RATES, side="right") - 1
        scores = np.where(last > 0, self.score[last], np.nextafter(self.score[0], np.inf))
        return dict(zip(RATES, scores.tolist(), strict=True))


def find(pairs: Pairs, iou_hit: float = IOU_HIT) -> Finds:
    """Apply the rule of a hit to every overlapping pair."""
    touches = (pairs.iou >= iou_hit) | pairs.centre_inside
    detection, truth = pairs.pair_detection[touches], pairs.pair_truth[touches]
    real = ~pairs.crowd[truth]
    found_score = np.full(len(pairs.crowd), -np.inf)
    np.maximum.at(found_score, truth[real], pairs.score[detection[real]])
    false = np.ones(len(pairs.score), dtype=bool)
    false[detection] = False
    extra = np.zeros(len(pairs.score), dtype=bool)
    extra[detection[real]] = True
    extra[_finders(pairs, detection[real], truth[real])] = False
    return Finds(found_score, ~pairs.crowd, false, extra)


def _finders(pairs: Pairs, detection: IntArray, truth: IntArray) -> IntArray:
    """The detection that found each found box: the best score, the earlier one of two equals."""
    order = np.lexsort((detection, -pairs.score[detection], truth))
    _, first = np.unique(truth[order], return_index=True)
    return detection[order[first]]


def curve_of(found_scores: FloatArray, false_scores: FloatArray, truths: int, images: int) -> FrocCurve:
    """The FROC curve from scores alone.

    Args:
        found_scores: (H,) score at which each found nodule is found.
        false_scores: (F,) scores of the false positives.
        truths: number of nodules, the missed ones too.
        images: number of images (or scans) that false positives are counted per.
    """
    scores = np.unique(np.concatenate([found_scores, false_scores]))[::-1]
    hits = np.searchsorted(np.sort(-found_scores), -scores, side="right")
    false = np.searchsorted(np.sort(-false_scores), -scores, side="right")
    return FrocCurve(
        np.r_[0.0, false / images], np.r_[0.0, hits / truths], np.r_[scores[:1] if len(scores) else 1.0, scores]
    )


def tally(pairs: Pairs, finds: Finds) -> Tally:
    """What the FROC curve of a split, over its images, is drawn from."""
    found = finds.counted & np.isfinite(finds.found_score)
    return Tally(
        finds.found_score[found],
        pairs.truth.image[found],
        pairs.score[finds.false],
        pairs.detections.image[finds.false],
        pairs.truth.image[finds.counted],
        len(pairs.image_ids),
    )


def corners(curve: FrocCurve) -> FrocCurve:
    """The same curve without the points inside its level stretches."""
    level = curve.sensitivity[1:] == curve.sensitivity[:-1]
    keep = ~np.r_[False, level[:-1] & level[1:], False] if len(level) else np.ones(1, dtype=bool)
    return FrocCurve(curve.fp_per_image[keep], curve.sensitivity[keep], curve.score[keep])


def counts_at(pairs: Pairs, finds: Finds, score: float) -> dict[str, int]:
    """How many boxes are found (tp) and missed (fn), and detections false (fp) or duplicate, at scores >= ``score``."""
    kept = pairs.score >= score
    found = int((finds.found_score >= score).sum())
    return {
        "tp": found,
        "fp": int((kept & finds.false).sum()),
        "fn": int(finds.counted.sum()) - found,
        "duplicates": int((kept & finds.extra).sum()),
    }
