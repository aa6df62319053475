"""What is exported answers as the model does, holds its card, and is refused where it does not."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lungct.errors import EnvironmentError_, InputError, OutputExists, UsageError
from lungct.inference.detect import detect_arrays
from lungct.inference.export import CARD_KEY, PARITY_KEY, Parity, compare, disks_hu, export
from lungct.io.checkpoint import save_tensors
from lungct.models.card import ModelCard
from lungct.models.detector import LoadedModel, build_detector
from lungct.models.load import load_model
from lungct.models.traceable import TraceableDetector
from lungct.registry import DETECTORS
from tests.inference.test_predict import CARD

SIZE_XY = (70, 50)
THRESHOLDS = {"faster-rcnn": 0.3, "retinanet": 0.15, "fcos": 0.1}
SPREAD = {"retinanet": 3e4, "fcos": 0.2}


def _model(detector: str, seed: int = 0) -> LoadedModel:
    anchors = CARD.anchor_sizes_px if detector == "fcos" else ((5.0, 7.0), (10.0, 14.0), (20.0, 28.0))
    changed = {"detector": detector, "magnify": 2.0, "categories": {3: "a", 5: "b"}, "anchor_sizes_px": anchors}
    card: ModelCard = dataclasses.replace(CARD, **changed)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    made: Any = build_detector(card).eval()
    if detector != "faster-rcnn":  # an untrained head gives all places one score, and ties may be broken either way
        torch.nn.init.normal_(made.head.classification_head.cls_logits.weight, std=SPREAD[detector])
    return LoadedModel(made, card)


def _saved(folder: Path, detector: str) -> Path:
    model = _model(detector)
    save_tensors(folder / "model.safetensors", model.detector.state_dict(), model.card.to_json())
    return folder


@pytest.mark.parametrize("detector", list(DETECTORS))
def test_a_graph_without_branches_answers_as_torchvision(detector: str) -> None:
    model, threshold = _model(detector), THRESHOLDS[detector]
    image_hu = disks_hu(3, SIZE_XY)
    own = detect_arrays(model, [image_hu], score_threshold=threshold, amp="off")[0]
    graph = TraceableDetector(model, (SIZE_XY[1], SIZE_XY[0]), threshold)
    with torch.no_grad():
        answer = [one.numpy() for one in graph(torch.from_numpy(image_hu.astype(np.float32)))]
    assert 5 < len(own) < 100, "the threshold is to let some through and hold some back"
    assert set(answer[2]) <= {3, 5}
    assert compare(model, image_hu, answer, threshold, "disks").holds
    turned = [one[::-1] for one in answer]
    assert compare(model, image_hu, turned, threshold, "the order among equals is open").holds
    broken = [answer[0], np.full_like(answer[1], np.nan), answer[2]]
    assert not compare(model, image_hu, broken, threshold, "no numbers").holds
    answer[2][0] = 8 - answer[2][0]
    assert not compare(model, image_hu, answer, threshold, "another category").holds
    other = compare(_model(detector, seed=1), image_hu, turned, threshold, "disks")
    assert not other.holds


@pytest.mark.parametrize(
    "detector", [pytest.param(one, marks=[pytest.mark.slow] if one != "faster-rcnn" else []) for one in DETECTORS]
)
def test_torch_export_with_card_and_parity(detector: str, tmp_path: Path) -> None:
    run, out, threshold = _saved(tmp_path / "run", detector), tmp_path / "model.pt2", THRESHOLDS[detector]
    facts = export(run, out, size_xy=SIZE_XY, score_threshold=threshold)
    stored: dict[str, Any] = {CARD_KEY: "", PARITY_KEY: ""}
    program = torch.export.load(out, extra_files=stored)
    assert ModelCard.from_json(stored[CARD_KEY]).categories == {3: "a", 5: "b"}
    parity = Parity(**json.loads(stored[PARITY_KEY]))
    assert parity.holds
    assert parity.detections[0] == facts["detections"][0] > 0
    image_hu = np.random.default_rng(3).integers(-1000, 500, (3, SIZE_XY[1], SIZE_XY[0])).astype(np.int16)
    answer = program.module()(torch.from_numpy(image_hu.astype(np.float32)))
    found = compare(load_model(run, "cpu"), image_hu, [one.detach().numpy() for one in answer], threshold, "another")
    assert found.holds
    with pytest.raises(OutputExists):
        export(run, out, size_xy=SIZE_XY)


@pytest.mark.slow
@pytest.mark.parametrize("detector", list(DETECTORS))
def test_onnx_of_every_detector(detector: str, tmp_path: Path) -> None:
    onnxruntime: Any = pytest.importorskip("onnxruntime")
    run, threshold = _saved(tmp_path / "run", detector), THRESHOLDS[detector]
    facts = export(run, tmp_path / "model.onnx", size_xy=SIZE_XY, score_threshold=threshold)
    assert facts["detections"][0] > 5
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    meta = session.get_modelmeta().custom_metadata_map
    assert ModelCard.from_json(meta[CARD_KEY]).detector == detector
    image_hu = np.random.default_rng(3).integers(-1000, 500, (3, SIZE_XY[1], SIZE_XY[0])).astype(np.int16)
    answer = session.run(["boxes_xyxy", "scores", "categories"], {"image_hu": image_hu.astype(np.float32)})
    assert compare(load_model(run, "cpu"), image_hu, answer, threshold, "another").holds


def test_what_cannot_be_exported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _saved(tmp_path / "run", "fcos")
    with pytest.raises(UsageError, match=r"neither in \.onnx nor in \.pt2"):
        export(run, tmp_path / "model.pth")
    with pytest.raises(InputError, match="no such file"):
        export(run, tmp_path / "model.pt2", sample=tmp_path / "none.npz")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(EnvironmentError_, match=r"export to ONNX needs onnxscript: pip install 'lungct\[export\]'"):
        export(run, tmp_path / "model.onnx")
    monkeypatch.setattr("lungct.inference.export.SCORE_TOLERANCE", -1.0)
    with pytest.raises(EnvironmentError_, match="does not answer as the model does"):
        export(run, tmp_path / "model.pt2", size_xy=SIZE_XY, score_threshold=0.1)
    assert not (tmp_path / "model.pt2").exists()
