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
from lungct.evaluation.match import greedy_match
from lungct.evaluation.pairs import pair_up
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, read_detections, read_truth
from lungct.types import Detections

from .reference import EVERYTHING, reference


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


def instance(
    seed: int, images: int, categories: int, most: int, *, strings: bool, levels: int
) -> tuple[CocoTruth, list[Detections]]:
    """Boxes on a small integer grid, so that equal scores, equal IoUs and IoUs on a threshold are common."""
    random = np.random.default_rng(seed)
    order = random.permutation(images).tolist()
    records = [CocoImage(str(one) if strings else one, "", 40, 40) for one in order]
    names = {3 * k: str(k) for k in range(categories)}
    annotations, detections = [], []
    for image in records:
        for _ in range(random.integers(0, 5)):
            identifier = len(annotations) + int(random.random() < 0.9)  # now and then the first id is 0
            identifier = identifier if identifier not in {a.id for a in annotations} else 1000 + len(annotations)
            area = None if random.random() < 0.5 else float(random.integers(1, 300))
            label = int(random.choice(list(names)))
            box = _boxes(random, 1)[0]
            crowd = int(random.random() < 0.2)
            annotations.append(CocoAnnotation(identifier, image.id, label, tuple(box.tolist()), crowd, area))
        count = int(random.integers(0, most + 1))
        if count:
            scores = np.sort(random.integers(0, levels, count) / levels)[::-1]
            labels = random.choice([*names, 999], count)
            detections.append(Detections(image.id, _boxes(random, count), scores, labels))
    return CocoTruth(names, records, annotations), detections


def _boxes(random: np.random.Generator, count: int) -> np.ndarray:
    corner = random.integers(0, 12, (count, 2))
    return np.concatenate([corner, corner + random.integers(1, 14, (count, 2))], axis=1).astype(float)


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
    small = average_precision(truth, detections, area_range_px=(0, 32**2))
    found = [result.mean_ap(), result.ap[0.5], small.mean_ap(), result.mean_ar()]
    assert [round(value, 3) for value in found] == [0.342, 0.722, 0.344, 0.491]
    document: Any = json.loads((folder / "detections.json").read_text())
    assert len(document) == sum(map(len, detections))
    assert_equal(result, reference(truth, detections, COCO_IOUS, 100, EVERYTHING), truth)
