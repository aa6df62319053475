"""A little world for the explanation tests: slices with bright discs, and untrained detectors of our own kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lungct import registry
from lungct.explain.base import Subject
from lungct.explain.network import Network
from lungct.explain.targets import open_image
from lungct.io.checkpoint import save_tensors
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, write_truth
from lungct.io.npz import write_slice
from lungct.models.detector import LoadedModel, ModelCard, build_detector
from lungct.types import Detections

DETECTORS = tuple(registry.DETECTORS)


def card_of(detector: str, magnify: float = 1.0, backbone: str = "mobilenet-v2") -> ModelCard:
    """A detector small enough for a test."""
    return ModelCard(
        detector=detector,
        backbone=backbone,
        width=0.35,
        norm="batch",
        fpn_channels=16,
        strides=(4, 8, 16),
        anchor_sizes_px=((4.0,), (8.0,), (16.0,)) if detector == "fcos" else ((8.0,), (16.0,), (32.0,)),
        in_channels=3,
        hu_window=(-1000.0, 500.0),
        magnify=magnify,
        categories={1: "nodule"},
        head_units=32,
        input_mean=(0.5,) * 3,
        input_std=(0.25,) * 3,
    )


def untrained(detector: str, magnify: float = 1.0, backbone: str = "mobilenet-v2") -> LoadedModel:
    """A detector with random weights whose scores spread over 0..1, as those of a trained one."""
    torch.manual_seed(7)
    card = card_of(detector, magnify, backbone)
    model = build_detector(card).eval()
    with torch.no_grad():
        if detector == "faster-rcnn":
            model.roi_heads.box_predictor.cls_score.weight.mul_(40)  # type: ignore[union-attr, operator]
        else:
            head = model.head.classification_head  # type: ignore[union-attr]
            for one in head.conv.modules():  # type: ignore[union-attr]
                if isinstance(one, nn.Conv2d):
                    nn.init.kaiming_normal_(one.weight)
            head.cls_logits.weight.mul_(60)  # type: ignore[union-attr]
            head.cls_logits.bias.fill_(-1.0)  # type: ignore[union-attr]
            if detector == "fcos":  # boxes of some pixels; at the start theirs have hardly an area
                model.head.regression_head.bbox_reg.bias.fill_(1.5)  # type: ignore[union-attr]
    return LoadedModel(model, card)


def disc_slice(
    center_xy: tuple[float, float], radius: float, shape_yx: tuple[int, int] = (72, 64)
) -> NDArray[np.int16]:
    """(3, Y, X) HU: noisy lung with one solid disc."""
    noise = np.random.default_rng(3).normal(-850, 25, (3, *shape_yx))
    y, x = np.mgrid[: shape_yx[0], : shape_yx[1]] + 0.5
    noise[:, np.hypot(x - center_xy[0], y - center_xy[1]) <= radius] = 30
    return noise.astype(np.int16)


def boxes_at(*boxes: tuple[float, float, float, float], image_id: int = 1) -> Detections:
    """Detections at given boxes, with falling scores."""
    scores = np.linspace(0.9, 0.5, len(boxes)).astype(np.float32)
    return Detections(image_id, np.array(boxes, np.float32).reshape(-1, 4), scores, np.ones(len(boxes), np.int64))


@pytest.fixture(params=DETECTORS)
def model(request: pytest.FixtureRequest) -> LoadedModel:
    """Each kind of detector."""
    return untrained(request.param)


@pytest.fixture
def subject(model: LoadedModel) -> Subject:
    """A detector opened at two detections of one slice."""
    image_hu = disc_slice((30, 40), 6)
    return open_image(Network(model), image_hu, boxes_at((24, 34, 36, 46), (4, 4, 14, 12)), spacing_mm_xy=(0.7, 0.7))


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """``run/`` and ``slices/test.json``: three images with a nodule each, of two patients, and one without."""
    model = untrained("faster-rcnn")
    (tmp_path / "run").mkdir()
    save_tensors(tmp_path / "run" / "model.safetensors", model.detector.state_dict(), model.card.to_json())
    images, annotations = [], []
    for number in range(1, 5):
        center, radius = (12.0 + 10 * number, 30.0), 4.0 if number < 4 else 0.0
        name = f"images/{number}.npz"
        (tmp_path / "slices" / "images").mkdir(parents=True, exist_ok=True)
        write_slice(tmp_path / "slices" / name, disc_slice(center, radius))
        facts = {"patient_id": f"p{number % 2}", "case_id": f"c{number}", "spacing_mm": [0.7, 0.7, 1.25]}
        images.append(CocoImage(number, name, 64, 72, facts))
        if radius:
            x, y = center
            annotations.append(CocoAnnotation(10 * number, number, 1, (x - radius, y - radius, x + radius, y + radius)))
    write_truth(tmp_path / "slices" / "test.json", CocoTruth({1: "nodule"}, images, annotations))
    return tmp_path
