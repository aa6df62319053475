"""Detections come back in stored pixels, in order, whatever the batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from lungct.errors import InputError
from lungct.inference.detect import PASS_PX, detect_arrays, detect_slices, to_stored
from lungct.io.coco import read_truth
from lungct.models.card import ModelCard
from lungct.models.detector import LoadedModel, build_detector, score_threshold
from lungct.models.preprocess import to_input
from lungct.registry import DETECTORS
from tests.models.test_detector import CARD
from tests.training.disks import write_disks


def _model(**changes: object) -> LoadedModel:
    torch.manual_seed(0)
    card: ModelCard = dataclasses.replace(CARD, **changes)  # type: ignore[arg-type]
    return LoadedModel(build_detector(card).eval(), card)


def _images(*shapes: tuple[int, int]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int16]]]:
    random = np.random.default_rng(0)
    return [random.integers(-1000, 500, (3, *shape)).astype(np.int16) for shape in shapes]


def test_boxes_lie_in_the_stored_slice_and_scores_fall() -> None:
    for one in detect_arrays(_model(), _images((50, 70), (64, 40)), score_threshold=0.0):
        height, width = ((50, 70), (64, 40))[int(one.image_id)]
        assert len(one)
        assert (one.boxes_xyxy_px >= 0).all()
        assert (one.boxes_xyxy_px[:, 2] <= width).all()
        assert (one.boxes_xyxy_px[:, 3] <= height).all()
        assert (np.diff(one.scores) <= 0).all()
        assert set(one.labels) == {1}


def test_boxes_in_the_padding_and_boxes_of_no_class_are_left_out() -> None:
    output = {
        "boxes": torch.tensor([[10.0, 10, 30, 30], [140, 10, 160, 30], [10, 10, 30, 30]]),
        "scores": torch.tensor([0.2, 0.9, 0.8]),
        "labels": torch.tensor([1, 1, 0]),
    }
    found = to_stored(output, _model(), 5, (50, 64))
    assert found.boxes_xyxy_px.tolist() == [[5.0, 5.0, 15.0, 15.0]]


def test_network_boxes_are_divided_by_the_magnification() -> None:
    model = _model()
    image = _images((48, 48))[0]
    found = detect_arrays(model, [image], score_threshold=0.0, amp="off")[0]
    with torch.inference_mode(), score_threshold(model.detector, 0.0):
        network = model.detector([to_input(image, model.card)])[0]
    assert np.allclose(found.boxes_xyxy_px * 2.0, network["boxes"].numpy(), atol=1e-4)


@pytest.mark.parametrize("detector", list(DETECTORS))
def test_boxes_are_not_rounded_to_the_format_of_the_network(detector: str) -> None:
    model = _model(detector=detector, magnify=1.0)
    for name, weight in model.detector.named_parameters():
        if "bbox_reg" in name:  # a RetinaNet starts with boxes that are its anchors
            torch.nn.init.normal_(weight, std=0.1 if detector == "fcos" else 0.3)
        if detector == "fcos" and "bbox_reg.bias" in name:  # and FCOS with boxes without extent, of no class
            torch.nn.init.constant_(weight, 2.0)
        if detector == "fcos" and "cls_logits.bias" in name:
            torch.nn.init.zeros_(weight[1:])
    found = detect_arrays(model, _images((300, 300)), score_threshold=0.0, amp="bf16")[0]
    coarse = torch.from_numpy(found.boxes_xyxy_px).to(torch.bfloat16).float().numpy()
    inner = (found.boxes_xyxy_px > 0) & (found.boxes_xyxy_px < 300)
    assert inner.sum() > 20
    assert (found.boxes_xyxy_px != coarse)[inner].mean() > 0.9


def test_what_is_found_does_not_depend_on_the_neighbours() -> None:
    model = _model()
    images = _images((50, 70), (64, 40), (50, 70), (50, 70))
    together = detect_arrays(model, images, score_threshold=0.0, batch=4)
    alone = [detect_arrays(model, [image], score_threshold=0.0)[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        assert np.allclose(one.boxes_xyxy_px, other.boxes_xyxy_px, atol=1e-2)
        assert np.allclose(one.scores, other.scores, atol=1e-4)


def test_large_slices_go_through_a_cpu_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, passes = _model(magnify=2.0), []
    forward = model.detector.forward
    monkeypatch.setattr(model.detector, "forward", lambda images: passes.append(len(images)) or forward(images))
    side = int((PASS_PX / 2) ** 0.5 / 2)
    for shape, expected in (((side, side), [2, 1]), ((side + 1, side + 1), [1, 1, 1]), ((40, 40), [3])):
        passes.clear()
        assert len(detect_arrays(model, _images(*[shape] * 3), batch=4)) == 3
        assert passes == expected


def test_labels_are_the_categories_of_the_truth() -> None:
    model = _model(categories={0: "nodule", 17: "mass"})
    found = detect_arrays(model, _images((64, 64)), score_threshold=0.0)[0]
    assert set(found.labels) <= {0, 17}
    assert len(found)


def test_retinanets_background_is_left_out() -> None:
    model = _model(detector="retinanet")
    image = _images((64, 64))[0]
    found = detect_arrays(model, [image], score_threshold=0.0, amp="off")[0]
    with torch.inference_mode(), score_threshold(model.detector, 0.0):
        labels = model.detector([to_input(image, model.card)])[0]["labels"]
    assert 0 in labels
    assert len(found) == int((labels > 0).sum())


def test_the_threshold_cuts_and_is_put_back() -> None:
    model = _model()
    images = _images((64, 64))
    everything = detect_arrays(model, images, score_threshold=0.0)[0]
    middle = float(np.median(everything.scores))
    assert (detect_arrays(model, images, score_threshold=middle)[0].scores >= middle).all()
    assert model.detector.roi_heads.score_thresh == model.card.score_threshold


def test_a_split_is_detected_in_its_order_with_its_ids(tmp_path: Path) -> None:
    write_disks(tmp_path, train=3, val=0, size=64)
    truth = read_truth(tmp_path / "train.json")
    seen: list[tuple[int, int]] = []
    found = list(detect_slices(_model(), truth, batch=2, progress=lambda what, done, total: seen.append((done, total))))
    assert [one.image_id for one in found] == [image.id for image in truth.images]
    assert seen[-1] == (3, 3)


def test_slices_of_another_spacing_are_refused_unless_overridden(tmp_path: Path) -> None:
    write_disks(tmp_path, train=1, val=0, size=64)
    truth = read_truth(tmp_path / "train.json")
    model = _model(spacing_mm=(0.9, 0.9, 1.25))
    with pytest.raises(InputError, match=r"pixels of 0\.7 x 0\.7 mm"):
        list(detect_slices(model, truth))
    assert len(list(detect_slices(model, truth, override=True))) == 1
