"""What a true positive is: COCO's greedy matching at IoU .5, within the category."""

from __future__ import annotations

import numpy as np

from lungct.explain.matching import matched
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import Detections

IMAGE = CocoImage(1, "1.npz", 100, 100)
TRUTH = CocoTruth(
    {1: "nodule", 2: "mass"},
    [IMAGE, CocoImage(2, "2.npz", 100, 100)],
    [
        CocoAnnotation(5, 1, 1, (10, 10, 20, 20)),
        CocoAnnotation(6, 1, 1, (50, 50, 70, 70)),
        CocoAnnotation(7, 2, 1, (30, 30, 40, 40)),
        CocoAnnotation(8, 1, 1, (80, 80, 99, 99), iscrowd=1),
    ],
)


def ids(boxes: list[list[float]], scores: list[float], labels: list[int]) -> list[int | str | None]:
    detections = Detections(1, np.array(boxes, np.float32), np.array(scores, np.float32), np.array(labels, np.int64))
    return [None if one is None else one.id for one in matched(TRUTH, IMAGE, detections)]


def test_the_best_score_takes_the_box() -> None:
    assert ids([[10, 10, 20, 19], [10, 10, 20, 20], [50, 50, 70, 68]], [0.9, 0.8, 0.7], [1, 1, 1]) == [5, None, 6]


def test_order_of_the_file_does_not_matter() -> None:
    assert ids([[10, 10, 20, 20], [50, 50, 70, 68], [10, 10, 20, 19]], [0.8, 0.7, 0.9], [1, 1, 1]) == [None, 6, 5]


def test_another_category_or_image_or_a_crowd_is_no_match() -> None:
    assert ids([[10, 10, 20, 20], [30, 30, 40, 40], [80, 80, 99, 99]], [0.9, 0.8, 0.7], [2, 1, 1]) == [None] * 3


def test_unknown_category_keeps_its_place() -> None:
    assert ids([[10, 10, 20, 20], [10, 10, 20, 20]], [0.9, 0.5], [3, 1]) == [None, 5]


def test_overlap_of_a_half_is_enough() -> None:
    assert ids([[10, 10, 20, 15]], [0.9], [1]) == [5]
    assert ids([[10, 10, 20, 14.9]], [0.9], [1]) == [None]


def test_no_detection() -> None:
    assert matched(TRUTH, IMAGE, Detections(1, np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))) == []


def test_a_box_of_id_0_is_found_and_a_crowd_of_id_0_is_not() -> None:
    for crowd, expected in ((0, [0]), (1, [None])):
        truth = CocoTruth({1: "nodule"}, [IMAGE], [CocoAnnotation(0, 1, 1, (10, 10, 20, 20), iscrowd=crowd)])
        detections = Detections(1, np.array([[10.0, 10, 20, 20]]), np.array([0.9]), np.array([1]))
        assert [one and one.id for one in matched(truth, IMAGE, detections)] == expected
