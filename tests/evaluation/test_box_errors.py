"""Sizes of boxes and the confusion of categories at one score."""

from __future__ import annotations

import numpy as np
import pytest

from lungct.evaluation.box_errors import area_ratios, confusion_matrix
from lungct.evaluation.pairs import pair_up
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import Detections

from .random_pairs import three_classes


def test_area_ratios() -> None:
    """Boxes of 100 px^2 hit by 200, 160, 100 and 50; a fifth is hit below the score, a sixth is a crowd."""
    widths = (20, 16, 10, 5, 30, 10)
    truth = CocoTruth(
        {1: "n"},
        [CocoImage(k, "", 50, 50) for k in range(6)],
        [CocoAnnotation(k + 1, k, 1, (0, 0, 10, 10), int(k == 5)) for k in range(6)],
    )
    found = [
        Detections(k, np.array([[0.0, 0, width, 10]]), np.array([0.4 if k == 4 else 0.9]), np.array([1]))
        for k, width in enumerate(widths)
    ]
    ratios = area_ratios(pair_up(truth, found), 0.3, 0.5)
    assert ratios["n"] == 4
    assert ratios["bigger"] == pytest.approx({"share": 0.5, "mean": 1.8, "median": 1.8, "min": 1.6, "max": 2})
    assert ratios["smaller"] == {"share": 0.25, "mean": 0.5, "median": 0.5, "min": 0.5, "max": 0.5}
    assert ratios["equal"] == {"share": 0.25}
    nothing = area_ratios(pair_up(truth, []), 0.3, 0.5)
    assert (nothing["n"], nothing["bigger"]["share"], nothing["smaller"]["max"]) == (0, None, None)


def test_confusion_matrix_by_hand() -> None:
    """Class 5: one right, one called 9, one missed; class 9: one right and a false one; a mark on a crowd, one weak."""
    boxes = {1: (5, (0, 0, 10, 10)), 2: (5, (20, 0, 30, 10)), 3: (5, (40, 0, 50, 10)), 4: (9, (60, 0, 70, 10))}
    annotations = [CocoAnnotation(k, 1, label, box) for k, (label, box) in boxes.items()]
    annotations.append(CocoAnnotation(5, 1, 9, (80, 0, 99, 10), iscrowd=1))
    marks = [
        ((0, 0, 10, 10), 5, 0.9),
        ((20, 0, 30, 10), 9, 0.9),
        ((60, 0, 70, 10), 9, 0.9),
        ((60, 60, 70, 70), 9, 0.8),
        ((82, 0, 90, 9), 9, 0.9),
        ((40, 0, 50, 10), 5, 0.4),
    ]
    box, label, score = (np.array(column) for column in zip(*sorted(marks, key=lambda one: -one[2]), strict=True))
    truth = CocoTruth({9: "b", 5: "a"}, [CocoImage(1, "", 100, 100)], annotations)
    matrix = confusion_matrix(pair_up(truth, [Detections(1, box.astype(float), score, label)]), 0.5, 0.5)
    assert matrix.tolist() == [[1, 1, 1], [0, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_boxes_and_columns_detections(seed: int) -> None:
    truth, found = three_classes(seed)
    matrix = confusion_matrix(pair_up(truth, found), 0.5, 0.3)
    boxes = [sum(one.category_id == label for one in truth.annotations) for label in (1, 2, 3)]
    marks = [sum(int(((one.scores >= 0.3) & (one.labels == label)).sum()) for one in found) for label in (1, 2, 3)]
    assert matrix[:3].sum(axis=1).tolist() == boxes
    assert matrix[:, :3].sum(axis=0).tolist() == marks
    assert matrix[3, 3] == 0
