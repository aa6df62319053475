"""What the document of an evaluation on slices says, against the reference program and by hand."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from lungct.evaluation.coco_ap import COCO_IOUS
from lungct.evaluation.judged import EvaluateOptions
from lungct.evaluation.measures import measures
from lungct.evaluation.pairs import pair_up
from lungct.evaluation.size_classes import COCO_AREAS_PX, by_size
from lungct.evaluation.slices import judge_slices
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.registry import SIZE_EDGES_MM
from lungct.types import Detections

from .random_pairs import three_classes
from .reference import reference


def spaced(truth: CocoTruth, millimetres: float, patients: int = 6) -> CocoTruth:
    """The same split with square pixels of this size, its images shared out among patients."""
    images = [
        dataclasses.replace(
            one, lungct={"spacing_mm": [millimetres, millimetres, 1 + k % 2], "patient_id": f"p{k % patients}"}
        )
        for k, one in enumerate(truth.images)
    ]
    return dataclasses.replace(truth, images=images)


def squared(box: Any) -> np.ndarray:
    """The square of a box's longest side at its upper left corner."""
    corners = np.asarray(box, dtype=float).reshape(-1, 4)
    side = (corners[:, 2:] - corners[:, :2]).max(axis=1, keepdims=True)
    return np.concatenate([corners[:, :2], corners[:, :2] + side], axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_size_classes_equal_the_reference_program(seed: int) -> None:
    """With square boxes a class of the longest side is a class of the area, which the reference program has."""
    truth, found = three_classes(seed)
    annotations = [
        dataclasses.replace(one, box_xyxy_px=tuple(squared(one.box_xyxy_px)[0].tolist())) for one in truth.annotations
    ]
    truth = spaced(dataclasses.replace(truth, annotations=annotations), 0.5)
    found = [dataclasses.replace(one, boxes_xyxy_px=squared(one.boxes_xyxy_px)) for one in found]
    rows = {(one["unit"], one["class"]): one for one in by_size(pair_up(truth, found), truth)}
    edges = [0.0, *SIZE_EDGES_MM, 1e5]
    names = [f"below {edges[1]:g}", *(f"{a:g} to {b:g}" for a, b in itertools.pairwise(SIZE_EDGES_MM)), "30 and more"]
    areas = {("px", name): area for name, area in COCO_AREAS_PX.items()}
    bounds = [((low / 0.5) ** 2, (high / 0.5) ** 2) for low, high in itertools.pairwise(edges)]
    areas |= {("mm", name): area for name, area in zip(names, bounds, strict=True)}
    compared = 0
    for key, area in areas.items():
        precision, recall = reference(truth, found, COCO_IOUS, 100, area)
        there = precision[0, 0] > -1
        assert (key in rows) == there.any()
        if there.any():
            assert rows[key]["ap"]["0.5:0.95"] == pytest.approx(precision[:, :, there].mean(), abs=1e-9)
            assert rows[key]["ap"]["0.5"] == pytest.approx(precision[0][:, there].mean(), abs=1e-9)
            assert rows[key]["ar"]["0.5:0.95"] == pytest.approx(recall[:, there].mean(), abs=1e-9)
            compared += 1
    assert compared >= 5


def test_no_classes_in_mm_without_spacing() -> None:
    truth, found = three_classes(1)
    assert {one["unit"] for one in by_size(pair_up(truth, found), truth)} == {"px"}


def judged(**options: Any) -> dict[str, Any]:
    truth, found = three_classes(1)
    annotations = [
        dataclasses.replace(
            one, attributes={"malignancy": 1 + k % 5, "nodule_id": f"n{k}", "where": "left" if k % 3 else ""}
        )
        for k, one in enumerate(truth.annotations)
    ]
    truth = spaced(dataclasses.replace(truth, annotations=annotations), 0.4)
    return judge_slices(truth, found, EvaluateOptions(**{"bootstrap": 60, **options})).metrics


def test_document() -> None:
    metrics = judged()
    boxes = metrics["boxes"]
    assert [one["category"] for one in metrics["by_category"]] == ["solid", "part-solid", "ground glass"]
    assert sum(one["n"] for one in metrics["by_category"]) == boxes
    means = np.mean([one["ap"]["0.5"] for one in metrics["by_category"]])
    assert metrics["ap"]["0.5"] == pytest.approx(means, abs=1e-12)
    assert sum(one["n"] for one in metrics["by_size"] if one["unit"] == "mm") == boxes
    assert metrics["errors"]["missed"]["n"] == 17
    other = metrics["other_ap"]
    assert 0 < other["voc_every_point"]["0.75"] < other["voc_every_point"]["0.1"] < 1
    assert 0 < other["score_thresholds"]["map"] < other["score_thresholds"]["mean_iou"] < 1
    assert np.sum(metrics["confusion"]["counts"]) > boxes
    assert metrics["calibration"]["n"] == metrics["detections"]
    low, high = metrics["ci95"]["ar@0.5"]
    assert low < metrics["ar"]["0.5"] < high
    for one in (*metrics["by_size"], *metrics["by_category"]):
        low, high = one["ci95"]["ap@0.5"]
        assert low <= one["ap"]["0.5"] <= high
    assert len(metrics["coco"]) == 12
    assert metrics["coco"]["AP"] == metrics["ap"]["0.5:0.95"]
    low, high = metrics["ci95"]["f1"]
    assert low < metrics["counts"]["f1"] < high


def test_breakdown_by_attributes_of_box_and_image() -> None:
    rows = judged()["breakdown"]
    assert list(dict.fromkeys(one["attribute"] for one in rows)) == ["malignancy", "diameter_mm", "slice_thickness_mm"]
    levels = [one["level"] for one in rows if one["attribute"] == "malignancy"]
    assert levels == ["1", "2", "3", "4", "5"]
    thick = {one["level"]: one for one in rows if one["attribute"] == "slice_thickness_mm"}
    assert set(thick) == {"1 to 1.5", "1.5 to 2.5"}
    assert sum(one["n"] for one in thick.values()) == judged()["boxes"]
    assert any(one["patients"] == 1 for one in rows)
    for one in rows:
        if one["patients"] == 1:
            assert one["sensitivity_ci95"] is None
        else:
            low, high = one["sensitivity_ci95"]
            assert low <= one["sensitivity"] <= high


def test_the_whole_is_the_mean_of_its_levels() -> None:
    metrics = judged(score=0.3)
    for attribute in ("malignancy", "slice_thickness_mm"):
        rows = [one for one in metrics["breakdown"] if one["attribute"] == attribute]
        total = sum(one["n"] * one["sensitivity"] for one in rows)
        assert total == pytest.approx(metrics["counts"]["tp"])
        mean = sum(one["n"] * one["froc_mean"] for one in rows) / metrics["boxes"]
        assert mean == pytest.approx(metrics["froc"]["mean"], abs=0.02), "read at the curve's points, not between them"


def test_every_number_has_one_row() -> None:
    metrics = judged()
    rows = list(measures(metrics))
    assert len({(one.name, one.subset) for one in rows}) == len(rows)
    table = {(one.name, one.subset): one for one in rows}
    assert table["ap@0.5", ""].ci95 == tuple(metrics["ci95"]["ap@0.5"])
    assert table["dap", "error: background"].n == metrics["errors"]["background"]["n"]
    assert table["ap@0.5", "size: medium px"].value > 0
    assert table["ap@0.5", "category: solid"].ci95[0] > 0
    assert table["area_ratio_median", "box: bigger"].value > 1
    assert {"voc_11_point@0.5", "score_thresholds_map", "ece", "auc", "froc_mean"} <= {name for name, _ in table}


def test_nothing_found() -> None:
    truth, _ = three_classes(1)
    metrics = judge_slices(truth, [], EvaluateOptions(bootstrap=10)).metrics
    assert metrics["calibration"] == {}
    assert metrics["area_ratios"]["n"] == 0
    assert [row[-1] for row in metrics["confusion"]["counts"][:3]] == [one["n"] for one in metrics["by_category"]]


def test_crowds_alone_are_no_category() -> None:
    truth = CocoTruth(
        {1: "a", 2: "b"},
        [CocoImage(1, "", 50, 50)],
        [CocoAnnotation(1, 1, 1, (0, 0, 9, 9)), CocoAnnotation(2, 1, 2, (20, 20, 40, 40), iscrowd=1)],
    )
    found = [Detections(1, np.array([[0.0, 0, 9, 9], [21, 21, 30, 30]]), np.array([0.9, 0.8]), np.array([1, 2]))]
    metrics = judge_slices(truth, found, EvaluateOptions(bootstrap=0)).metrics
    assert [one["category"] for one in metrics["by_category"]] == ["a"]
    assert metrics["calibration"]["n"] == 1
    assert all(one["n"] == 0 for one in metrics["errors"].values())
