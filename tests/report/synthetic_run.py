"""A run folder as the stages leave it, small and synthetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from lungct.io import coco, manifest, npz
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.report import evaluation_figures
from lungct.types import Detections, Heatmaps

SIDE = 120
SPACING_MM = [0.7, 0.7, 1.25]
IOUS = np.arange(0.05, 0.96, 0.05)


def slice_hu(centre_xy: tuple[float, float], radius: float, seed: int) -> NDArray[np.int16]:
    """(Y, X) int16 HU: a body, two lungs, and a nodule."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    image = np.full((SIDE, SIDE), -1000.0)
    image[((x - 60) / 57) ** 2 + ((y - 60) / 42) ** 2 < 1] = 40
    for lung in (33, 87):
        image[((x - lung) / 21) ** 2 + ((y - 58) / 30) ** 2 < 1] = -850
    image[(x - centre_xy[0]) ** 2 + (y - centre_xy[1]) ** 2 < radius**2] = 30
    return np.clip(image + np.random.default_rng(seed).normal(0, 25, image.shape), -1000, 500).astype(np.int16)


def gaussian(box: Any, sigma: float) -> NDArray[np.float64]:
    """(Y, X) map in 0..1 that peaks in the middle of a box."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    return np.exp(-((x - (box[0] + box[2]) / 2) ** 2 + (y - (box[1] + box[3]) / 2) ** 2) / (2 * sigma**2))


def write_split(folder: Path, name: str, first: int, patients: int, *, prefix: str = "case") -> CocoTruth:
    """Three slices a patient, the same nodule on the first two of them."""
    images, boxes, number = [], [], first
    for patient in range(patients):
        case = f"{prefix}-{name}-{patient}"
        centre, radius = (30.0 + patient, 50.0 + 2 * patient), 3.0 + patient
        for z in range(3):
            shown = centre if z < 2 else (-50.0, -50.0)
            path = f"images/{case}/{z:04d}.npz"
            npz.write_slice(folder / path, np.repeat(slice_hu(shown, radius, number)[None], 3, axis=0))
            facts = {"case_id": case, "patient_id": case, "z_index": z, "spacing_mm": SPACING_MM}
            images.append(CocoImage(number, path, SIDE, SIDE, facts))
            if z < 2:
                box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
                known = {"nodule_id": f"{case}_1", "diameter_mm": 2 * radius * SPACING_MM[0]}
                boxes.append(CocoAnnotation(number, number, 1, box, attributes=known))
            number += 1
    truth = CocoTruth({1: "nodule"}, images, boxes, folder)
    coco.write_truth(folder / f"{name}.json", truth)
    return truth


def write_run(folder: Path, *, prefix: str = "case") -> Path:
    """Everything that a report reads."""
    slices = folder / "slices"
    write_split(slices, "train", 1, 4, prefix=prefix)
    write_split(slices, "val", 101, 2, prefix=prefix)
    truth = write_split(slices, "test", 201, 3, prefix=prefix)
    manifest.write_manifest(slices, "select-slices", {"selection": "threshold", "fraction": 0.5})
    found = list(_detections(truth))
    coco.write_detections(folder / "detections.json", found)
    _write_model(folder / "run")
    _write_evaluation(folder / "evaluation")
    for method, sigma in (("eigencam", 14.0), ("gaussian", 4.0)):
        for one in found:
            _write_maps(folder / "heatmaps" / method, method, one, sigma)
        manifest.write_manifest(folder / "heatmaps" / method, "explain", {"method": method})
    _write_game(folder / "game")
    return folder


def _detections(truth: CocoTruth) -> Any:
    """Hits on all but the last patient; on every slice a false alarm in the other lung."""
    for number, image in enumerate(truth.images):
        rows = [([84.0, 60.0, 92.0, 68.0], 0.3 + 0.05 * number)]
        if not image.case_id.endswith("-2"):
            rows += [
                ([x1 + 0.4, y1, x2 + 0.6, y2 + 0.5], 0.9 - 0.02 * number) for x1, y1, x2, y2 in truth.boxes_of(image.id)
            ]
        rows.sort(key=lambda row: -row[1])
        boxes = np.asarray([box for box, _ in rows], dtype=np.float32).reshape(-1, 4)
        scores = np.asarray([score for _, score in rows], dtype=np.float32)
        yield Detections(image.id, boxes, scores, np.ones(len(rows), np.int64))


def _write_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    card = {
        "schema": "lungct.model/1",
        "detector": "faster-rcnn",
        "anchor_sizes_px": [[6.0], [12.0]],
        "hu_window": [-1000, 500],
    }
    weights = {"a": np.zeros(1, np.float32)}
    safetensors.numpy.save_file(weights, folder / "model.safetensors", {"lungct": json.dumps(card)})
    rows: list[dict[str, float]] = []
    for epoch in range(1, 11):
        rows.append({"epoch": epoch, "step": 10 * epoch, "lr": 1e-3, "loss": 2 / epoch, "loss_box": 0.5 / epoch})
        if epoch % 5 == 0:
            rows.append({"epoch": epoch, "val_ap": 0.03 * epoch, "val_ap50": 0.06 * epoch})
    (folder / "metrics.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest.write_manifest(folder, "train", {"preset": "tiny", "lr": 1e-3})


def _write_evaluation(folder: Path) -> None:
    folder.mkdir()
    keys = ("0.1", "0.5", "0.75", "0.5:0.95", "0.05:0.95")
    at = {str(rate): 0.4 + 0.05 * number for number, rate in enumerate(evaluation_figures.FP_TICKS)}
    document = {
        "schema": "lungct.metrics/1",
        "images": 9,
        "nodules": 6,
        "ap": dict(zip(keys, (0.9, 0.712, 0.3, 0.35, 0.5), strict=True)),
        "ar": dict.fromkeys(keys, 0.8),
        "ci95": {"ap@0.5": [0.601, 0.803]},
        "froc": {"unit": "slice", "fp_per_image": [0.2, 1.0], "sensitivity": [0.4, 0.7], "at": at, "mean": 0.55},
        "counts": {"tp": 4, "fp": 3, "fn": 2},
    }
    (folder / "metrics.json").write_text(json.dumps(document))
    recall = np.linspace(0, 0.8, 20)
    evaluation_figures.precision_recall(folder / "precision_recall", {"IoU .5": (recall, 1 - recall**2)})
    rates = {float(rate): value for rate, value in at.items()}
    evaluation_figures.froc(folder / "froc", np.array([0.2, 1.0]), np.array([0.4, 0.7]), at=rates)
    evaluation_figures.ap_over_iou(folder / "ap_over_iou", IOUS, 1 - IOUS**2, 1 - IOUS**3)
    manifest.write_manifest(folder, "evaluate", {"seed": 0})


def _write_maps(folder: Path, method: str, found: Detections, sigma: float) -> None:
    maps = np.asarray([gaussian(box, sigma) for box in found.boxes_xyxy_px]).reshape(-1, SIDE, SIDE)
    whole = Heatmaps(
        found.image_id,
        method,
        maps.astype(np.float16),
        maps.astype(np.float32),
        found.boxes_xyxy_px,
        found.scores,
        found.labels,
        np.full(len(found), -1, np.int64),
        "fpn.0",
        ("",) * len(found),
    )
    npz.write_heatmaps(folder / f"{found.image_id}.npz", whole)


def _write_game(folder: Path) -> None:
    folder.mkdir()
    rows = [
        {"method": method, "rule": rule, "n": 6, "patients": 3, "mean": mean, "ci95": [mean - 0.1, mean + 0.1],
         "chance": 0.05, "ceiling": 0.5, "normalised": (mean - 0.05) / 0.45, "normalised_ci95": [0.4, 0.6], "failed": 0}
        for rule in ("fixed", "adaptive")
        for method, mean in (("eigencam", 0.3), ("gaussian", 0.45))
    ]  # fmt: skip
    tests = [
        {
            "rule": "fixed",
            "a": "eigencam",
            "b": "gaussian",
            "difference": -0.15,
            "p": 0.0004,
            "p_holm": 0.25,
            "patients": 3,
        }
    ]
    document = {
        "schema": "lungct.game/1",
        "patients": 3,
        "detections": 6,
        "rows": rows,
        "tests": tests,
        "note": "Place proves nothing.",
    }
    (folder / "summary.json").write_text(json.dumps(document))
    manifest.write_manifest(folder, "segmentation-game", {"seed": 0})
