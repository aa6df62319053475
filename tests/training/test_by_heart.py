"""Every detector on every backbone learns a handful of phantom slices by heart, by its default settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, read_truth, write_truth
from lungct.io.npz import read_slice, write_slice
from lungct.registry import BACKBONES, DETECTORS
from lungct.training.options import Execution, preset_options
from lungct.training.train import train

SLICES, SIDE_PX, EPOCHS = 8, 56, 100
STAGES = (
    "phantom P --patients 4 --size 256 --slices 32 --seed 3",
    "preprocess P out --spacing native",
    "select-slices out slices",
)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows of eight phantom slices with nodules, as training and as validation split."""
    folder = tmp_path_factory.mktemp("phantom")
    for line in STAGES:
        subprocess.run([sys.executable, "-m", "lungct", *line.split()], cwd=folder, check=True, capture_output=True)
    truth = read_truth(folder / "slices" / "train.json")
    boxed = sorted({one.image_id for one in truth.annotations})
    random = np.random.default_rng(0)
    windows = [_window(truth, number, random, folder / "windows") for number in boxed[:: len(boxed) // SLICES][:SLICES]]
    notes = [note for _, some in windows for note in some]
    assert len(windows) == SLICES
    for split in ("train", "val"):
        write_truth(
            folder / "windows" / f"{split}.json", CocoTruth(truth.categories, [one for one, _ in windows], notes)
        )
    return folder / "windows"


def _window(
    truth: CocoTruth, number: int, random: np.random.Generator, folder: Path
) -> tuple[CocoImage, list[CocoAnnotation]]:
    """Part of a slice round one of its nodules, off its middle, and the boxes that lie in it whole."""
    image = next(one for one in truth.images if one.id == number)
    own = [one for one in truth.annotations if one.image_id == number]
    middle = np.array(own[0].box_xyxy_px).reshape(2, 2).mean(0) + random.uniform(-0.3, 0.3, 2) * SIDE_PX
    x, y = (
        np.clip(np.round(middle - SIDE_PX / 2), 0, np.array([image.width, image.height]) - SIDE_PX).astype(int).tolist()
    )
    part = read_slice(truth.root / image.file_name)[:, y : y + SIDE_PX, x : x + SIDE_PX]
    name = f"images/{number}.npz"
    write_slice(folder / name, np.ascontiguousarray(part))
    boxes = [(one, np.array(one.box_xyxy_px) - (x, y, x, y)) for one in own]
    kept = [(one, box) for one, box in boxes if box.min() >= 0 and box.max() <= SIDE_PX]
    notes = [CocoAnnotation(one.id, number, one.category_id, tuple(box.tolist())) for one, box in kept]
    return CocoImage(number, name, SIDE_PX, SIDE_PX, image.lungct), notes


@pytest.mark.slow
@pytest.mark.parametrize("backbone", list(BACKBONES))
@pytest.mark.parametrize("detector", list(DETECTORS))
def test_eight_slices_are_learned_by_heart(detector: str, backbone: str, slices: Path, tmp_path: Path) -> None:
    given = {"detector": detector, "backbone": backbone, "epochs": EPOCHS, "magnify": 2.0}
    given |= {"crop_px": 0, "augment": "none"}
    options = preset_options("default", {**given, "validate_every": EPOCHS})
    summary = train(slices, tmp_path / "run", options, execution=Execution(device="cpu", threads=1))
    assert summary.best["val_ap50"] >= 0.9
