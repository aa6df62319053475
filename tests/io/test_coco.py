"""COCO truth and results: round trips, other people's files, broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungct.errors import InputError
from lungct.io.coco import (
    CocoAnnotation,
    CocoImage,
    CocoTruth,
    read_detections,
    read_truth,
    write_detections,
    write_truth,
)
from lungct.types import Detections


@pytest.fixture
def truth() -> CocoTruth:
    image = CocoImage(
        1, "images/a/0001.npz", 64, 48, {"case_id": "a", "patient_id": "p", "spacing_mm": [0.7, 0.7, 1.2]}
    )
    box = CocoAnnotation(1, 1, 1, (3.5, 4.0, 10.25, 12.0), attributes={"diameter_mm": 5.0})
    return CocoTruth({1: "nodule"}, [image, CocoImage(2, "b.npz", 64, 48)], [box])


def test_truth_round_trip(truth: CocoTruth, tmp_path: Path) -> None:
    write_truth(tmp_path / "t.json", truth)
    back = read_truth(tmp_path / "t.json")
    assert list(back.images) == list(truth.images)
    assert back.annotations[0].box_xyxy_px == truth.annotations[0].box_xyxy_px
    assert back.annotations[0].area == 6.75 * 8
    assert back.root == tmp_path
    assert back.boxes_of(2).shape == (0, 4)
    assert back.images[0].patient_id == "p"
    assert back.images[1].patient_id == "2"


def test_detections_round_trip_keeps_images_without_any(truth: CocoTruth, tmp_path: Path) -> None:
    boxes = np.array([[1, 2, 5, 7], [0, 0, 2, 2]], np.float32)
    one = Detections(1, boxes, np.array([0.25, 0.75], np.float32), np.array([1, 1]))
    write_detections(tmp_path / "d.json", [one])
    first, second = read_detections(tmp_path / "d.json", truth)
    assert first.scores.tolist() == [0.75, 0.25]
    assert first.boxes_xyxy_px.tolist() == boxes[::-1].tolist()
    assert len(second) == 0
    assert second.boxes_xyxy_px.shape == (0, 4)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"image_id": 9}, "does not hold"),
        ({"score": 1.5}, "score 1.5"),
        ({"score": float("nan")}, "score"),
        ({"bbox": [0, 0, -1, 2]}, "bbox"),
        ({"bbox": [0, 0, 2]}, "broken"),
        ({"score": None}, "broken"),
    ],
)
def test_broken_detection_is_named(truth: CocoTruth, tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    row = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "score": 0.5, **change}
    (tmp_path / "d.json").write_text(json.dumps([row]))
    with pytest.raises(InputError, match=complaint):
        read_detections(tmp_path / "d.json", truth)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "JSON"),
        ("[]", "not a COCO"),
        ('{"images": [{"id": 1}]}', "broken COCO record"),
        ('{"images": [], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0,0,1,1]}]}', "unknown image"),
    ],
)
def test_broken_truth_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_truth(tmp_path / "t.json")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"bbox": [1, 2, 3]}, "annotation 9: bbox [1, 2, 3] is not [x, y, w, h] with w, h >= 0"),
        ({"bbox": [1, 2, "a", 3]}, "annotation 9: bbox [1, 2, 'a', 3] is not [x, y, w, h] with w, h >= 0"),
        ({"category_id": "one"}, "annotation 9: invalid literal for int() with base 10: 'one'"),
        ({}, "annotation 9: no bbox"),
    ],
)
def test_a_broken_annotation_is_told_by_its_id(tmp_path: Path, change: dict[str, object], line: str) -> None:
    row = {"id": 9, "image_id": 1, "category_id": 1, **change}
    document = {"images": [{"id": 1, "file_name": "a", "width": 8, "height": 8}], "annotations": [row]}
    (tmp_path / "t.json").write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        read_truth(tmp_path / "t.json")
    assert str(caught.value) == f"{tmp_path / 't.json'}: broken COCO record: {line}"


@pytest.mark.real
def test_another_tools_files(real_data: Path) -> None:
    truth = read_truth(real_data / "coco_string_ids" / "ground_truth.json")
    found = read_detections(real_data / "coco_string_ids" / "detections.json", truth)
    assert isinstance(truth.images[0].id, str)
    assert set(truth.categories) == {0}
    assert sum(map(len, found)) == len(json.loads((real_data / "coco_string_ids" / "detections.json").read_text()))


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("annotations", "text"),
        ("annotations", {"image_id": 1, "category_id": float("inf"), "bbox": [0, 0, 1, 1]}),
        ("annotations", {"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "attributes": 5}),
        ("images", {"id": 1, "file_name": "a", "width": 2, "height": 2, "lungct": [1]}),
        ("images", {"id": 1, "file_name": "a", "width": 2, "height": 2, "lungct": {"spacing_mm": [1]}}),
        ("images", {"id": [1], "file_name": "a", "width": 2, "height": 2}),
    ],
)
def test_records_of_another_shape_are_named(tmp_path: Path, kind: str, record: object) -> None:
    document = {
        "images": [{"id": 1, "file_name": "a", "width": 2, "height": 2}],
        "categories": [{"id": 1, "name": "n"}],
        kind: [record],
    }
    (tmp_path / "t.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"t\.json: broken COCO record"):
        read_truth(tmp_path / "t.json")
    (tmp_path / "t.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="not readable as JSON"):
        read_truth(tmp_path / "t.json")
