"""Which cases are shown: matching as in COCO, one per finding, in the right order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from lungct.io import coco
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.report import cases
from lungct.types import Detections


def truth_of(*boxes: tuple[float, float, float, float], label: int = 1) -> CocoTruth:
    annotations = [CocoAnnotation(number, 1, label, box) for number, box in enumerate(boxes, 1)]
    return CocoTruth({1: "nodule", 2: "other"}, [CocoImage(1, "1.npz", 100, 100)], annotations)


def found_of(*rows: tuple[tuple[float, float, float, float], float]) -> Detections:
    boxes = np.array([box for box, _ in rows], dtype=np.float32).reshape(-1, 4)
    return Detections(1, boxes, np.array([score for _, score in rows], np.float32), np.ones(len(rows), np.int64))


def test_iou_agrees_with_torchvision() -> None:
    corners = np.random.default_rng(0).uniform(0, 20, (2, 30, 2, 2))
    boxes = np.sort(corners, axis=2).reshape(2, 30, 4)
    theirs = box_iou(torch.from_numpy(boxes[0]), torch.from_numpy(boxes[1])).numpy()
    np.testing.assert_allclose(cases.iou_matrix(boxes[0], boxes[1]), theirs, atol=1e-12)


def test_a_second_hit_on_a_nodule_is_a_false_alarm() -> None:
    box = (10.0, 10.0, 20.0, 20.0)
    out = cases.sort_out(truth_of(box), [found_of((box, 0.9), ((10.0, 10.0, 20.0, 19.0), 0.8))])
    assert [round(case.score, 3) for case in out.hits] == [0.9]
    assert [round(case.score, 3) for case in out.false_alarms] == [0.8]
    assert out.missed == []


def test_a_better_free_box_is_taken_before_a_worse_one() -> None:
    near, far = (10.0, 10.0, 20.0, 20.0), (12.0, 10.0, 22.0, 20.0)
    out = cases.sort_out(truth_of(far, near), [found_of((near, 0.9), (near, 0.8))])
    assert [case.truth.id for case in out.hits if case.truth] == [2, 1]


def test_another_label_is_no_hit() -> None:
    box = (10.0, 10.0, 20.0, 20.0)
    out = cases.sort_out(truth_of(box, label=2), [found_of((box, 0.9))])
    assert (len(out.hits), len(out.false_alarms), len(out.missed)) == (0, 1, 1)


def test_a_missed_nodule_names_the_nearest_detection() -> None:
    out = cases.sort_out(
        truth_of((10.0, 10.0, 20.0, 20.0), (50.0, 50.0, 80.0, 80.0)), [found_of(((16.0, 10.0, 26.0, 20.0), 0.7))]
    )
    large, small = out.missed
    assert large.box_xyxy_px is None
    assert np.isnan(large.score)
    assert cases.facts(large, {}) == ["no detection touches it", "scan 1"]
    assert small.iou == pytest.approx(40 / 160)
    assert small.box_xyxy_px == (16, 10, 26, 20)


def test_an_image_without_detections_or_boxes() -> None:
    empty = cases.sort_out(truth_of(), [found_of()])
    assert (empty.hits, empty.false_alarms, empty.missed) == ([], [], [])
    assert len(cases.sort_out(truth_of((1.0, 1.0, 9.0, 9.0)), [found_of()]).missed) == 1


def test_one_case_per_nodule_and_explained_ones_first(run_folder: Path) -> None:
    truth = coco.read_truth(run_folder / "slices" / "test.json")
    detections = coco.read_detections(run_folder / "detections.json", truth)
    hits = cases.sort_out(truth, detections).hits
    assert len(hits) == 4
    picked = cases.pick(hits, 3, explained=lambda case: True)
    assert [case.image.case_id for case in picked] == ["case-test-0", "case-test-1"]
    assert picked[0] is hits[0]
    last = cases.pick(hits, 1, explained=lambda case: case is hits[3])
    assert last == [hits[3]]


def test_facts_leave_out_what_is_not_known() -> None:
    box = (10.0, 10.0, 20.0, 20.0)
    (hit,) = cases.sort_out(truth_of(box), [found_of((box, 0.9))]).hits
    assert cases.facts(hit, {"diameter_mm": " mm"}) == ["score 0.90", "IoU 1.00", "scan 1"]
    known = dataclasses.replace(hit, truth=CocoAnnotation(1, 1, 1, box, attributes={"diameter_mm": 6.54}))
    assert "diameter 6.54 mm" in cases.facts(known, {"diameter_mm": " mm"})
