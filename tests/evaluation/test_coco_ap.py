"""AP and AR against the COCO reference program, on published detections and on random instances."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.evaluation.coco_ap import ALL_IOUS, COCO_IOUS, RECALLS, ApResult, average_precision
from lungct.evaluation.coco_summary import coco_summary
from lungct.evaluation.match import greedy_match
from lungct.evaluation.pairs import pair_up
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, read_detections, read_truth
from lungct.types import Detections

from .random_coco import instance
from .reference import EVERYTHING, reference, reference_summary


def assert_equal(ours: ApResult, theirs: tuple[np.ndarray, np.ndarray], truth: CocoTruth) -> None:
    """Equal to 1e-9 per threshold and category, and in the means."""
    precision, recall = theirs
    there = [place for place in range(precision.shape[2]) if precision[0, 0, place] > -1]
    ids = sorted(truth.categories)
    assert list(ours.ap_of) == [ids[place] for place in there]
    for place in there:
        assert np.allclose(
            list(ours.ap_of[ids[place]].values()), precision[:, :, place].mean(axis=1), rtol=0, atol=1e-9
        )
        assert np.allclose(list(ours.ar_of[ids[place]].values()), recall[:, place], rtol=0, atol=1e-9)
    if there:
        assert np.allclose(list(ours.ap.values()), precision[:, :, there].mean(axis=(1, 2)), rtol=0, atol=1e-9)
        assert np.allclose(list(ours.ar.values()), recall[:, there].mean(axis=1), rtol=0, atol=1e-9)
        assert np.allclose(list(ours.precision.values()), precision[:, :, there].mean(axis=2), rtol=0, atol=1e-9)
    else:
        assert all(math.isnan(value) for value in ours.ap.values())


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 12),
    categories=st.integers(1, 3),
    most=st.sampled_from([0, 3, 12, 130]),
    strings=st.booleans(),
    levels=st.sampled_from([2, 7, 10_000]),
    limit=st.sampled_from([1, 5, 100]),
    area=st.sampled_from([None, (20.0, 90.0)]),
)
def test_equals_the_reference_program(
    seed: int,
    images: int,
    categories: int,
    most: int,
    strings: bool,
    levels: int,
    limit: int,
    area: tuple[float, float] | None,
) -> None:
    truth, detections = instance(seed, images, categories, most, strings=strings, levels=levels)
    ours = average_precision(truth, detections, ALL_IOUS, limit, area)
    assert_equal(ours, reference(truth, detections, ALL_IOUS, limit, area or EVERYTHING), truth)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 10),
    categories=st.integers(1, 3),
    most=st.sampled_from([0, 4, 25, 130]),
    levels=st.sampled_from([3, 10_000]),
    scale=st.sampled_from([1, 4, 9]),
)
def test_summary_equals_what_the_reference_program_prints(
    seed: int, images: int, categories: int, most: int, levels: int, scale: int
) -> None:
    truth, detections = instance(seed, images, categories, most, strings=False, levels=levels, scale=scale)
    ours = [-1 if math.isnan(one) else one for one in coco_summary(pair_up(truth, detections)).values()]
    assert ours == pytest.approx(reference_summary(truth, detections), abs=1e-9)


def test_id_zero_is_read_as_the_reference_program_reads_it() -> None:
    truth = CocoTruth({1: "nodule"}, [CocoImage(5, "", 9, 9)], [CocoAnnotation(0, 5, 1, (1, 1, 4, 4))])
    detections = [Detections(5, np.array([[1.0, 1, 4, 4]]), np.array([0.9]), np.array([1]))]
    ours = average_precision(truth, detections, (0.5,))
    assert ours.ap[0.5] == 0
    assert_equal(ours, reference(truth, detections, (0.5,), 100, EVERYTHING), truth)


def test_hand_computed() -> None:
    """Two boxes; hit .9, false .8, hit .7: precisions 1, 1/2, 2/3 at recalls 1/2, 1/2, 1."""
    images = [CocoImage(1, "", 50, 50), CocoImage(2, "", 50, 50)]
    truth = CocoTruth(
        {1: "nodule"}, images, [CocoAnnotation(1, 1, 1, (0, 0, 10, 10)), CocoAnnotation(2, 2, 1, (0, 0, 10, 10))]
    )
    far, near = [30.0, 30, 40, 40], [0.0, 0, 10, 10]
    detections = [
        Detections(1, np.array([near, far]), np.array([0.9, 0.8]), np.array([1, 1])),
        Detections(2, np.array([near]), np.array([0.7]), np.array([1])),
    ]
    result = average_precision(truth, detections)
    assert result.truths == 2
    assert result.ap[0.6] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert result.ar[0.6] == 1
    assert result.mean_ap() == pytest.approx(result.ap[0.5])
    assert result.precision[0.5][RECALLS <= 0.5] == pytest.approx(1)


def test_a_box_is_taken_once_and_a_crowd_often() -> None:
    images = [CocoImage(1, "", 50, 50)]
    annotations = [CocoAnnotation(1, 1, 1, (0, 0, 10, 10)), CocoAnnotation(2, 1, 1, (20, 20, 40, 40), iscrowd=1)]
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 30, 30], [25, 25, 35, 35]])
    found = Detections(1, boxes, np.array([0.9, 0.8, 0.7, 0.6]), np.ones(4, int))
    pairs = pair_up(CocoTruth({1: "nodule"}, images, annotations), [found])
    matches = greedy_match(pairs, (0.5,))
    assert matches.hit[:, 0].tolist() == [True, False, False, False]
    assert matches.false[:, 0].tolist() == [False, True, False, False]


@pytest.mark.real
def test_published_detections_with_string_ids(real_data: Path) -> None:
    folder = real_data / "coco_string_ids"
    truth = read_truth(folder / "ground_truth.json")
    detections = read_detections(folder / "detections.json", truth, np.float64)
    result = average_precision(truth, detections)
    summary = coco_summary(pair_up(truth, detections))
    found = [summary[name] for name in ("AP", "AP50", "AP_small", "AR100")]
    assert [round(value, 3) for value in found] == [0.342, 0.722, 0.344, 0.491]
    printed = [-1 if math.isnan(one) else one for one in summary.values()]
    assert printed == pytest.approx(reference_summary(truth, detections), abs=1e-9)
    assert (result.mean_ap(), result.ap[0.5], result.mean_ar()) == (summary["AP"], summary["AP50"], summary["AR100"])
    document: Any = json.loads((folder / "detections.json").read_text())
    assert len(document) == sum(map(len, detections))
    assert_equal(result, reference(truth, detections, COCO_IOUS, 100, EVERYTHING), truth)
