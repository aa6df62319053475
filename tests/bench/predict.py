"""What it costs to search one DICOM scan, beside torchvision's detector of the same backbone slice by slice: run it.

    python tests/bench/predict.py DICOM_FOLDER [REPEATS]

Theirs is torchvision's Faster R-CNN at its default settings (short side of 800 pixels, 1,000 proposals, float32), one
slice a call, on the series as pydicom reads it; its answers are thrown away. Its backbone is ours, MobileNetV2 with a
pyramid of strides 4 to 16, or torchvision's own MobileNet pyramid, of strides 16 and 32 and cheaper. Ours is the whole
of ``lungct predict`` with a detector of the default preset: reading, resampling, search, linking, label volume and
contact sheet, of the slices nearest to the scan's own where the lungs are; then the same of all that the options let it
search, and with detectors that magnify otherwise, which counts squared. Neither is trained; ours answers three boxes a
slice, so that there is something to link and to draw. One thread each. Then our peak memory on scans of 60 and of 240
slices. Imports are not counted.
"""
# ruff: noqa: T201

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import measured
import numpy as np

OURS = "lungct predict"
WAYS: dict[str, tuple[float | None, dict[str, str]]] = {
    OURS: (None, {}),
    "lungct predict --searched all": (None, {"searched": "all"}),
    "lungct predict --within body": (None, {"within": "body"}),
    "of a model of --magnify 1": (1.0, {}),
    "of a model of --magnify 2": (2.0, {}),
}
"""Ours: what the model magnifies, None for the preset's, and options."""
SAME, COARSE = "torchvision, our backbone", "torchvision, its own pyramid"
LENGTHS = {"60 slices": 60, "240 slices": 240}
EVERY = 12
"""Their way costs minutes, so that it searches every twelfth slice, and its cost is taken times twelve."""


def card(magnify: float | None = None) -> Any:
    """A model of the default preset, at the spacing that training slices have."""
    from lungct.models.card import ModelCard
    from lungct.registry import SPACING_MM_XYZ
    from lungct.training.options import TrainOptions, parse_strides

    preset = TrainOptions()
    factor = preset.magnify if magnify is None else magnify
    return ModelCard(
        detector=preset.detector,
        backbone=preset.backbone,
        width=preset.width,
        norm="batch",
        fpn_channels=preset.fpn_channels,
        strides=parse_strides(preset.strides),
        anchor_sizes_px=((8.0 * factor,), (16.0 * factor,), (32.0 * factor,)),
        in_channels=3,
        hu_window=(-1000, 500),
        magnify=factor,
        head_units=preset.head_units,
        categories={1: "nodule"},
        input_mean=(0.45,) * 3,
        input_std=(0.25,) * 3,
        spacing_mm=SPACING_MM_XYZ,
        hu_clip=(-1000, 500),
        max_detections=3,
    )


def write_model(folder: Path, magnify: float | None = None) -> None:
    """Untrained."""
    import torch

    from lungct.io.checkpoint import save_tensors
    from lungct.models.detector import build_detector

    torch.manual_seed(0)
    folder.mkdir()
    mine = card(magnify)
    save_tensors(folder / "model.safetensors", build_detector(mine).state_dict(), mine.to_json())


def write_scan(path: Path, slices: int) -> None:
    """A scan of noise on the model's grid, with two lungs in a body."""
    from lungct.io.nifti import write_nifti
    from lungct.types import Grid, Volume

    grid = Grid((slices, 192, 192), (1.25, 0.703125, 0.703125), (0.0, 0.0, 0.0))
    hu = np.random.default_rng(0).integers(-60, 140, grid.shape_zyx).astype(np.int16)
    hu[5:-5, 30:-40, 20:90] -= 880
    hu[5:-5, 30:-40, 105:-20] -= 880
    write_nifti(path, Volume(hu, grid))


def ours(model: Path, source: Path, chosen: dict[str, str]) -> dict[str, Any]:
    """The library call behind the command."""
    from lungct.inference.predict import PredictOptions, predict

    with tempfile.TemporaryDirectory() as folder:
        options = PredictOptions(device="cpu", threads=1, **chosen)  # type: ignore[arg-type]
        return dict(predict(model, source, Path(folder) / "out", options).facts())


def theirs(source: Path, way: str) -> dict[str, Any]:
    """Every EVERY-th slice through torchvision's detector."""
    import pydicom
    import torch
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import _mobilenet_extractor
    from torchvision.models.mobilenetv2 import mobilenet_v2

    from lungct.models.backbone import build_backbone

    torch.set_num_threads(1)
    torch.manual_seed(0)
    coarse = way == COARSE
    backbone = _mobilenet_extractor(mobilenet_v2(weights=None), True, 6) if coarse else build_backbone(card())
    with torch.inference_mode():
        levels = len(backbone.eval()(torch.zeros(1, 3, 64, 64)))
    # Of its own pyramid the sizes and ratios that torchvision's MobileNet detectors have on every level.
    sizes = ((32, 64, 128, 256, 512),) * levels if coarse else ((32,), (64,), (128,))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * levels)
    detector = FasterRCNN(backbone, num_classes=2, rpn_anchor_generator=anchors).eval()
    paths = sorted(source.iterdir())[::EVERY]
    with torch.inference_mode():
        for path in paths:
            data = pydicom.dcmread(path)
            hu = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
            unit = np.clip((hu + 1000) / 1500, 0, 1).astype(np.float32)
            detector([torch.from_numpy(np.repeat(unit[None], 3, axis=0))])
    return {"images": len(paths)}


def one_run(way: str, folder: Path, source: Path) -> None:
    """The process of one run: import, then measure."""
    import pydicom  # noqa: F401
    import torchvision  # noqa: F401

    import lungct.inference.ensemble
    import lungct.inference.scans  # noqa: F401

    if way in (SAME, COARSE):
        measured.report_self(lambda: theirs(source, way))
    elif way in LENGTHS:
        measured.report_self(lambda: ours(folder / "None", folder / f"{LENGTHS[way]}.nii.gz", {}))
    else:
        magnify, chosen = WAYS[way]
        measured.report_self(lambda: ours(folder / str(magnify), source, chosen))


def main(source: Path, repeats: int) -> None:
    """Write the model and the scans, measure in turn, print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for magnify in {magnify for magnify, _ in WAYS.values()}:
            write_model(folder / str(magnify), magnify)
        for slices in LENGTHS.values():
            write_scan(folder / f"{slices}.nii.gz", slices)
        script, arguments = Path(__file__), (name, str(source))
        figures = measured.in_turn(script, [*WAYS, SAME, COARSE], *arguments, repeats=repeats)
        lengths = measured.in_turn(script, list(LENGTHS), *arguments, repeats=1)
    count = len(list(source.iterdir()))
    print(measured.table({**figures, **lengths}, OURS))
    whole_s = {way: figures[way].median_s / figures[way].said["images"] * count for way in (SAME, COARSE)}
    for way in WAYS:
        one = figures[way]
        print(f"{way}: {one.said['images']} slices searched, {one.said['nodules']} nodules, peak {one.peak_mb:.0f} MB")
        for other, cost_s in whole_s.items():
            print(f"    {cost_s / one.median_s:.1f} times cheaper than {other}: {cost_s:.0f} CPU-s for {count} slices")
    short, long = (one.peak_mb for one in lengths.values())
    print(f"a scan four times as long takes {long - short:+.0f} MB")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        one_run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 3)
