"""Every detector on every backbone learns a handful of phantom slices by heart, by its default settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lungct.registry import BACKBONES, DETECTORS
from lungct.training.options import Execution, preset_options
from lungct.training.train import train

SLICES = 8
STAGES = (
    "phantom P --patients 6 --size 96 --slices 32 --seed 3",
    "preprocess P out --spacing native",
    "select-slices out slices",
)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight phantom slices with nodules, as training and as validation split."""
    folder = tmp_path_factory.mktemp("phantom")
    for line in STAGES:
        subprocess.run([sys.executable, "-m", "lungct", *line.split()], cwd=folder, check=True, capture_output=True)
    document = json.loads((folder / "slices" / "train.json").read_text())
    boxed = sorted({one["image_id"] for one in document["annotations"]})
    kept = set(boxed[:: max(len(boxed) // SLICES, 1)][:SLICES])
    document["images"] = [one for one in document["images"] if one["id"] in kept]
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] in kept]
    assert len(document["images"]) == SLICES
    for split in ("train", "val"):
        (folder / "slices" / f"{split}.json").write_text(json.dumps(document))
    return folder / "slices"


@pytest.mark.slow
@pytest.mark.parametrize("backbone", list(BACKBONES))
@pytest.mark.parametrize("detector", list(DETECTORS))
def test_eight_slices_are_learned_by_heart(detector: str, backbone: str, slices: Path, tmp_path: Path) -> None:
    given = {"detector": detector, "backbone": backbone, "epochs": 160, "crop_px": 0, "augment": "none"}
    options = preset_options("default", {**given, "validate_every": 40})
    summary = train(slices, tmp_path / "run", options, execution=Execution(device="cpu", threads=1))
    assert summary.best["val_ap50"] >= 0.9
