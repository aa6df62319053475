"""Several models together, on slices and through scans."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lungct.cli import predict as verb
from lungct.errors import InputError
from lungct.inference.ensemble import fuse_detections
from lungct.io.checkpoint import save_tensors
from lungct.io.coco import read_detections, read_truth
from lungct.io.nifti import write_nifti
from lungct.models.detector import build_detector
from lungct.types import Detections, Grid, Volume
from tests.inference.test_predict import CARD, slices  # noqa: F401 - a fixture


def _run(folder: Path, seed: int, **more: object) -> Path:
    card = dataclasses.replace(CARD, **more)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    save_tensors(folder / "model.safetensors", build_detector(card).state_dict(), card.to_json())
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [_run(folder / "a", 0), _run(folder / "b", 1, detector="retinanet", magnify=2.0)]


def test_what_one_model_of_two_saw_counts_half() -> None:
    boxes = np.array([[0, 0, 10, 10], [30, 30, 40, 40]], dtype=np.float32)
    both = Detections(7, boxes, np.array([0.8, 0.6], np.float32), np.array([1, 1]))
    one = Detections(7, boxes[:1], np.array([0.4], np.float32), np.array([1]))
    fused = fuse_detections([both, one], iou=0.5, threshold=0.1, limit=100)
    assert fused.image_id == 7
    np.testing.assert_allclose(fused.boxes_xyxy_px, boxes)
    np.testing.assert_allclose(fused.scores, [0.6, 0.3])
    assert len(fuse_detections([both, one], iou=0.5, threshold=0.31, limit=100)) == 1
    assert len(fuse_detections([both, one], iou=0.5, threshold=0.1, limit=1)) == 1


def test_two_models_on_slices(runs: list[Path], slices: Path, tmp_path: Path) -> None:  # noqa: F811
    truth = read_truth(slices)
    each = []
    for run in runs:
        verb.run(run, slices, tmp_path / f"{run.name}.json", device="cpu", score_threshold=0.01)
        each.append(read_detections(tmp_path / f"{run.name}.json", truth))
    verb.run(runs[0], slices, tmp_path / "both.json", ensemble=runs[1:], device="cpu", score_threshold=0.02)
    together = read_detections(tmp_path / "both.json", truth)
    fused = [
        fuse_detections(parts, iou=0.5, threshold=0.02, limit=CARD.max_detections) for parts in zip(*each, strict=True)
    ]
    assert sum(map(len, together)) > 0
    for ours, wanted in zip(together, fused, strict=True):
        np.testing.assert_allclose(ours.scores, wanted.scores, atol=2e-4)  # files hold rounded scores


def test_two_models_and_views_through_a_scan(runs: list[Path], tmp_path: Path) -> None:
    grid = Grid((4, 40, 48), (1.5, 1.0, 1.0), (0.0, 0.0, 0.0))
    hu = np.random.default_rng(1).integers(-1000, 500, grid.shape_zyx).astype(np.int16)
    write_nifti(tmp_path / "a.nii.gz", Volume(hu, grid))
    rows = {}
    for name, more in {"one": {}, "two": {"ensemble": runs[1:]}, "views": {"tta": "flip"}}.items():
        out = tmp_path / name
        verb.run(runs[0], tmp_path / "a.nii.gz", out, device="cpu", score_threshold=0.05, keep_ids=True, **more)
        rows[name] = json.loads((out / "detections.json").read_text())
        stated = json.loads((out / "manifest.ndjson").read_text().splitlines()[0])["options"]
        assert ("tta" in stated) == (name != "one")
        assert len(stated.get("ensemble_sha256", [])) == (name == "two")
    assert rows["one"] != rows["two"] != rows["views"] != rows["one"]
    assert all(rows.values())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"categories": {1: "benign"}}, "categories"),
        ({"spacing_mm": (2.0, 2.0, 2.0)}, "spacing"),
        ({"hu_clip": None}, "HU range"),
    ],
)
def test_models_that_do_not_fit_together(more: dict[str, object], said: str, runs: list[Path], tmp_path: Path) -> None:
    other = _run(tmp_path / "other", 2, **more)
    (tmp_path / "t.json").write_text('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "nodule"}]}')
    with pytest.raises(InputError, match=f"other: its {said} is not that of the first model"):
        verb.run(runs[0], tmp_path / "t.json", tmp_path / "found.json", ensemble=[other], device="cpu")
