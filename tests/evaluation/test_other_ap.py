"""VOC's and the score-threshold AP on hand-computed curves and against slow second readings of their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lungct.evaluation.other_ap import threshold_ap, voc_ap
from lungct.evaluation.pairs import pair_up
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import Detections

from .random_pairs import three_classes

NEAR, FAR = [0.0, 0, 10, 10], [30.0, 30, 40, 40]


def two_boxes(*marks: tuple[int, list[float], float]) -> tuple[CocoTruth, list[Detections]]:
    """A box at ``NEAR`` on each of two images; marks of (image, box, score)."""
    images = [CocoImage(1, "", 50, 50), CocoImage(2, "", 50, 50)]
    truth = CocoTruth({1: "nodule"}, images, [CocoAnnotation(k, k, 1, (0, 0, 10, 10)) for k in (1, 2)])
    found = []
    for image in (1, 2):
        mine = [(box, score) for place, box, score in marks if place == image]
        boxes, scores = np.array([box for box, _ in mine]).reshape(-1, 4), np.array([score for _, score in mine])
        found.append(Detections(image, boxes, scores, np.ones(len(mine), int)))
    return truth, found


def test_voc_hand_computed() -> None:
    """Hit .9, false .8, hit .7: envelope 1 up to recall 1/2, then 2/3."""
    result = voc_ap(pair_up(*two_boxes((1, NEAR, 0.9), (1, FAR, 0.8), (2, NEAR, 0.7))))
    assert result.eleven_point == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert result.every_point == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_voc_does_not_turn_to_a_second_box() -> None:
    """Both detections overlap the left box most; COCO would give the second the right box, VOC does not."""
    boxes = [(0, 0, 10, 10), (4, 0, 14, 10)]
    truth = CocoTruth(
        {1: "n"}, [CocoImage(1, "", 50, 50)], [CocoAnnotation(k + 1, 1, 1, box) for k, box in enumerate(boxes)]
    )
    marks = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10]])
    pairs = pair_up(truth, [Detections(1, marks, np.array([0.9, 0.8]), np.ones(2, int))])
    assert voc_ap(pairs).every_point == 0.5


def test_threshold_hand_computed() -> None:
    """Hit .95 (IoU .9), false .85, hit .35 (IoU .5): points (1, .5) at .9, (1/2, .5) at .8, (2/3, 1) at .3."""
    marks = (1, [0.0, 0, 10, 9], 0.95), (1, FAR, 0.85), (2, [0.0, 0, 10, 5], 0.35)
    result = threshold_ap(pair_up(*two_boxes(*marks)))
    assert result.precision.tolist() == pytest.approx([0, 1, 0.5, 0.5, 0.5, 0.5, 0.5, *[2 / 3] * 4])
    assert result.recall.tolist() == pytest.approx([0, *[0.5] * 6, *[1] * 4])
    assert result.mean_ap == pytest.approx(1 * 0.5 + 2 / 3 * 0.5)
    assert result.mean_iou == pytest.approx((10 * 0.9 + 4 * 0.5) / 14)


def test_an_overlap_of_exactly_the_threshold_is_none() -> None:
    marks = two_boxes((1, [0.0, 0, 10, 5], 1.0))
    assert threshold_ap(pair_up(*marks), 0.5).mean_ap == 0
    assert threshold_ap(pair_up(*marks), 0.49).mean_ap == 0.5


def test_crowds_are_no_errors() -> None:
    truth, found = two_boxes((1, NEAR, 0.9), (2, NEAR, 0.8))
    crowd = CocoAnnotation(2, 2, 1, (0, 0, 10, 10), iscrowd=1)
    pairs = pair_up(CocoTruth(truth.categories, truth.images, [truth.annotations[0], crowd]), found)
    assert voc_ap(pairs).every_point == threshold_ap(pairs).mean_ap == 1


def test_nothing_found_and_nothing_to_find() -> None:
    truth, _ = two_boxes()
    nothing = pair_up(truth, [])
    assert (voc_ap(nothing).eleven_point, threshold_ap(nothing).mean_ap, threshold_ap(nothing).mean_iou) == (0, 0, 0)
    empty = pair_up(CocoTruth({1: "n"}, truth.images, []), [])
    assert math.isnan(voc_ap(empty).every_point)
    assert math.isnan(threshold_ap(empty).mean_ap)


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def flat(found: list[Detections]) -> list[tuple[float, int, int, tuple[float, ...]]]:
    """(score, image, label, box) of every detection, best first."""
    rows = [
        (score, one.image_id, label, tuple(box))
        for one in found
        for score, label, box in zip(one.scores.tolist(), one.labels.tolist(), one.boxes_xyxy_px.tolist(), strict=True)
    ]
    return sorted(rows, key=lambda row: -row[0])  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(12))
def test_voc_second_reading(seed: int) -> None:
    truth, found = three_classes(seed)
    eleven, every = [], []
    for label in (1, 2, 3):
        boxes = [one for one in truth.annotations if one.category_id == label]
        taken: set[object] = set()
        curve, hits, wrong = [], 0, 0
        for _, image, guess, box in flat(found):
            if guess != label:
                continue
            best = max(
                (one for one in boxes if one.image_id == image), key=lambda one: iou(box, one.box_xyxy_px), default=None
            )
            if best is not None and iou(box, best.box_xyxy_px) >= 0.5 and best.id not in taken:
                taken.add(best.id)
                hits += 1
            else:
                wrong += 1
            curve.append((hits / len(boxes), hits / (hits + wrong)))

        def envelope(recall: float, curve: list[tuple[float, float]] = curve) -> float:
            return max((p for r, p in curve if r >= recall - 1e-12), default=0.0)

        eleven.append(sum(envelope(k / 10) for k in range(11)) / 11)
        edges = [0.0, *sorted({r for r, _ in curve})]
        every.append(sum((b - a) * envelope(b) for a, b in itertools.pairwise(edges)))
    result = voc_ap(pair_up(truth, found))
    assert result.eleven_point == pytest.approx(np.mean(eleven), abs=1e-12)
    assert result.every_point == pytest.approx(np.mean(every), abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_threshold_second_reading(seed: int) -> None:
    truth, found = three_classes(seed)
    aps: dict[int, float] = dict.fromkeys((1, 2, 3), 0.0)
    last = dict.fromkeys(aps, 0.0)
    ious = []
    for step in range(10, -1, -1):
        hits, wrong = dict.fromkeys(aps, 0), dict.fromkeys(aps, 0)
        taken: set[object] = set()
        for score, image, guess, box in flat(found):
            if score < step / 10:
                continue
            best = max(truth.annotations_of[image], key=lambda one: iou(box, one.box_xyxy_px), default=None)
            overlap = iou(box, best.box_xyxy_px) if best else 0
            if overlap > 0.21:
                ious.append(overlap)
            if best and overlap > 0.21 and best.category_id == guess and best.id not in taken:
                taken.add(best.id)
                hits[guess] += 1
            else:
                wrong[guess] += 1
        for label in aps:
            recall = hits[label] / sum(one.category_id == label for one in truth.annotations)
            aps[label] += hits[label] / max(hits[label] + wrong[label], 1) * (recall - last[label])
            last[label] = recall
    result = threshold_ap(pair_up(truth, found))
    assert result.mean_ap == pytest.approx(np.mean(list(aps.values())), abs=1e-12)
    assert result.mean_iou == pytest.approx(np.mean(ious), abs=1e-12)
