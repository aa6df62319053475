"""The re-weighted bootstrap against evaluating the drawn patients outright, and its behaviour on clusters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lungct.evaluation.bootstrap import Draws, ap_draws, draw_patients, froc_draws, interval
from lungct.evaluation.coco_ap import COCO_IOUS, score_matches
from lungct.evaluation.froc import find, tally
from lungct.evaluation.match import greedy_match
from lungct.evaluation.pairs import Pairs, pair_up
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.types import Detections


def random_split(patients: int, slices: int, seed: int, *, alike: bool = False) -> tuple[CocoTruth, list[Detections]]:
    """No two scores are equal. ``alike``: the slices of a patient are all found or all missed."""
    random = np.random.default_rng(seed)
    images, annotations, detections = [], [], []
    for patient in range(patients):
        fate = random.random() < 0.6
        for _ in range(slices):
            image = CocoImage(len(images) + 1, "", 64, 64, {"patient_id": f"p{patient:03d}"})
            images.append(image)
            box = np.array([10.0, 10, 22, 22]) + random.integers(0, 30)
            annotations.append(CocoAnnotation(len(images), image.id, 1 + patient % 2, tuple(box.tolist())))
            found = fate if alike else random.random() < 0.6
            near = box + random.integers(-2, 3, 4) if found else np.array([0.0, 0, 5, 5])
            boxes = np.stack([near, [50.0, 0, 60, 9], [0, 50, 9, 60]])
            scores = np.sort(random.random(3) * [1, 0.7, 0.5])[::-1]
            detections.append(Detections(image.id, boxes, scores, np.full(3, 1 + patient % 2)))
    return CocoTruth({1: "a", 2: "b"}, images, annotations), detections


def repeated(truth: CocoTruth, detections: list[Detections], weight: dict[str, int]) -> Pairs:
    """The split in which every patient stands as often as drawn, under new ids."""
    images, annotations, found = [], [], []
    of_image = {one.image_id: one for one in detections}
    for image in truth.images:
        for copy in range(weight[image.patient_id]):
            new = f"{image.id:04d}/{copy}"
            images.append(dataclasses.replace(image, id=new))
            annotations += [
                dataclasses.replace(one, id=f"{one.id}/{copy}", image_id=new) for one in truth.annotations_of[image.id]
            ]
            found.append(dataclasses.replace(of_image[image.id], image_id=new))
    return pair_up(CocoTruth(truth.categories, images, annotations), found)


def patients_of(truth: CocoTruth) -> list[str]:
    return [image.patient_id for image in sorted(truth.images, key=lambda one: one.id)]


@pytest.mark.parametrize("patients", [3, 7])
def test_a_draw_equals_evaluating_the_drawn_patients(patients: int) -> None:
    truth, detections = random_split(patients, 3, seed=3)
    pairs = pair_up(truth, detections)
    draws = draw_patients(patients_of(truth), 12, seed=1)
    ap, ar = ap_draws(pairs, greedy_match(pairs, COCO_IOUS), draws)
    curves = froc_draws(tally(pairs, find(pairs)), draws)
    names = sorted(set(patients_of(truth)))
    for row, weight in enumerate(draws.weight.tolist()):
        drawn = repeated(truth, detections, dict(zip(names, weight, strict=True)))
        outright = score_matches(drawn, greedy_match(drawn, COCO_IOUS), COCO_IOUS)
        assert ap[row] == pytest.approx(list(outright.ap.values()), abs=1e-12)
        assert ar[row] == pytest.approx(list(outright.ar.values()), abs=1e-12)
        assert curves[row] == pytest.approx(list(tally(drawn, find(drawn)).curve.at.values()), abs=1e-12)


def test_every_patient_once_is_the_point_itself() -> None:
    truth, detections = random_split(9, 2, seed=5)
    pairs = pair_up(truth, detections)
    matches, finds = greedy_match(pairs, COCO_IOUS), find(pairs)
    once = draw_patients(patients_of(truth), 1, seed=0)
    once = Draws(np.ones_like(once.weight), once.patient_of_image)
    point = score_matches(pairs, matches, COCO_IOUS)
    assert ap_draws(pairs, matches, once)[0][0] == pytest.approx(list(point.ap.values()), abs=1e-12)
    assert froc_draws(tally(pairs, finds), once)[0] == pytest.approx(
        list(tally(pairs, finds).curve.at.values()), abs=1e-12
    )


def width_and_bounds(patients: int, slices: int, *, alike: bool = False) -> tuple[float, tuple[float, float], float]:
    truth, detections = random_split(patients, slices, seed=11, alike=alike)
    pairs = pair_up(truth, detections)
    matches = greedy_match(pairs, (0.5,))
    low, high = interval(ap_draws(pairs, matches, draw_patients(patients_of(truth), 1000, seed=2))[0][:, 0])
    return high - low, (low, high), score_matches(pairs, matches, (0.5,)).ap[0.5]


def test_interval_holds_the_point_and_shrinks_with_patients() -> None:
    few, (low, high), point = width_and_bounds(12, 2)
    many, _, _ = width_and_bounds(120, 2)
    assert low < point < high
    assert many < few / 2


def test_slices_that_stand_and_fall_together_widen_it() -> None:
    apart, _, _ = width_and_bounds(40, 8)
    together, _, _ = width_and_bounds(40, 8, alike=True)
    assert together > 1.5 * apart


def test_same_seed_same_draws_and_all_draws_full() -> None:
    names = ["a", "b", "b", "c"]
    first, again, other = (draw_patients(names, 50, seed) for seed in (4, 4, 5))
    assert (first.weight == again.weight).all()
    assert (first.weight != other.weight).any()
    assert (first.weight.sum(axis=1) == 3).all()
    assert first.patient_of_image.tolist() == [0, 1, 1, 2]
