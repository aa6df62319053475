"""Slices as they come: many nodules, none, one class, several sizes, splits without a box."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lungct.data.augmentation import PRESETS
from lungct.data.dataset import TrainingSlices
from lungct.data.sampling import EpochBatches
from lungct.data.view import ViewOptions
from lungct.errors import InputError, UsageError
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, read_truth, write_truth
from lungct.io.npz import write_slice
from lungct.registry import DETECTORS
from lungct.training.loop import ahead, make_loader
from lungct.training.setup import read_splits
from lungct.training.train import train
from tests.training.disks import write_disks
from tests.training.test_train import ONE_THREAD, _files, _options


def _crowded(folder: Path, nodules: int = 30, size: int = 96) -> None:
    """One more training slice, with nodules in rows."""
    truth = read_truth(folder / "train.json")
    image_hu = np.full((3, size, size), -850, np.int16)
    notes = []
    for number in range(nodules):
        y, x = 8 + 15 * (number // 6), 8 + 15 * (number % 6)
        image_hu[:, y - 3 : y + 3, x - 3 : x + 3] = 0
        notes.append(CocoAnnotation(1000 + number, 999, 1, (x - 3.0, y - 3.0, x + 3.0, y + 3.0)))
    write_slice(folder / "images" / "train" / "crowded.npz", image_hu)
    image = CocoImage(999, "images/train/crowded.npz", size, size, {"patient_id": "P999"})
    more = CocoTruth(truth.categories, [*truth.images, image], [*truth.annotations, *notes])
    write_truth(folder / "train.json", more)


def _last_row(run: Path) -> dict[str, float]:
    row: dict[str, float] = json.loads((run / "metrics.ndjson").read_text().splitlines()[-1])
    return row


@pytest.mark.parametrize("detector", list(DETECTORS))
def test_a_slice_with_thirty_nodules_is_learned_from(detector: str, tmp_path: Path) -> None:
    write_disks(tmp_path / "slices", train=2, val=1, size=96)
    _crowded(tmp_path / "slices")
    options = _options(epochs=1, detector=detector, crop_px=0, augment="strong", batch=3)
    train(tmp_path / "slices", tmp_path / "run", options, execution=ONE_THREAD)
    assert math.isfinite(_last_row(tmp_path / "run")["loss"])


def test_all_thirty_nodules_of_a_slice_are_shown(tmp_path: Path) -> None:
    write_disks(tmp_path, train=2, val=1, size=96)
    _crowded(tmp_path)
    truth = read_truth(tmp_path / "train.json")
    slices = TrainingSlices(truth, ViewOptions((-1000, 500), 2.0, 0), seed=0, in_channels=3)
    assert all(len(slices[(epoch, 2)][1]["boxes"]) == 30 for epoch in range(4))


def test_a_batch_of_slices_without_nodules_is_learned_from(tmp_path: Path) -> None:
    write_disks(tmp_path / "slices", train=6, val=3, size=72)
    for detector in DETECTORS:
        options = _options(epochs=1, detector=detector, batch=1)
        train(tmp_path / "slices", tmp_path / detector, options, execution=ONE_THREAD)
        assert math.isfinite(_last_row(tmp_path / detector)["loss"])


def test_a_single_class_can_be_balanced(tmp_path: Path) -> None:
    write_disks(tmp_path / "slices", train=6, val=3, size=72)
    train(tmp_path / "slices", tmp_path / "run", _options(epochs=1, sampling="balanced"), execution=ONE_THREAD)
    assert _last_row(tmp_path / "run")["step"] == 3


def test_boxes_that_nothing_can_learn_are_told_and_do_not_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_disks(tmp_path, train=4, val=2, size=72)
    truth = read_truth(tmp_path / "train.json")
    first, second, *others = truth.annotations
    outside = dataclasses.replace(first, box_xyxy_px=(200.0, 9.0, 220.0, 30.0))
    empty = dataclasses.replace(second, box_xyxy_px=(9.0, 9.0, 9.0, 30.0))
    write_truth(tmp_path / "train.json", CocoTruth(truth.categories, truth.images, [outside, empty, *others]))
    read_splits(tmp_path)
    assert "train.json: boxes that have no area or lie outside of their slice: 2" in caplog.text
    assert "val.json" not in caplog.text
    write_truth(tmp_path / "train.json", CocoTruth(truth.categories, truth.images, [outside, empty]))
    with pytest.raises(InputError, match="holds no boxes"):
        read_splits(tmp_path)


@pytest.mark.parametrize("how", ["no images", "no boxes"])
def test_a_validation_split_that_cannot_judge_keeps_the_last_epoch(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_disks(tmp_path / "slices", train=4, val=2, size=72)
    path = tmp_path / "slices" / "val.json"
    document = json.loads(path.read_text())
    document["annotations"] = []
    document["images"] = document["images"] if how == "no boxes" else []
    path.write_text(json.dumps(document))
    summary = train(tmp_path / "slices", tmp_path / "run", _options(), execution=ONE_THREAD)
    files = _files(tmp_path / "run")
    assert files["model.safetensors"] == files["last.safetensors"]
    assert summary.best_epoch == 2
    assert "the last epoch is kept" in caplog.text
    with pytest.raises(UsageError, match="plateau waits for validations"):
        train(tmp_path / "slices", tmp_path / "other", _options(schedule="plateau"), execution=ONE_THREAD)


@pytest.mark.parametrize("name", list(PRESETS))
def test_slices_of_several_sizes_go_through_every_augmentation(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sizes = [(40, 60), (90, 70), (33, 120), (64, 64)]
    images, notes = [], []
    for number, (height, width) in enumerate(sizes):
        write_slice(tmp_path / f"{number}.npz", random.integers(-1000, 500, (5, height, width)).astype(np.int16))
        images.append(CocoImage(number, f"{number}.npz", width, height, {"patient_id": str(number)}))
        notes.append(CocoAnnotation(number, number, 1, (5.0, 6.0, 14.0, 17.0)))
    truth = CocoTruth({1: "nodule"}, images, notes, tmp_path)
    for crop in (0, 64):
        options = ViewOptions((-1000, 500), 1.5, crop, PRESETS[name])
        slices = TrainingSlices(truth, options, seed=0, in_channels=5)
        for epoch in range(3):
            for number in range(4):
                image, target = slices[(epoch, number)]
                height, width = image.shape[1:]
                assert image.shape[0] == 5
                assert torch.isfinite(image).all()
                assert (target["boxes"] >= 0).all()
                assert (target["boxes"] <= torch.tensor([width, height] * 2)).all()
                assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
                assert not crop or max(height, width) <= crop


def test_batches_made_ahead_are_the_batches(tmp_path: Path) -> None:
    write_disks(tmp_path, train=7, val=1, size=72)
    truth = read_truth(tmp_path / "train.json")
    slices = TrainingSlices(truth, ViewOptions((-1000, 500), 1.0, 64), seed=0, in_channels=3)
    batches = EpochBatches.shuffled(7, 2, seed=0)
    loader = make_loader(slices, batches, workers=0, pin=False)
    plain, early = list(loader), list(ahead(loader))
    assert len(plain) == len(early) == 4
    for (images, _), (same, _) in zip(plain, early, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(images, same, strict=True))
    some = ahead(loader)
    next(some)
    some.close()


def test_a_fault_while_a_batch_is_made_ahead_comes_out(tmp_path: Path) -> None:
    write_disks(tmp_path, train=4, val=1, size=72)
    truth = read_truth(tmp_path / "train.json")
    slices = TrainingSlices(truth, ViewOptions((-1000, 500), 1.0, 64), seed=0, in_channels=3)
    loader = make_loader(slices, EpochBatches.shuffled(9, 2, seed=0), workers=0, pin=False)
    with pytest.raises(IndexError):
        list(ahead(loader))
