"""FROC against hand-computed curves."""

from __future__ import annotations

import numpy as np
import pytest

from lungct.evaluation.froc import corners, counts_at, curve_of, find, tally
from lungct.evaluation.pairs import pair_up
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import Detections

NODULE = (10.0, 10.0, 20.0, 20.0)
AWAY = (60.0, 60.0, 70.0, 70.0)


def split(images: int, boxes: dict[int, list[tuple[float, ...]]], crowds: frozenset[int] = frozenset()) -> CocoTruth:
    annotations = []
    for image, found in boxes.items():
        for box in found:
            identifier = len(annotations) + 1
            annotations.append(CocoAnnotation(identifier, image, 1, box, int(identifier in crowds)))  # type: ignore[arg-type]
    return CocoTruth({1: "nodule"}, [CocoImage(one, "", 100, 100) for one in range(images)], annotations)


def marks(image: int, *scored: tuple[tuple[float, ...], float]) -> Detections:
    boxes, scores = zip(*sorted(scored, key=lambda one: -one[1]), strict=True)
    return Detections(image, np.array(boxes), np.array(scores), np.ones(len(scores), int))


def test_hand_computed_curve() -> None:
    """4 images, 2 nodules: hit .9, false .8, false .7, hit .6, false .5; a double on the first nodule at .85."""
    truth = split(4, {0: [NODULE], 1: [NODULE]})
    detections = [
        marks(0, (NODULE, 0.9), ((11.0, 11, 21, 21), 0.85), (AWAY, 0.8)),
        marks(1, (NODULE, 0.6)),
        marks(2, (AWAY, 0.7), (AWAY, 0.5)),
    ]
    pairs = pair_up(truth, detections)
    finds = find(pairs)
    curve = tally(pairs, finds).curve
    assert curve.fp_per_image.tolist() == [0, 0, 0.25, 0.5, 0.5, 0.75]
    assert curve.sensitivity.tolist() == [0, 0.5, 0.5, 0.5, 1, 1]
    assert curve.score.tolist() == [0.9, 0.9, 0.8, 0.7, 0.6, 0.5]
    assert list(curve.at.values()) == [0.5, 0.5, 1, 1, 1, 1, 1]
    assert curve.mean == pytest.approx(6 / 7)
    assert counts_at(pairs, finds, 0.7) == {"tp": 1, "fp": 2, "fn": 1, "duplicates": 1}
    assert corners(curve).fp_per_image.tolist() == [0, 0, 0.5, 0.5, 0.75]


def test_a_hit_is_enough_overlap_or_the_centre_inside() -> None:
    truth = split(4, {one: [NODULE] for one in range(4)})
    shifted, small, large, beside = (18.0, 10, 28, 20), (14.0, 14, 16, 16), (0.0, 0, 31, 31), (19.5, 10, 29.5, 20)
    detections = [marks(image, (box, 0.5)) for image, box in enumerate((shifted, small, large, beside))]
    pairs = pair_up(truth, detections)
    # IoU 1/9, 1/25 with the centre inside, 100/961 with the centre inside, 1/39 with it outside.
    assert np.isfinite(find(pairs, 0.1).found_score).tolist() == [True, True, True, False]
    assert np.isfinite(find(pairs, 0.12).found_score).tolist() == [False, True, True, False]
    assert find(pairs, 0.1).false.tolist() == [False, False, False, True]


def test_a_crowd_region_excuses_and_is_not_missed() -> None:
    pairs = pair_up(split(1, {0: [NODULE, AWAY]}, crowds=frozenset({2})), [marks(0, (AWAY, 0.9), (NODULE, 0.2))])
    finds = find(pairs)
    assert finds.counted.tolist() == [True, False]
    assert counts_at(pairs, finds, 0.1) == {"tp": 1, "fp": 0, "fn": 0, "duplicates": 0}


def test_equal_scores_are_one_point() -> None:
    curve = curve_of(np.array([0.5, 0.5]), np.array([0.5, 0.5]), truths=4, images=2)
    assert curve.fp_per_image.tolist() == [0, 1]
    assert curve.sensitivity.tolist() == [0, 0.5]
    assert curve.at[0.5] == 0.25


def test_score_of_a_rate() -> None:
    """2 images; false at .9, .6 and twice at .4: one per image is reached with .6, two with .4."""
    curve = curve_of(np.array([0.5]), np.array([0.9, 0.6, 0.4, 0.4]), truths=1, images=2)
    assert [curve.score_at[rate] for rate in (0.5, 1, 2)] == [0.9, 0.5, 0.4]
    assert 0.9 < curve.score_at[0.25] < 0.9 + 1e-9


def test_nothing_found() -> None:
    pairs = pair_up(split(2, {0: [NODULE]}), [])
    curve = tally(pairs, find(pairs)).curve
    assert curve.mean == 0
    assert corners(curve).sensitivity.tolist() == [0]
