"""The twelve numbers that the COCO program prints, for comparison with numbers of other papers.

AP over IoU .5:.95, at .5, at .75, and for small, medium and large boxes by area in px; AR over .5:.95 from the best
1, 10 and 100 detections of a category on an image, and for the three sizes. The program prints -1 where a number is not
defined; here it is NaN.

Source: Lin 2014, Microsoft COCO; cocoeval.summarize.
"""

from __future__ import annotations

import numpy as np

from lungct.evaluation.coco_ap import COCO_IOUS, ApResult, score_matches
from lungct.evaluation.match import Matches, area_within, greedy_match
from lungct.evaluation.pairs import Pairs

COCO_AREAS_PX = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Class -> lowest and highest area in px^2, both included, as the COCO program has them."""
FEWEST_DETECTIONS = (1, 10)


def coco_summary(pairs: Pairs) -> dict[str, float]:
    """The twelve numbers, under the program's names for them, as in ``AP50`` and ``AR_small``."""
    matches = greedy_match(pairs, COCO_IOUS)
    whole = score_matches(pairs, matches, COCO_IOUS)
    fewer = {f"AR{most}": _recall_of_best(pairs, matches, most) for most in FEWEST_DETECTIONS}
    del matches
    sized = {name: _of_area(pairs, *area) for name, area in COCO_AREAS_PX.items()}
    return {
        "AP": whole.mean_ap(),
        "AP50": whole.ap[0.5],
        "AP75": whole.ap[0.75],
        **{f"AP_{name}": one.mean_ap() for name, one in sized.items()},
        **fewer,
        "AR100": whole.mean_ar(),
        **{f"AR_{name}": one.mean_ar() for name, one in sized.items()},
    }


def _of_area(pairs: Pairs, lowest_px: float, highest_px: float) -> ApResult:
    return score_matches(pairs, greedy_match(pairs, COCO_IOUS, area_within(pairs, lowest_px, highest_px)), COCO_IOUS)


def _recall_of_best(pairs: Pairs, matches: Matches, most: int) -> float:
    """Mean recall over thresholds and categories of the ``most`` best detections of a category on each image.

    No detection is matched again: who takes a box does not depend on the detections after it.
    """
    categories = len(pairs.category_ids)
    truths = np.bincount(pairs.truth.category[matches.counted], minlength=categories)
    best = pairs.rank < most
    hits = matches.hit[best].sum(axis=1)
    found = np.bincount(pairs.detections.category[best], hits, minlength=categories) / matches.hit.shape[1]
    there = truths > 0
    return float((found[there] / truths[there]).mean()) if there.any() else float("nan")
