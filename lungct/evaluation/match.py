"""Match detections with true boxes, on flat arrays over all images at once: the step that AP, FROC and counts share.

A detection and a true box can only meet on one image and in one category. With a the area of the detection, b of the
true box and i of their intersection, IoU = i / (a + b - i), and i / a where the true box is a crowd region.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.io.coco import CocoTruth
from lungct.types import BoolArray, Detections, FloatArray, IntArray

UNMATCHED = -1
CLOSE_TO_ONE = 1 - 1e-10


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of a whole split: of N boxes the image, the category, the area and the rank.

    Attributes:
        box_xyxy_px: (N, 4) float64.
        image: (N,) place of the image in :attr:`Pairs.image_ids`.
        category: (N,) place of the category in :attr:`Pairs.category_ids`.
        area_px: (N,) float64; of true boxes the file's own area where it has one.
    """

    box_xyxy_px: FloatArray
    image: IntArray
    category: IntArray
    area_px: FloatArray

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True, eq=False)
class Pairs:
    """All true boxes and detections of a split, and every pair of them that overlaps.

    Attributes:
        image_ids, category_ids: sorted, as the COCO tools sort them.
        truth: the G true boxes; ``crowd`` (G,) says which are crowd regions, ``id_zero`` (G,) which have the id 0.
        detections: the D detections, by category, image and falling score; at most ``max_detections`` of a category on
            an image. ``score`` (D,) float64; ``rank`` (D,) 0 for the best of its category on its image.
        pair_detection, pair_truth: (P,) places in the two tables; ``iou`` (P,); ``centre_inside`` (P,) the centre of
            the detection lies in the true box.
    """

    image_ids: Sequence[int | str]
    category_ids: Sequence[int]
    truth: Boxes
    crowd: BoolArray
    id_zero: BoolArray
    detections: Boxes
    score: FloatArray
    rank: IntArray
    pair_detection: IntArray
    pair_truth: IntArray
    iou: FloatArray
    centre_inside: BoolArray


@dataclass(frozen=True, eq=False)
class Matches:
    """The greedy one-to-one matching at T thresholds.

    Attributes:
        truth_of: (D, T) place of the true box that a detection took, -1 for none.
        hit, false: (D, T) true and false positives; a detection on an ignored box or out of the area range is neither.
        counted: (G,) true boxes that count: no crowd, inside the area range.
    """

    truth_of: IntArray
    hit: BoolArray
    false: BoolArray
    counted: BoolArray


def pair_up(truth: CocoTruth, detections: Iterable[Detections], max_detections: int = 100) -> Pairs:
    """Lay a split out flat and find the pairs that overlap.

    Detections of a category that the truth does not name are left out, as the COCO tools do.

    Raises:
        InputError: detections of an image that the truth does not hold.
    """
    image_ids = _sorted([image.id for image in truth.images])
    category_ids = sorted(truth.categories)
    true_boxes, crowd = _truth_arrays(truth, image_ids, category_ids)
    found, score, rank = _detection_arrays(detections, image_ids, category_ids, max_detections)
    of_detection, of_truth = _same_place(found, true_boxes, len(image_ids))
    iou, inside = _overlaps(found, true_boxes, crowd, of_detection, of_truth)
    keep = (iou > 0) | inside
    return Pairs(
        image_ids,
        category_ids,
        true_boxes,
        crowd,
        np.asarray([row.id == 0 for row in truth.annotations], dtype=bool),
        found,
        score,
        rank,
        of_detection[keep],
        of_truth[keep],
        iou[keep],
        inside[keep],
    )


def greedy_match(pairs: Pairs, ious: Sequence[float], area_range_px: tuple[float, float] | None = None) -> Matches:
    """COCO's matching: by falling score each detection takes the free true box of largest IoU >= the threshold.

    A true box that counts goes before one that is ignored (crowd, or its area out of the range); among equal IoUs the
    later box of the file is taken. A crowd region can be taken any number of times.

    All images are matched at once, rank by rank: two detections of one rank cannot compete for a box.

    Source: Lin 2014, COCO; the reference program's cocoeval.evaluateImg. It notes a match by the annotation's id, so a
    detection that took the annotation of id 0 counts as a false positive; kept, since published numbers have it.
    """
    low, high = area_range_px or (0.0, np.inf)
    ignored = pairs.crowd | (pairs.truth.area_px < low) | (pairs.truth.area_px > high)
    thresholds = np.minimum(np.asarray(ious, dtype=np.float64), CLOSE_TO_ONE)
    truth_of = _take_in_turn(pairs, ignored, thresholds)
    taken = truth_of != UNMATCHED
    on_ignored = taken & np.r_[ignored, False][truth_of]
    noted = taken & ~np.r_[pairs.id_zero, False][truth_of]
    outside = (pairs.detections.area_px < low) | (pairs.detections.area_px > high)
    return Matches(truth_of, noted & ~on_ignored, ~noted & ~on_ignored & ~outside[:, None], ~ignored)


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
    truth_of = np.full((len(pairs.score), len(thresholds)), UNMATCHED, dtype=np.int64)
    taken = np.zeros((len(pairs.crowd), len(thresholds)), dtype=bool)
    for turn in np.split(np.arange(len(use)), _starts(pairs.rank[detection])[1:]):
        mine, boxes = detection[turn], truth[turn]
        free = (iou[turn, None] >= thresholds) & ~taken[boxes]
        firsts = _starts(mine)
        preference = np.where(free, np.arange(len(turn), 0, -1)[:, None], 0)
        best = np.maximum.reduceat(preference, firsts, axis=0) if len(turn) else preference
        row, column = np.nonzero(best)
        chosen = boxes[len(turn) - best[row, column]]
        truth_of[mine[firsts[row]], column] = chosen
        taken[chosen, column] = ~pairs.crowd[chosen]
    return truth_of


def _starts(sorted_keys: IntArray) -> IntArray:
    return np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]]) if len(sorted_keys) else np.zeros(0, int)


def _sorted(ids: list[int | str]) -> list[int | str]:
    whole = all(isinstance(one, int) for one in ids)
    return sorted(ids) if whole else sorted(ids, key=str)


def _truth_arrays(
    truth: CocoTruth, image_ids: Sequence[int | str], category_ids: Sequence[int]
) -> tuple[Boxes, BoolArray]:
    image_at = {identifier: place for place, identifier in enumerate(image_ids)}
    category_at = {identifier: place for place, identifier in enumerate(category_ids)}
    rows = truth.annotations
    boxes = Boxes(
        np.asarray([row.box_xyxy_px for row in rows], dtype=np.float64).reshape(-1, 4),
        np.asarray([image_at[row.image_id] for row in rows], dtype=np.int64),
        np.asarray([category_at[row.category_id] for row in rows], dtype=np.int64),
        np.asarray([row.area_px for row in rows], dtype=np.float64),
    )
    return boxes, np.asarray([row.iscrowd != 0 for row in rows], dtype=bool)


def _detection_arrays(
    detections: Iterable[Detections], image_ids: Sequence[int | str], category_ids: Sequence[int], limit: int
) -> tuple[Boxes, FloatArray, IntArray]:
    image_at = {identifier: place for place, identifier in enumerate(image_ids)}
    found = [one for one in detections if len(one)]
    unknown = [one.image_id for one in found if one.image_id not in image_at]
    if unknown:
        raise InputError(f"detections of image {unknown[0]!r}, which the truth does not hold")
    image = np.repeat(
        np.asarray([image_at[one.image_id] for one in found], dtype=np.int64), [len(one) for one in found]
    )
    score = _joined([one.scores for one in found], (0,))
    label = _joined([one.labels for one in found], (0,)).astype(np.int64)
    box = _joined([one.boxes_xyxy_px for one in found], (0, 4))
    wanted = np.asarray(category_ids, dtype=np.int64)
    category = np.searchsorted(wanted, label)
    order = np.lexsort((-score, image, category))
    order = order[np.isin(label, wanted)[order]]
    rank = _rank_within(category[order] * len(image_ids) + image[order])
    order, rank = order[rank < limit], rank[rank < limit]
    box = box[order]
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    return Boxes(box, image[order], category[order], area), score[order], rank


def _joined(parts: list[NDArray[np.generic]], empty: tuple[int, ...]) -> NDArray[np.float64]:
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(empty)


def _rank_within(sorted_keys: IntArray) -> IntArray:
    starts = _starts(sorted_keys)
    return np.arange(len(sorted_keys)) - np.repeat(starts, np.diff(np.r_[starts, len(sorted_keys)]))


def _same_place(found: Boxes, truth: Boxes, images: int) -> tuple[IntArray, IntArray]:
    """(P,) and (P,): every detection with every true box of its image and category."""
    key = truth.category * images + truth.image
    order = np.argsort(key, kind="stable")
    wanted = found.category * images + found.image
    first = np.searchsorted(key[order], wanted, side="left")
    count = np.searchsorted(key[order], wanted, side="right") - first
    of_detection = np.repeat(np.arange(len(found)), count)
    step = np.arange(len(of_detection)) - np.repeat(np.cumsum(count) - count, count)
    return of_detection, order[np.repeat(first, count) + step]


def _overlaps(
    found: Boxes, truth: Boxes, crowd: BoolArray, of_detection: IntArray, of_truth: IntArray
) -> tuple[FloatArray, BoolArray]:
    a, b = found.box_xyxy_px[of_detection], truth.box_xyxy_px[of_truth]
    size = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = np.where((size > 0).all(axis=1), size[:, 0] * size[:, 1], 0.0)
    own = found.area_px[of_detection]
    union = own + np.where(crowd[of_truth], 0.0, (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) - shared)
    centre = (a[:, :2] + a[:, 2:]) / 2
    inside = np.all((centre >= b[:, :2]) & (centre <= b[:, 2:]), axis=1).reshape(-1)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0), inside
