"""The false positives and the missed boxes of an evaluation as cases, in the order in which they are worth a look."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lungct.evaluation.froc import Finds
from lungct.evaluation.pairs import Pairs
from lungct.io.coco import CocoTruth
from lungct.registry import HU_WINDOWS
from lungct.report.cases import Case, pick
from lungct.types import IntArray

LOOKED_AT = 20
"""How many times more cases than are shown are looked through for different findings."""


def sheets(
    pairs: Pairs, finds: Finds, truth: CocoTruth, *, score: float, count: int
) -> dict[str, Callable[[Path], None]]:
    """File stem -> draws the sheet of at most ``count`` false positives, and of as many missed boxes.

    Empty where the slices do not lie beside the truth as NPZ files.
    """
    known = [image for image in truth.images if image.file_name.endswith(".npz")]
    if count < 1 or len(known) < len(truth.images) or not all((truth.root / one.file_name).is_file() for one in known):
        return {}
    most = LOOKED_AT * count
    false, unfound = false_positives(pairs, finds)[:most], missed(pairs, finds, score)[:most]
    cases = {
        "false_positives": [_case(pairs, truth, int(place), None) for place in false],
        "missed": [_case(pairs, truth, _touching(pairs, int(place)), int(place)) for place in unfound],
    }
    titles = {
        "false_positives": "False positives, the most certain first",
        "missed": f"Boxes missed at score {score:g}: those that nothing hits first, then by rising score",
    }
    return {
        name: functools.partial(
            _draw, truth=truth, cases=pick(some, count, explained=lambda _: True), title=titles[name]
        )
        for name, some in cases.items()
    }


def false_positives(pairs: Pairs, finds: Finds) -> IntArray:
    """(F,) detections that hit nothing, by falling score."""
    places = np.flatnonzero(finds.false)
    return places[np.argsort(-pairs.score[places], kind="stable")]


def missed(pairs: Pairs, finds: Finds, score: float) -> IntArray:
    """(M,) boxes that no detection of at least ``score`` hits, by the score that does; the largest first of equals."""
    places = np.flatnonzero(finds.counted & (finds.found_score < score))
    return places[np.lexsort((-pairs.truth.area_px[places], finds.found_score[places]))]


def _touching(pairs: Pairs, box: int) -> int:
    """The detection of best score that touches a true box, -1 for none."""
    found = pairs.pair_detection[pairs.pair_truth == box]
    return int(found[pairs.score[found].argmax()]) if len(found) else -1


def _case(pairs: Pairs, truth: CocoTruth, detection: int, box: int | None) -> Case:
    place = pairs.detections.image[detection] if box is None else pairs.truth.image[box]
    image = truth.image_of[pairs.image_ids[int(place)]]
    mine = pairs.pair_detection == detection
    if box is not None:
        mine &= pairs.pair_truth == box
    found = detection >= 0
    return Case(
        image,
        tuple(pairs.detections.box_xyxy_px[detection].tolist()) if found else None,
        float(pairs.score[detection]) if found else float("nan"),
        float(pairs.iou[mine].max(initial=0)),
        None if box is None else truth.annotations[box],
        truth.boxes_of(image.id),
    )


def _draw(path_stem: Path, truth: CocoTruth, cases: list[Case], title: str) -> None:
    from lungct.report.case_pictures import Gallery
    from lungct.report.case_sheet import write_case_sheet

    window_hu = HU_WINDOWS["lung"]
    write_case_sheet(path_stem.with_suffix(".png"), cases, Gallery(truth, {}, window_hu), title=title)
