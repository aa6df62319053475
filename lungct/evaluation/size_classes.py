"""AP and AR of boxes of one size: COCO's three classes of area in px, and classes of the longest side in mm.

Of a class, true boxes of another size are ignored, and so is a detection of another size that takes no box: the rule of
COCO's area ranges. A detection that takes a box of the class counts whatever its own size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from lungct.evaluation.bootstrap import Draws, ap_draws, interval
from lungct.evaluation.breakdown import between
from lungct.evaluation.coco_ap import COCO_IOUS, score_matches
from lungct.evaluation.coco_summary import COCO_AREAS_PX
from lungct.evaluation.match import Matches, Within, area_within, greedy_match
from lungct.evaluation.pairs import Boxes, Pairs
from lungct.io.coco import CocoTruth
from lungct.registry import SIZE_EDGES_MM
from lungct.types import FloatArray


def by_size(pairs: Pairs, truth: CocoTruth, draws: Draws | None = None) -> list[dict[str, Any]]:
    """Rows of unit, class, n boxes, ``ap``, ``ar`` and ``ci95`` at IoU .5 and over .5:.95.

    Classes in mm are there where spacing is known; a class without a true box has no row.
    """
    rows = []
    for unit, name, within in _classes(pairs, truth):
        matches = greedy_match(pairs, COCO_IOUS, within)
        result = score_matches(pairs, matches, COCO_IOUS)
        if result.truths:
            ap = {"0.5": result.ap[0.5], "0.5:0.95": result.mean_ap()}
            ar = {"0.5": result.ar[0.5], "0.5:0.95": result.mean_ar()}
            ci95 = class_intervals(pairs, matches, draws)
            rows.append({"unit": unit, "class": name, "n": result.truths, "ap": ap, "ar": ar, "ci95": ci95})
    return rows


def class_intervals(pairs: Pairs, matches: Matches, draws: Draws | None) -> dict[str, list[float]]:
    """``ap@0.5``, ``ap@0.5:0.95`` and the same of AR -> 95 % interval, from matches at COCO's ten thresholds."""
    if draws is None:
        return {}
    found = {}
    for kind, drawn in zip(("ap", "ar"), ap_draws(pairs, matches, draws), strict=True):
        if np.isfinite(drawn).any():
            found[f"{kind}@0.5"] = list(interval(drawn[:, 0]))
            found[f"{kind}@0.5:0.95"] = list(interval(drawn.mean(axis=1)))
    return found


def _classes(pairs: Pairs, truth: CocoTruth) -> Iterator[tuple[str, str, Within]]:
    for name, (lowest, highest) in COCO_AREAS_PX.items():
        yield "px", name, area_within(pairs, lowest, highest)
    spacing = {image.id: image.spacing_mm_xy for image in truth.images}
    spacing_mm_xy = [spacing[identifier] for identifier in pairs.image_ids]
    if any(one is None for one in spacing_mm_xy):
        return
    sizes = [longest_side_mm(boxes, np.asarray(spacing_mm_xy)) for boxes in (pairs.truth, pairs.detections)]
    edges = (0.0, *SIZE_EDGES_MM, np.inf)
    for low, high in itertools.pairwise(edges):
        truth_in, detection_in = ((size >= low) & (size < high) for size in sizes)
        yield "mm", between(low, SIZE_EDGES_MM), Within(truth_in, detection_in)


def longest_side_mm(boxes: Boxes, spacing_mm_xy: FloatArray) -> FloatArray:
    """(N,) longest side of each box, given the (I, 2) spacing of each image."""
    sides = (boxes.box_xyxy_px[:, 2:] - boxes.box_xyxy_px[:, :2]) * spacing_mm_xy[boxes.image]
    longest: FloatArray = sides.max(axis=1)
    return longest
