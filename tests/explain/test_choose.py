"""Which detections are explained, and maps for several of them at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungct.explain.base import Explanation
from lungct.explain.choose import Chosen, choose
from lungct.explain.fuse import chosen_of, fused, groups_of
from lungct.explain.geometry import Geometry
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import Detections

IMAGE = CocoImage(1, "1.npz", 64, 64, {})
FOUND, LOST, CROWD = (10.0, 10.0, 20.0, 20.0), (40.0, 40.0, 50.0, 52.0), (0.0, 0.0, 5.0, 5.0)
TRUTH = CocoTruth(
    {1: "nodule", 2: "mass"},
    [IMAGE],
    [CocoAnnotation(5, 1, 1, FOUND), CocoAnnotation(6, 1, 2, LOST), CocoAnnotation(7, 1, 1, CROWD, iscrowd=1)],
    Path(),
)
DETECTIONS = Detections(
    1,
    np.array([(30, 30, 36, 36), (10, 10, 20, 21), (11, 10, 20, 20), (2, 50, 9, 60)], np.float32),
    np.array([0.5, 0.9, 0.8, 0.2], np.float32),
    np.array([1, 1, 1, 2]),
)


def pick(top: int = 9, outcomes: tuple[str, ...] = ("tp", "fp"), numbers: tuple[int, ...] = ()) -> Chosen:
    return choose(TRUTH, IMAGE, DETECTIONS, top=top, score_threshold=0.3, outcomes=outcomes, numbers=numbers)


def test_by_score() -> None:
    assert pick().kinds == ("TP", "FP", "FP")
    np.testing.assert_allclose(pick().detections.scores, [0.9, 0.8, 0.5])
    assert pick(top=1).kinds == ("TP",)
    assert not pick().missed.any()


@pytest.mark.parametrize(
    ("outcomes", "scores"), [(("tp",), [0.9]), (("fp",), [0.8, 0.5]), (("fn",), [0.0]), (("tp", "fn"), [0.9, 0.0])]
)
def test_by_outcome(outcomes: tuple[str, ...], scores: list[float]) -> None:
    np.testing.assert_allclose(pick(outcomes=outcomes).detections.scores, scores)


def test_a_missed_box_is_the_true_one_and_a_crowd_is_none() -> None:
    chosen = pick(outcomes=("fn",))
    assert chosen.kinds == ("FN",)
    assert chosen.missed.tolist() == [True]
    assert chosen.detections.boxes_xyxy_px.tolist() == [list(LOST)]
    assert chosen.detections.labels.tolist() == [2]
    assert [one.id for one in chosen.annotations if one] == [6]


def test_a_detection_on_a_crowd_is_not_explained() -> None:
    found = Detections(1, np.array([(0, 0, 5, 5), (10, 10, 20, 20)], np.float32), np.array([0.9, 0.8]), np.ones(2, int))
    chosen = choose(TRUTH, IMAGE, found, top=9, score_threshold=0.3)
    assert chosen.kinds == ("TP",)
    np.testing.assert_allclose(chosen.detections.scores, [0.8])


def test_by_number_among_all_of_the_image() -> None:
    np.testing.assert_allclose(pick(numbers=(1,)).detections.scores, [0.8])
    np.testing.assert_allclose(pick(numbers=(0, 2)).detections.scores, [0.9, 0.5])
    assert len(pick(numbers=(7,))) == 0


def test_one_map_for_a_class_or_an_image_is_the_largest_of_its_detections() -> None:
    flat = Geometry((4, 5), (4, 5), (4, 5), (4, 5))
    raw = [np.zeros((4, 5), np.float32) for _ in range(3)]
    raw[0][0, 0], raw[1][1, 1], raw[2][2, 2] = 8.0, 1.0, -3.0
    explanation = Explanation(raw, ["P2", "P3", "P2"], on_slice=True, rectify=True, record={"lost_fraction": [0, 0, 1]})
    chosen = pick(outcomes=("tp", "fp", "fn"))
    assert groups_of(chosen.detections, "detection") == [[0], [1], [2], [3]]
    assert groups_of(chosen.detections, "class") == [[0, 1, 2], [3]]
    together = fused(explanation, flat, [[0, 1, 2]])
    assert together.layers == ["P2+P3"]
    assert together.raw[0][0, 0] == together.raw[0][1, 1] == 1
    assert together.raw[0].sum() == 2
    assert together.record["of_detections"] == {"lost_fraction": [0, 0, 1], "flags": ["", "", "zero"]}
    of_image = chosen_of(chosen, groups_of(chosen.detections, "image"))
    assert of_image.detections.boxes_xyxy_px.tolist() == [[10, 10, 50, 52]]
    assert of_image.kinds == ("TP",)
    np.testing.assert_allclose(of_image.detections.scores, [0.9])
