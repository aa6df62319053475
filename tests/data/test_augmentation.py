"""Every transform on known disks: the box that comes out is the box of what the disk became."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as v2

from lungct.ct.enhance import Enhancement, enhance
from lungct.data.augmentation import NONE, PRESETS, Augmentation
from lungct.data.look import Look, changed, draw_look, equalised
from lungct.data.turn import Turn
from lungct.data.view import ViewOptions, draw_view, show_boxes, show_image

WINDOW = (-1000.0, 500.0)
SHAPE = (110, 140)
ONE_BY_ONE = {
    "flip x": Augmentation(flip_x_chance=1.0),
    "flip y": Augmentation(flip_y_chance=1.0),
    "scale": Augmentation(affine_chance=1.0, scale=(0.6, 1.6)),
    "shift": Augmentation(affine_chance=1.0, shift=0.2),
    "rotate": Augmentation(affine_chance=1.0, rotate_deg=180.0),
    "shear": Augmentation(affine_chance=1.0, shear=0.3),
    "tone": Augmentation(tone_chance=1.0, contrast=0.3, brightness=0.2),
    "gamma": Augmentation(gamma_chance=1.0, gamma=(0.5, 2.0)),
    "clahe": Augmentation(clahe_chance=1.0),
    "blur": Augmentation(blur_chance=1.0, blur_px=(0.5, 0.8)),
    "noise": Augmentation(noise_chance=1.0, noise_hu=60.0),
}
DISKS = ((30.0, 40.0, 6.0), (100.5, 22.25, 3.5), (70.0, 70.0, 12.0), (120.0, 90.0, 5.0), (20.0, 95.0, 4.0))


def _disks(count: int) -> tuple[Tensor, Tensor]:
    """(count, 110, 140) int16, a bright disk of its own in each channel; and the (count, 4) boxes of the disks."""
    rows, columns = np.mgrid[: SHAPE[0] * 4, : SHAPE[1] * 4] / 4 + 0.125
    planes, boxes = [], []
    for x, y, radius in DISKS[:count]:
        inside = ((columns - x) ** 2 + (rows - y) ** 2 < radius**2).astype(np.float64)
        share = inside.reshape(SHAPE[0], 4, SHAPE[1], 4).mean((1, 3))
        planes.append(-900 + 1100 * share)
        boxes.append((x - radius, y - radius, x + radius, y + radius))
    return torch.tensor(np.stack(planes)).round().short(), torch.tensor(boxes)


def _measured(plane: Tensor) -> list[float]:
    """The box of what is brighter than halfway between the plane's darkest and brightest, to parts of a pixel."""
    level = (float(plane.quantile(0.2)) + float(plane.max())) / 2
    edges = []
    for axis in (0, 1):
        line = plane.amax(axis)
        inside = torch.nonzero(line > level).flatten()
        first, last = int(inside[0]), int(inside[-1])
        edges.append((_crossing(line, first, -1, level), _crossing(line, last, 1, level)))
    return [edges[0][0], edges[1][0], edges[0][1], edges[1][1]]


def _crossing(line: Tensor, at: int, step: int, level: float) -> float:
    outside = at + step
    if not 0 <= outside < len(line):
        return at + 0.5 + step * 0.5
    inner, outer = float(line[at]), float(line[outside])
    return at + 0.5 + step * (inner - level) / (inner - outer)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("name", [*ONE_BY_ONE, *PRESETS])
def test_the_box_of_the_transformed_disk_is_the_transformed_box(name: str, channels: int) -> None:
    how = ONE_BY_ONE.get(name) or replace(PRESETS[name], noise_chance=0.0)
    image_hu, boxes = _disks(channels)
    labels = torch.arange(1, channels + 1)
    seen = 0
    for seed in range(4):
        for crop, magnify in ((0, 1.0), (0, 2.0), (96, 1.5)):
            random = np.random.default_rng(seed)
            options = ViewOptions(WINDOW, magnify, crop, how)
            view = draw_view(random, SHAPE, boxes, options)
            shown = show_image(image_hu, view, WINDOW, draw_look(random, how))
            found, kept = show_boxes(boxes, labels, view)
            assert shown.shape == (channels, *view.size_xy[::-1])
            assert shown.dtype == torch.float32
            assert 0 <= float(shown.min()) <= float(shown.max()) <= 1
            for box, label in zip(found.tolist(), kept.tolist(), strict=True):
                width, height = view.size_xy
                if box[0] <= 1 or box[1] <= 1 or box[2] >= width - 1 or box[3] >= height - 1:
                    continue  # cut by the border: the disk's middle may lie outside
                assert _measured(shown[label - 1]) == pytest.approx(box, abs=0.75 if how.clahe_chance else 0.6)
                seen += 1
    assert seen >= 4


def test_torchvisions_box_of_a_turned_disk_is_too_wide_and_ours_is_not() -> None:
    box = torch.tensor([[40.0, 40.0, 60.0, 60.0]])
    turn = Turn(((np.cos(0.7), -np.sin(0.7)), (np.sin(0.7), np.cos(0.7))))
    ours = turn.boxes(box, (100, 100))
    theirs = v2.affine(
        tv_tensors.BoundingBoxes(box, format="XYXY", canvas_size=(100, 100)),  # type: ignore[call-overload]
        angle=float(np.degrees(0.7)), translate=[0, 0], scale=1.0, shear=[0.0, 0.0],
    )  # fmt: skip
    assert ours.tolist() == pytest.approx(box, abs=1e-4)
    assert float(theirs[0, 2] - theirs[0, 0]) > 27


@pytest.mark.parametrize("name", ["rotate", "shear", "shift"])
def test_a_turn_goes_the_way_torchvision_goes(name: str) -> None:
    """Pixels against the library's own affine on a whole slice."""
    how = ONE_BY_ONE[name]
    image_hu, boxes = _disks(3)
    view = draw_view(np.random.default_rng(2), SHAPE, boxes, ViewOptions(WINDOW, 1.0, 0, how))
    assert view.turn is not None
    (a, b), (c, d) = view.turn.matrix
    shown = show_image(image_hu, view, WINDOW)
    angle = np.degrees(np.arctan2(c, a))
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    shear = cos * b + sin * d
    x, y = (share * size for share, size in zip(view.turn.shift, (140, 110), strict=True))
    plain = show_image(
        image_hu, draw_view(np.random.default_rng(2), SHAPE, boxes, ViewOptions(WINDOW, augmentation=NONE)), WINDOW
    )
    theirs = v2.affine(
        tv_tensors.Image(plain), angle=float(angle), translate=[round(x), round(y)], scale=1.0,
        shear=[float(-np.degrees(np.arctan(shear))), 0.0], interpolation=v2.InterpolationMode.BILINEAR,
    )  # fmt: skip
    assert float((shown - theirs).abs().mean()) < 0.02


def test_a_slice_without_boxes_goes_through_every_preset() -> None:
    image_hu, _ = _disks(3)
    for how in PRESETS.values():
        random = np.random.default_rng(0)
        view = draw_view(random, SHAPE, torch.zeros(0, 4), ViewOptions(WINDOW, 2.0, 64, how))
        shown = show_image(image_hu, view, WINDOW, draw_look(random, how))
        boxes, labels = show_boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), view)
        assert shown.shape == (3, 64, 64)
        assert boxes.shape == (0, 4)
        assert labels.shape == (0,)


def test_thirty_boxes_stay_with_their_labels() -> None:
    random = np.random.default_rng(0)
    corner = torch.from_numpy(random.uniform(5, 80, (30, 2)).astype(np.float32))
    boxes = torch.cat((corner, corner + 6), 1)
    how = replace(PRESETS["strong"], scale=(1.0, 1.0), rotate_deg=10.0)
    view = draw_view(random, SHAPE, boxes, ViewOptions(WINDOW, 1.0, 0, how))
    found, labels = show_boxes(boxes, torch.arange(1, 31), view)
    assert 20 < len(found) == len(labels) == len(set(labels.tolist()))
    assert torch.allclose(found[labels.argsort()], show_boxes(boxes[labels.sort()[0] - 1], labels.sort()[0], view)[0])


def test_nothing_is_shown_from_beyond_the_slice_but_air() -> None:
    image_hu = torch.full((1, 60, 60), 500, dtype=torch.int16)
    view = draw_view(
        np.random.default_rng(1), (60, 60), torch.zeros(0, 4), ViewOptions(WINDOW, 1.0, 0, ONE_BY_ONE["rotate"])
    )
    shown = show_image(image_hu, view, WINDOW)
    assert float(shown[0, 0, 0]) == 0
    assert float(shown[0, 30, 30]) == 1


def test_looks_do_what_they_say() -> None:
    image = torch.linspace(0, 1, 24 * 24).reshape(1, 24, 24)

    def look(**numbers: Any) -> Tensor:
        return changed(image.clone(), Look(**numbers), 1500.0)

    assert torch.equal(look(), image)
    assert torch.allclose(look(gamma=2.0), image**2)
    assert torch.allclose(look(gain=0.5, offset=0.1), 0.5 * image + 0.35)
    assert float(look(gain=3.0).max()) == 1
    noise = look(noise_hu=75.0, noise_seed=4) - image
    assert float(noise[:, 4:20].std()) == pytest.approx(0.05, rel=0.15)
    assert torch.equal(noise, look(noise_hu=75.0, noise_seed=4) - image)
    dot = torch.zeros(1, 9, 9)
    dot[0, 4, 4] = 1
    blurred = changed(dot, Look(blur_px=0.8), 1500.0)
    assert float(blurred.sum()) == pytest.approx(1)
    assert float(blurred[0, 4, 5] / blurred[0, 4, 4]) == pytest.approx(np.exp(-0.5 / 0.64), rel=1e-3)


def test_clahe_widens_a_narrow_range_and_spares_tiny_windows() -> None:
    random = np.random.default_rng(0)
    image = torch.from_numpy(random.normal(0.1, 0.02, (2, 64, 64)).clip(0, 1).astype(np.float32))
    assert float(equalised(image, Look(clahe=4.0)).std()) > 1.5 * float(image.std())
    tiny = image[:, :10]
    assert equalised(tiny, Look(clahe=4.0)) is tiny


def test_clahe_is_that_of_slice_selection_on_8_bits() -> None:
    grays = np.random.default_rng(0).integers(0, 256, (1, 64, 80))
    window = (0, 255)
    selected = enhance(grays[0].astype(np.int16), window, Enhancement(clahe=2.0))
    ours = equalised(torch.from_numpy((grays / 255).astype(np.float32)), Look(clahe=2.0))
    assert np.abs(ours[0].numpy() * 255 - selected).max() <= 0.51


def test_chances_are_met() -> None:
    how = PRESETS["system1-nlst"]
    random = np.random.default_rng(0)
    looks = [draw_look(random, how) for _ in range(2000)]
    assert np.mean([one.clahe > 0 for one in looks]) == pytest.approx(0.4, abs=0.04)
    assert np.mean([one.gain != 1 for one in looks]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([one.blur_px > 0 for one in looks]) == pytest.approx(0.3, abs=0.04)
    assert max(abs(one.gain - 1) for one in looks) == pytest.approx(0.1, abs=0.002)
    views = [draw_view(random, SHAPE, torch.zeros(0, 4), ViewOptions(WINDOW, augmentation=how)) for _ in range(2000)]
    assert np.mean([one.flip_x for one in views]) == pytest.approx(0.5, abs=0.04)
    assert not any(one.flip_y for one in views)
    assert np.mean([one.turn is not None for one in views]) == pytest.approx(0.5, abs=0.04)
    assert {one.factor == 1 for one in views if one.turn is None} == {True}


def test_none_changes_nothing() -> None:
    image_hu, boxes = _disks(3)
    random = np.random.default_rng(0)
    view = draw_view(random, SHAPE, boxes, ViewOptions(WINDOW, augmentation=NONE))
    look = draw_look(random, NONE)
    assert replace(look, noise_seed=0) == Look()
    low, high = WINDOW
    assert torch.allclose(
        show_image(image_hu, view, WINDOW, look), ((image_hu.float() - low) / (high - low)).clamp(0, 1)
    )
    assert torch.equal(show_boxes(boxes, torch.ones(3), view)[0], boxes)
