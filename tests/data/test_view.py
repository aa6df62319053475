"""Boxes go through a view and back; pixels go where their boxes go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.data.augmentation import NONE
from lungct.data.view import ViewOptions, draw_view, magnified, show_boxes, show_image, to_unit

WINDOW = (-1000.0, 500.0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), crop=st.sampled_from([0, 64, 96]), magnify=st.sampled_from([0.7, 1.0, 2.0, 2.5]))
def test_a_box_comes_back_from_the_network(seed: int, crop: int, magnify: float) -> None:
    boxes = torch.tensor([[10.0, 20.0, 16.0, 31.0], [70.0, 5.0, 75.5, 11.25]])
    view = draw_view(np.random.default_rng(seed), (90, 110), boxes, ViewOptions(WINDOW, magnify, crop))
    assert torch.allclose(view.to_stored(view.to_network(boxes)), boxes, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), crop=st.sampled_from([0, 64]), magnify=st.sampled_from([1.0, 2.0, 2.5]))
def test_a_bright_rectangle_stays_under_its_box(seed: int, crop: int, magnify: float) -> None:
    image_hu = torch.full((1, 90, 110), -1000, dtype=torch.int16)
    image_hu[0, 30:50, 40:56] = 500
    boxes, labels = torch.tensor([[40.0, 30.0, 56.0, 50.0]]), torch.tensor([1])
    view = draw_view(np.random.default_rng(seed), (90, 110), boxes, ViewOptions(WINDOW, magnify, crop))
    shown = show_image(image_hu, view, WINDOW)
    found, _ = show_boxes(boxes, labels, view)
    assert shown.shape[1:] == view.size_xy[::-1]
    if crop and not len(found):
        return
    assert len(found) == 1
    low, high = float(shown.min()), float(shown.max())
    rows, columns = torch.nonzero(shown[0] > (low + high) / 2, as_tuple=True)
    x1, y1, x2, y2 = found[0].tolist()
    measured = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).tolist()
    assert measured == pytest.approx([x1, y1, x2, y2], abs=1.0)


def test_a_slice_without_a_box_gives_empty_tensors_of_the_right_shape() -> None:
    view = draw_view(np.random.default_rng(0), (64, 64), torch.zeros(0, 4), ViewOptions(WINDOW, 2.0, 64))
    boxes, labels = show_boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), view)
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)
    assert labels.dtype == torch.int64


def test_a_box_mostly_outside_the_crop_is_dropped() -> None:
    options = ViewOptions(WINDOW, 1.0, 64, augmentation=NONE)
    for seed in range(40):
        boxes = torch.tensor([[0.0, 0.0, 60.0, 60.0], [150.0, 150.0, 190.0, 190.0]])
        view = draw_view(np.random.default_rng(seed), (200, 200), boxes, options)
        clipped, labels = show_boxes(boxes, torch.tensor([1, 2]), view)
        areas = {1: 3600.0, 2: 1600.0}
        for box, label in zip(clipped, labels, strict=True):
            assert float((box[2] - box[0]) * (box[3] - box[1])) >= 0.3 * areas[int(label)]
        assert (clipped >= 0).all()
        assert (clipped <= 64).all()


def test_without_augmentation_a_whole_slice_is_only_windowed() -> None:
    image_hu = torch.arange(-1200, -1200 + 64 * 64).reshape(1, 64, 64).short()
    view = draw_view(np.random.default_rng(3), (64, 64), torch.zeros(0, 4), ViewOptions(WINDOW, augmentation=NONE))
    assert torch.equal(show_image(image_hu, view, WINDOW), to_unit(image_hu, WINDOW))


def test_the_window_maps_its_ends_to_0_and_1_and_clips() -> None:
    hu = torch.tensor([[[-2000, -1000, -250, 500, 3000]]], dtype=torch.int16)
    assert to_unit(hu, WINDOW).flatten().tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_magnifying_keeps_the_place_of_edges() -> None:
    image = torch.zeros(1, 33, 33)
    image[0, :, 20:] = 1
    edge = float((1 - magnified(image, 2.5)[0, 40]).sum())
    assert edge == pytest.approx(20 * 2.5, abs=0.51)
