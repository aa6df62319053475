"""All boxes and detections of a split on flat arrays, and every pair of them that can meet.

A detection and a true box can only meet on one image and in one category. With a the area of the detection, b of the
true box and i of their intersection, IoU = i / (a + b - i), and i / a where the true box is a crowd region.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.io.coco import CocoTruth
from lungct.types import BoolArray, Detections, FloatArray, IntArray

BLOCK_PAIRS = 50_000
"""How many pairs are looked at at once: their numbers then stay in a core's cache."""


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

    def only(self, keep: BoolArray) -> Pairs:
        """The same tables with some (P,) of the pairs."""
        return replace(
            self,
            pair_detection=self.pair_detection[keep],
            pair_truth=self.pair_truth[keep],
            iou=self.iou[keep],
            centre_inside=self.centre_inside[keep],
        )


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
    return Pairs(
        image_ids,
        category_ids,
        true_boxes,
        crowd,
        np.asarray([row.id == 0 for row in truth.annotations], dtype=bool),
        found,
        score,
        rank,
        *_meeting(found, true_boxes, crowd, len(image_ids)),
    )


def any_category(pairs: Pairs) -> Pairs:
    """The same boxes at the same places as if all were of one category, with every pair that overlaps."""
    if len(pairs.category_ids) == 1:
        return pairs
    boxes = pairs.detections, pairs.truth
    found, truth = (replace(one, category=np.zeros(len(one), dtype=np.int64)) for one in boxes)
    order = np.lexsort((-pairs.score, found.image))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = _rank_within(found.image[order])
    of_detection, of_truth, iou, inside = _meeting(found, truth, pairs.crowd, len(pairs.image_ids))
    return replace(
        pairs,
        category_ids=(0,),
        truth=truth,
        detections=found,
        rank=rank,
        pair_detection=of_detection,
        pair_truth=of_truth,
        iou=iou,
        centre_inside=inside,
    )


def starts_of(sorted_keys: IntArray) -> IntArray:
    """(N',) places at which a new value begins in sorted keys (N,)."""
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
    starts = starts_of(sorted_keys)
    return np.arange(len(sorted_keys)) - np.repeat(starts, np.diff(np.r_[starts, len(sorted_keys)]))


def _meeting(
    found: Boxes, truth: Boxes, crowd: BoolArray, images: int
) -> tuple[IntArray, IntArray, FloatArray, BoolArray]:
    """Every pair that overlaps: detection (P,), true box (P,), IoU (P,), whether the centre is inside (P,)."""
    of_detection, of_truth = _same_place(found, truth, images)
    parts = []
    for first in range(0, max(len(of_detection), 1), BLOCK_PAIRS):
        detection, box = of_detection[first : first + BLOCK_PAIRS], of_truth[first : first + BLOCK_PAIRS]
        iou, inside = _overlaps(found, truth, crowd, detection, box)
        keep = (iou > 0) | inside
        parts.append((detection[keep], box[keep], iou[keep], inside[keep]))
    detection, box, iou, inside = map(np.concatenate, zip(*parts, strict=True))
    return detection, box, iou, inside


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
