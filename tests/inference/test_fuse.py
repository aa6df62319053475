"""Weighted box fusion against the authors' own program, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lungct.inference.fuse import weighted_box_fusion


def test_two_boxes_by_hand() -> None:
    fused = weighted_box_fusion([[0, 0, 10, 10], [0, 0, 10, 12]], [0.6, 0.2], [1, 1], [0, 1], weights=2)  # type: ignore[arg-type]
    assert_allclose(fused.boxes_xyxy, [[0, 0, 10, (0.6 * 10 + 0.2 * 12) / 0.8]])
    assert_allclose(fused.scores, [0.4])
    assert fused.counts.tolist() == [2]
    assert fused.fused_into.tolist() == [0, 0]


def test_what_one_of_three_saw_keeps_a_third_of_its_score() -> None:
    fused = weighted_box_fusion([[0, 0, 4, 4], [9, 9, 12, 12]], [0.9, 0.3], [1, 1], [0, 2], weights=3)  # type: ignore[arg-type]
    assert_allclose(fused.scores, [0.3, 0.1])


def test_labels_do_not_meet_and_nothing_fuses_to_nothing() -> None:
    fused = weighted_box_fusion([[0, 0, 4, 4]] * 2, [0.5, 0.9], [1, 2], [0, 0])  # type: ignore[arg-type]
    assert fused.labels.tolist() == [2, 1]
    assert fused.fused_into.tolist() == [1, 0]
    empty = np.zeros(0)
    assert len(weighted_box_fusion(empty.reshape(0, 4), empty, empty.astype(int), empty.astype(int), weights=2)) == 0


def test_a_later_box_is_matched_to_the_fused_one_not_to_the_first() -> None:
    first, second, third = [0, 0, 10, 10], [4, 0, 14, 10], [6.0, 0, 16, 10]
    boxes = np.array([first, second, third], dtype=float)
    fused = weighted_box_fusion(boxes, np.array([0.5, 0.5, 0.4]), np.ones(3, int), np.arange(3), iou=0.4, weights=3)
    assert len(fused) == 1, "its overlap with the first box alone is .25, with the mean of two .43"


@pytest.mark.parametrize("overflow", [False, True])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (2.0, 1.0, 0.5)])
def test_the_same_as_the_authors_program(overflow: bool, weights: tuple[float, ...]) -> None:
    oracle: Any = pytest.importorskip("ensemble_boxes").weighted_boxes_fusion
    random = np.random.default_rng(5)
    for iou in (0.3, 0.55):
        things = random.uniform(0.1, 0.6, (9, 2))
        boxes, scores, labels, source = [], [], [], []
        for number in range(3):
            for x, y in things[random.random(9) < 0.8]:
                for _ in range(random.integers(1, 3)):
                    low = np.array([x, y]) + random.normal(0, 0.02, 2)
                    boxes.append([*low, *(low + random.uniform(0.1, 0.2, 2))])
                    scores.append(random.uniform(0.05, 1))
                    labels.append(int(random.integers(1, 3)))
                    source.append(number)
        arrays = [np.array(one) for one in (boxes, scores, labels, source)]
        parts = [[one[arrays[3] == number] for number in range(3)] for one in arrays[:3]]
        wanted = oracle(*parts, weights=list(weights), iou_thr=iou, allows_overflow=overflow)
        fused = weighted_box_fusion(*arrays, iou=iou, weights=weights, overflow=overflow)
        assert len(fused) < len(boxes)
        assert_allclose(fused.scores, wanted[1], rtol=1e-5)
        assert_allclose(fused.boxes_xyxy, wanted[0], atol=1e-5)
        assert fused.labels.tolist() == wanted[2].astype(int).tolist()
