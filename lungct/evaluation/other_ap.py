"""Average precision by other conventions than COCO's, for numbers of other papers: PASCAL VOC's two, and system 3's.

**VOC.** By falling score each detection of a class looks at the true box it overlaps most. It is a true positive (TP)
where that IoU is at least the threshold and nobody has taken the box, ignored where the box is a crowd region (VOC:
difficult), else a false positive (FP); unlike in COCO it does not turn to a second box. With n true boxes, after each
detection recall r = TP / n and precision p = TP / (TP + FP), envelope e(r) = max of the precisions at recalls >= r:

    11-point:     AP = 1/11  sum of e(r) over r = 0, .1, ... 1          (0 beyond the last recall)
    every point:  AP = sum over i of (r_i - r_(i-1)) e(r_i),  r_0 = 0   (the area under the envelope)

VOC's own program counts pixels inclusively (w = x2 - x1 + 1); here boxes are pixel edges.

**Score thresholds.** At each score t = 1, .9, ... 0 the detections of score >= t are kept. One is a TP where the true
box that it overlaps most, of whatever class, overlaps by more than the IoU threshold, is of its class and is not taken
by a better one; else an FP. Precision p_i and recall r_i at the i-th t give

    AP = sum over i of p_i (r_i - r_(i-1)),  r_0 = 0,                   (no envelope, no interpolation)

its mean over the classes is the mAP. The mean IoU is that of all kept detections over the IoU threshold, of whatever
class, over all eleven t. An IoU threshold of .21 was used.

Source: Everingham 2010, The PASCAL Visual Object Classes challenge, 4.2; Salton & McGill 1983 for the 11 points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lungct.evaluation.coco_ap import by_score
from lungct.evaluation.match import UNMATCHED
from lungct.evaluation.pairs import Pairs, any_category, starts_of
from lungct.types import BoolArray, FloatArray, IntArray

ELEVEN_RECALLS = np.linspace(0, 1, 11)
ELEVEN_SCORES = np.linspace(1, 0, 11)
THRESHOLD_IOU = 0.21


@dataclass(frozen=True)
class VocAp:
    """Mean over the classes that have a true box, NaN without one."""

    eleven_point: float
    every_point: float


@dataclass(frozen=True, eq=False)
class ThresholdAp:
    """The score-threshold measures; ``precision`` and ``recall`` (11,) are means over classes, at falling scores."""

    mean_ap: float
    mean_iou: float
    precision: FloatArray
    recall: FloatArray


def voc_ap(pairs: Pairs, iou_threshold: float = 0.5) -> VocAp:
    """PASCAL VOC's average precision, by its 11 points and by every point."""
    best, iou = best_truth(pairs)
    close = iou >= iou_threshold
    on_crowd = close & np.r_[pairs.crowd, False][best]
    hit = _first_takers(pairs, best, close & ~on_crowd)
    false = ~hit & ~on_crowd
    values = []
    for place in range(len(pairs.category_ids)):
        truths = int((~pairs.crowd & (pairs.truth.category == place)).sum())
        if not truths:
            continue
        order = by_score(pairs, place)
        positives = np.cumsum(hit[order])
        recall, precision = positives / truths, positives / np.maximum(positives + np.cumsum(false[order]), 1)
        envelope = np.r_[np.maximum.accumulate(precision[::-1])[::-1], 0.0]
        eleven = envelope[np.searchsorted(recall, ELEVEN_RECALLS - 1e-12, side="left")].mean()
        values.append((eleven, float((np.diff(recall, prepend=0) * envelope[:-1]).sum())))
    eleven_point, every_point = np.mean(values, axis=0).tolist() if values else (float("nan"), float("nan"))
    return VocAp(eleven_point, every_point)


def threshold_ap(pairs: Pairs, iou_threshold: float = THRESHOLD_IOU) -> ThresholdAp:
    """Mean AP over eleven score thresholds, and mean IoU."""
    across = any_category(pairs)
    best, iou = best_truth(across)
    close = iou > iou_threshold
    right = close & (np.r_[pairs.truth.category, UNMATCHED][best] == pairs.detections.category)
    right &= ~np.r_[pairs.crowd, False][best]
    hit = _first_takers(across, best, right)
    ignored = close & np.r_[pairs.crowd, False][best]
    kept = pairs.score[:, None] >= ELEVEN_SCORES - 1e-12
    precision, recall = [], []
    for place in range(len(pairs.category_ids)):
        truths = int((~pairs.crowd & (pairs.truth.category == place)).sum())
        if truths:
            mine = pairs.detections.category == place
            positives = (kept & (hit & mine)[:, None]).sum(axis=0)
            judged = (kept & (~ignored & mine)[:, None]).sum(axis=0)
            precision.append(positives / np.maximum(judged, 1))
            recall.append(positives / truths)
    weight = (kept & (close & ~ignored)[:, None]).sum(axis=1)
    mean_iou = float((iou * weight).sum() / max(weight.sum(), 1))
    if not recall:
        return ThresholdAp(float("nan"), mean_iou, np.full(11, np.nan), np.full(11, np.nan))
    p, r = np.asarray(precision), np.asarray(recall)
    area = (p * np.diff(r, axis=1, prepend=0)).sum(axis=1)
    return ThresholdAp(float(area.mean()), mean_iou, p.mean(axis=0), r.mean(axis=0))


def best_truth(pairs: Pairs) -> tuple[IntArray, FloatArray]:
    """(D,) and (D,): the true box that each detection overlaps most (-1 for none; the first of equals) and the IoU."""
    order = np.lexsort((pairs.pair_truth, -pairs.iou, pairs.pair_detection))
    first = order[starts_of(pairs.pair_detection[order])]
    best = np.full(len(pairs.score), UNMATCHED, dtype=np.int64)
    iou = np.zeros(len(pairs.score))
    best[pairs.pair_detection[first]] = pairs.pair_truth[first]
    iou[pairs.pair_detection[first]] = pairs.iou[first]
    best[iou == 0] = UNMATCHED
    return best, iou


def _first_takers(pairs: Pairs, best: IntArray, candidate: BoolArray) -> BoolArray:
    """(D,) the best-scored candidate of each true box."""
    places = np.flatnonzero(candidate)
    places = places[np.lexsort((-pairs.score[places], best[places]))]
    taker = np.zeros(len(candidate), dtype=bool)
    taker[places[starts_of(best[places])]] = True
    return taker
