"""What costs average precision: every wrong detection and missed box under one of six kinds, and the AP it takes.

With t_f = .5 the IoU of a hit and t_b = .1 that of background, a detection that is no true positive is, in this order,

    localisation     t_b <= IoU <= t_f with a box of its category,
    classification   IoU >= t_f with a box of another category,
    duplicate        IoU >= t_f with a box of its category that a better detection took,
    background       IoU <= t_b with every box,
    both             anything else: wrong category and badly placed.

A true box that nothing took, and that mending localisation and classification would not win, is *missed*. dAP of a
kind is AP with its errors mended, minus AP. Of the localisation and classification errors on a box that nothing took,
mending makes the one of best score a true positive and strikes out the others; mending duplicate, both and background
strikes out the detection; mending missed takes the box out of the count. *False positive* puts all wrong detections
last, *false negative* takes all untaken boxes out of the count. The dAP do not add up to 1 - AP.

Source: Bolya 2020, TIDE: a general toolbox for identifying object detection errors. Here a detection on a crowd region
is no error, and the mean is over the categories with a true box alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lungct.evaluation.coco_ap import envelope_curves
from lungct.evaluation.match import UNMATCHED, greedy_match
from lungct.evaluation.other_ap import best_truth
from lungct.evaluation.pairs import Pairs, any_category
from lungct.types import BoolArray, FloatArray, IntArray

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
FOREGROUND_IOU = 0.5
BACKGROUND_IOU = 0.1


@dataclass(frozen=True, eq=False)
class Errors:
    """The kinds of error.

    Attributes:
        hit: (D,) true positives; ``judged`` (D,) detections that are not on a crowd region.
        kind: kind -> (D,) detections of it; no detection is of two.
        target: (D,) the box that mending a localisation or classification error would win, -1 for others.
        missed: (G,) boxes missed; ``untaken`` (G,) boxes that no detection took.
    """

    hit: BoolArray
    judged: BoolArray
    kind: dict[str, BoolArray]
    target: IntArray
    missed: BoolArray
    untaken: BoolArray


def split_errors(
    pairs: Pairs, foreground_iou: float = FOREGROUND_IOU, background_iou: float = BACKGROUND_IOU
) -> Errors:
    """Sort every wrong detection and missed box into its kind."""
    truth_of = greedy_match(pairs, (foreground_iou,)).truth_of[:, 0]
    on_crowd = (truth_of != UNMATCHED) & np.r_[pairs.crowd, False][truth_of]
    hit = (truth_of != UNMATCHED) & ~on_crowd
    untaken = ~pairs.crowd
    untaken[truth_of[hit]] = False
    own, own_iou = best_truth(_without_crowd(pairs))
    across = _without_crowd(any_category(pairs))
    _, any_iou = best_truth(across)
    other, other_iou = best_truth(_other_category(across, pairs))
    left = ~hit & ~on_crowd
    kind: dict[str, BoolArray] = {}
    for name, applies in (
        ("localisation", (own_iou >= background_iou) & (own_iou <= foreground_iou)),
        ("classification", other_iou >= foreground_iou),
        ("duplicate", own_iou >= foreground_iou),
        ("background", any_iou <= background_iou),
        ("both", np.ones(len(left), dtype=bool)),
    ):
        kind[name] = left & applies
        left = left & ~applies
    target = np.where(kind["localisation"], own, np.where(kind["classification"], other, UNMATCHED))
    missed = untaken.copy()
    missed[target[target != UNMATCHED]] = False
    return Errors(hit, ~on_crowd, kind, target, missed, untaken)


def error_costs(pairs: Pairs, errors: Errors) -> dict[str, dict[str, Any]]:
    """Of each kind the number ``n`` of errors and ``dap``; also of ``false_positive`` and ``false_negative``."""
    truths = np.bincount(pairs.truth.category[~pairs.crowd], minlength=len(pairs.category_ids))
    category = pairs.detections.category
    counted = np.flatnonzero(truths)

    def ap(keep: BoolArray, hit: BoolArray, of: IntArray, score: FloatArray, fewer: BoolArray | None = None) -> float:
        left = truths if fewer is None else truths - np.bincount(pairs.truth.category[fewer], minlength=len(truths))
        values = []
        for place in counted:
            mine = np.flatnonzero(keep & (of == place))
            flags = hit[mine[np.argsort(-score[mine], kind="stable")], None]
            values.append(envelope_curves(flags, ~flags, int(left[place]))[0].mean() if left[place] else 0.0)
        return float(np.mean(values)) if values else float("nan")

    base = ap(errors.judged, errors.hit, category, pairs.score)
    winners = _winners(pairs, errors)
    costs: dict[str, dict[str, Any]] = {}
    for name in KINDS[:5]:
        mine = errors.kind[name]
        won = winners & mine
        of = np.where(won, np.r_[pairs.truth.category, 0][errors.target], category)
        mended = ap(errors.judged & (~mine | won), errors.hit | won, of, pairs.score)
        costs[name] = {"n": int(mine.sum()), "dap": mended - base}
    costs["missed"] = {
        "n": int(errors.missed.sum()),
        "dap": ap(errors.judged, errors.hit, category, pairs.score, errors.missed) - base,
    }
    wrong = errors.judged & ~errors.hit
    last = np.where(errors.hit, pairs.score, -np.inf)
    costs["false_positive"] = {"n": int(wrong.sum()), "dap": ap(errors.judged, errors.hit, category, last) - base}
    untaken = ap(errors.judged, errors.hit, category, pairs.score, errors.untaken)
    costs["false_negative"] = {"n": int(errors.untaken.sum()), "dap": untaken - base}
    return costs


def _winners(pairs: Pairs, errors: Errors) -> BoolArray:
    """(D,) of the localisation and classification errors the best-scored one of each box that nothing took."""
    places = np.flatnonzero((errors.target != UNMATCHED) & np.r_[errors.untaken, False][errors.target])
    places = places[np.argsort(-pairs.score[places], kind="stable")]
    _, first = np.unique(errors.target[places], return_index=True)
    won = np.zeros(len(errors.target), dtype=bool)
    won[places[first]] = True
    return won


def _without_crowd(pairs: Pairs) -> Pairs:
    return pairs.only(~pairs.crowd[pairs.pair_truth])


def _other_category(across: Pairs, pairs: Pairs) -> Pairs:
    own = pairs.detections.category[across.pair_detection] == pairs.truth.category[across.pair_truth]
    return across.only(~own)
