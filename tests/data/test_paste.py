"""Pasted nodules: of another patient, inside the lung, off every other one, under their box; and mosaics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lungct.ct.lung_slice import lungs_of_slice
from lungct.data.augmentation import NONE, PRESETS, Augmentation
from lungct.data.dataset import TrainingSlices, collate
from lungct.data.paste import Paster
from lungct.data.reader import SliceReader
from lungct.data.sampling import EpochBatches
from lungct.data.view import ViewOptions
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.io.npz import write_slice
from lungct.types import BoolArray

SIZE = 128
WINDOW = (-1000.0, 500.0)
LUNG, WALL = -850, 40
PASTE = Augmentation(paste_chance=1.0, paste_most=3)


def _lungs() -> BoolArray:
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    return np.asarray(
        [((columns - x) / 22) ** 2 + ((rows - 64) / 38) ** 2 < 1 for x in (40, 88)]
    ).any(0)  # fmt: skip


def _chest(channels: int, nodules: list[tuple[float, float, float]], hu: int = 100) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    plane = np.full((SIZE, SIZE), -1000)
    plane[(columns - 64) ** 2 + (rows - 64) ** 2 < 58**2] = WALL
    plane[_lungs()] = LUNG
    for x, y, radius in nodules:
        plane[(columns - x) ** 2 + (rows - y) ** 2 < radius**2] = hu
    return np.repeat(plane[None], channels, 0).astype(np.int16)


def _write(folder: Path, slices: list[tuple[str, list[tuple[float, float, float]]]], channels: int = 3) -> CocoTruth:
    """A slice for each (patient, nodules as x, y, radius)."""
    images, annotations = [], []
    for number, (patient, nodules) in enumerate(slices):
        name = f"{number}.npz"
        write_slice(folder / name, _chest(channels, nodules))
        images.append(CocoImage(number, name, SIZE, SIZE, {"patient_id": patient, "spacing_mm": [0.7, 0.7, 1.0]}))
        for x, y, r in nodules:
            annotations.append(CocoAnnotation(len(annotations), number, 1, (x - r, y - r, x + r, y + r)))
    return CocoTruth({1: "nodule"}, images, annotations, folder)


def _slices(truth: CocoTruth, how: Augmentation, channels: int = 3, crop: int = 0) -> TrainingSlices:
    return TrainingSlices(truth, ViewOptions(WINDOW, 1.0, crop, how), seed=0, in_channels=channels)


PATIENTS = [
    ("a", [(40.0, 50.0, 5.0)]),
    ("b", [(90.0, 70.0, 3.0), (84.0, 40.0, 6.5)]),
    ("c", []),
    ("a", [(38.0, 70.0, 4.0)]),
]


def test_lungs_of_a_lone_slice_hold_their_nodules_and_no_air_outside() -> None:
    hu = _chest(1, [(40.0, 60.0, 6.0)])[0]
    found = lungs_of_slice(hu)
    assert (found == _lungs()).mean() > 0.999
    assert not lungs_of_slice(np.full((SIZE, SIZE), -900)).any()
    assert not lungs_of_slice(np.full((SIZE, SIZE), 40)).any()


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_pasted_nodule_lies_in_the_lung_under_its_box_and_off_the_others(channels: int, tmp_path: Path) -> None:
    truth = _write(tmp_path, PATIENTS, channels)
    slices = _slices(truth, PASTE, channels)
    lungs, pasted = torch.from_numpy(_lungs()), 0
    for epoch in range(7):
        for number in range(4):
            image, target = slices[(epoch, number)]
            before = torch.from_numpy(truth.boxes_of(number)).float()
            assert torch.equal(target["boxes"][: len(before)], before)
            new = target["boxes"][len(before) :]
            pasted += len(new)
            plain = (torch.from_numpy(_chest(channels, PATIENTS[number][1])).float() + 1000) / 1500
            changed = (image - plain).abs() > 0.3
            assert torch.equal(changed.any(0), changed.all(0))
            assert not changed[0][~lungs].any()
            under = torch.zeros(SIZE, SIZE, dtype=torch.bool)
            for x1, y1, x2, y2 in new.tolist():
                part = changed[0, int(y1) - 1 : int(y2) + 2, int(x1) - 1 : int(x2) + 2]
                rows, columns = torch.nonzero(part, as_tuple=True)
                assert rows.max() - rows.min() + 1 == pytest.approx(y2 - y1, abs=1.01)
                assert columns.max() - columns.min() + 1 == pytest.approx(x2 - x1, abs=1.01)
                assert float(rows.float().mean()) + int(y1) - 0.5 == pytest.approx((y1 + y2) / 2, abs=0.6)
                assert float(columns.float().mean()) + int(x1) - 0.5 == pytest.approx((x1 + x2) / 2, abs=0.6)
                under[int(y1) - 1 : int(y2) + 2, int(x1) - 1 : int(x2) + 2] = True
            assert not changed[0][~under].any()
            boxes = target["boxes"].tolist()
            for number_of_box, one in enumerate(boxes):
                for other in boxes[number_of_box + 1 :]:
                    assert one[0] >= other[2] or one[2] <= other[0] or one[1] >= other[3] or one[3] <= other[1]
    assert pasted > 25


def test_nodules_come_from_other_patients_only(tmp_path: Path) -> None:
    truth = _write(tmp_path, [("a", [(40.0, 50.0, 5.0)]), ("a", [(38.0, 70.0, 4.0)]), ("a", [])])
    slices = _slices(truth, PASTE)
    assert all(len(slices[(epoch, 2)][1]["boxes"]) == 0 for epoch in range(10))
    truth = _write(tmp_path, [("a", [(40.0, 50.0, 5.0)]), ("b", [(38.0, 70.0, 3.0)])])
    sides = {
        round(float(side)) for epoch in range(10) for side in _sides(_slices(truth, PASTE)[(epoch, 0)][1]["boxes"])[1:]
    }
    assert sides == {6}


def _sides(boxes: torch.Tensor) -> torch.Tensor:
    return boxes[:, 2] - boxes[:, 0]


def test_a_nodule_keeps_its_size_in_mm(tmp_path: Path) -> None:
    truth = _write(tmp_path, [("a", [(40.0, 50.0, 6.0)]), ("b", [])])
    coarse = replace(truth.images[1], lungct={"patient_id": "b", "spacing_mm": [1.4, 1.4, 1.0]})
    truth = CocoTruth(truth.categories, [truth.images[0], coarse], truth.annotations, truth.root)
    sides = torch.cat([_sides(_slices(truth, PASTE)[(epoch, 1)][1]["boxes"]) for epoch in range(8)])
    assert len(sides)
    assert sides.tolist() == pytest.approx([6.0] * len(sides), abs=1e-4)


def test_a_slice_without_lung_stays_as_it_is(tmp_path: Path) -> None:
    truth = _write(tmp_path, [("a", [(40.0, 50.0, 5.0)]), ("b", [])])
    write_slice(tmp_path / "1.npz", np.full((3, SIZE, SIZE), WALL, np.int16))
    image, target = _slices(truth, PASTE)[(0, 1)]
    assert len(target["boxes"]) == 0
    assert len(image.unique()) == 1


def test_pasting_leaves_the_kept_slices_alone(tmp_path: Path) -> None:
    truth = _write(tmp_path, PATIENTS)
    read = SliceReader(truth)
    before = [read(image).copy() for image in truth.images]
    boxes = [torch.from_numpy(truth.boxes_of(image.id)).float() for image in truth.images]
    paster = Paster(truth, read, boxes, [torch.ones(len(one), dtype=torch.int64) for one in boxes])
    for seed in range(5):
        paster(np.random.default_rng(seed), 2, read(truth.images[2]), 3)
    assert all(np.array_equal(one, read(image)) for one, image in zip(before, truth.images, strict=True))


@pytest.mark.parametrize("crop", [0, 96])
def test_a_mosaic_carries_the_boxes_of_its_parts(crop: int, tmp_path: Path) -> None:
    truth = _write(
        tmp_path,
        [
            (name, [(x, y, 5.0)])
            for name, x, y in zip("abcdef", (40, 90, 36, 44, 86, 92), (50, 70, 64, 80, 44, 60), strict=True)
        ],
    )
    slices = _slices(truth, Augmentation(mosaic_chance=1.0, flip_x_chance=0.5), crop=crop)
    count = 0
    for epoch in range(8):
        image, target = slices[(epoch, 0)]
        assert image.shape == (3, crop or SIZE, crop or SIZE)
        bright = image[0] > (100 + 1000) / 1500 - 0.01
        under = torch.zeros_like(bright)
        for x1, y1, x2, y2 in target["boxes"].tolist():
            assert bright[int(y1) : int(y2 + 1), int(x1) : int(x2 + 1)].float().mean() > 0.4
            under[int(y1) : int(y2 + 1), int(x1) : int(x2 + 1)] = True
        count += len(target["boxes"])
        slivers = bright & ~under
        assert int(slivers.sum()) < 60
    assert count > 8


@pytest.mark.parametrize("name", list(PRESETS))
def test_items_are_the_same_whatever_the_number_of_workers(name: str, tmp_path: Path) -> None:
    truth = _write(tmp_path, PATIENTS)
    how = replace(PRESETS[name], mosaic_chance=0.3)
    drawn = []
    for workers in (0, 2):
        batches = EpochBatches.shuffled(4, 2, seed=5)
        batches.epoch = 3
        loader = DataLoader(
            _slices(truth, how, crop=64), batch_sampler=batches, num_workers=workers, collate_fn=collate
        )
        drawn.append([sample for batch in loader for sample in zip(*batch, strict=True)])
    for (image, target), (other, same) in zip(*drawn, strict=True):
        assert torch.equal(image, other)
        assert torch.equal(target["boxes"], same["boxes"])
        assert torch.equal(target["labels"], same["labels"])


def test_items_take_no_random_number_of_torch(tmp_path: Path) -> None:
    truth = _write(tmp_path, PATIENTS)
    slices = _slices(truth, replace(PRESETS["strong"], mosaic_chance=0.5, clahe_chance=0.5), crop=64)
    state = torch.get_rng_state()
    for epoch in range(6):
        slices[(epoch, 1)]
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_chance_nothing_is_prepared(tmp_path: Path) -> None:
    truth = _write(tmp_path, PATIENTS)
    image, target = _slices(truth, NONE)[(0, 0)]
    assert torch.allclose(image, (torch.from_numpy(_chest(3, PATIENTS[0][1])).float() + 1000) / 1500)
    assert len(target["boxes"]) == 1
