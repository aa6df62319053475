"""What is wrong with the boxes at one score: misses, duplicates, sizes, confused categories.

A detection and a true box are paired one to one, by falling score, at IoU >= a threshold: for sizes within a category,
for the confusion matrix across them. The ratio of a pair is area of the detection / area of the true box; *bigger* are
the pairs with a ratio above 1, *smaller* those below.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lungct.evaluation.match import UNMATCHED, greedy_match
from lungct.evaluation.pairs import Pairs, any_category
from lungct.types import BoolArray, FloatArray, IntArray


def above(pairs: Pairs, score: float) -> Pairs:
    """The pairs of detections of at least this score; the tables keep all detections and their places."""
    return pairs.only(pairs.score[pairs.pair_detection] >= score)


def area_ratios(pairs: Pairs, iou_threshold: float, score: float) -> dict[str, Any]:
    """How much bigger or smaller the detections are than the true boxes they hit.

    Returns:
        ``n`` pairs; ``bigger``, ``smaller``: share of the pairs and mean, median, min and max of their ratios (None
        where there is no such pair); ``equal``: share.
    """
    truth_of = greedy_match(above(pairs, score), (iou_threshold,)).truth_of[:, 0]
    hit = (truth_of != UNMATCHED) & ~np.r_[pairs.crowd, True][truth_of]
    x1, y1, x2, y2 = pairs.truth.box_xyxy_px[truth_of[hit]].T
    true_area = (x2 - x1) * (y2 - y1)
    ratio = pairs.detections.area_px[hit][true_area > 0] / true_area[true_area > 0]
    return {
        "n": len(ratio),
        "bigger": _spread(ratio, ratio > 1),
        "smaller": _spread(ratio, ratio < 1),
        "equal": {"share": float((ratio == 1).mean()) if len(ratio) else None},
    }


def _spread(ratio: FloatArray, mine: BoolArray) -> dict[str, float | None]:
    if not mine.any():
        return {"share": 0.0 if len(ratio) else None, "mean": None, "median": None, "min": None, "max": None}
    few = ratio[mine]
    numbers = float(mine.mean()), float(few.mean()), float(np.median(few)), float(few.min()), float(few.max())
    return dict(zip(("share", "mean", "median", "min", "max"), numbers, strict=True))


def confusion_matrix(pairs: Pairs, iou_threshold: float, score: float) -> IntArray:
    """(K + 1, K + 1) counts: row true category, column detected category, last row background, last column missed.

    Detections are paired with boxes of any category; those on a crowd region are left out.
    """
    across = any_category(pairs)
    truth_of = greedy_match(above(across, score), (iou_threshold,)).truth_of[:, 0]
    crowd = np.r_[pairs.crowd, False][truth_of]
    judged = (pairs.score >= score) & ~crowd
    categories = len(pairs.category_ids)
    true_category = np.r_[pairs.truth.category, categories][truth_of]
    counts = np.zeros((categories + 1, categories + 1), dtype=np.int64)
    np.add.at(counts, (true_category[judged], pairs.detections.category[judged]), 1)
    missed = ~pairs.crowd
    missed[truth_of[judged & (truth_of != UNMATCHED)]] = False
    np.add.at(counts, (pairs.truth.category[missed], np.full(int(missed.sum()), categories)), 1)
    return counts
