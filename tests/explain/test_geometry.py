"""Where a feature cell lands on the slice: it must be where the network itself looks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lungct.explain.geometry import Geometry, interpolation


def square(side: int, padded: int | None = None, slice_side: int | None = None) -> Geometry:
    padded = padded or side
    slice_side = slice_side or side
    return Geometry((slice_side, slice_side), (side, side), (side, side), (padded, padded))


@pytest.mark.parametrize("pixel", [16, 32, 40])
def test_a_strided_convolution_answers_where_the_pixel_is(pixel: int) -> None:
    """Three stride-2 convolutions of a bright pixel: the upsampled map must peak on that pixel, not beside it."""
    image = torch.zeros(1, 1, 64, 64)
    image[0, 0, pixel, pixel] = 1
    smooth = torch.tensor([[1.0, 2.0, 1.0]])
    for _ in range(3):
        image = nn.functional.conv2d(image, (smooth.T @ smooth)[None, None] / 16, stride=2, padding=1)
    upsampled = square(64).to_slice(image[0, 0].numpy())
    assert np.unravel_index(upsampled.argmax(), upsampled.shape) == (pixel, pixel)


def test_a_full_resolution_map_is_itself() -> None:
    values = np.random.default_rng(0).random((5, 9), dtype=np.float32)
    np.testing.assert_array_equal(Geometry((5, 9), (5, 9), (5, 9), (5, 9)).to_slice(values), values)


def test_weights_sum_to_one_at_borders_too() -> None:
    weights = interpolation(70, 70, 16, 5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    assert (weights >= 0).all()


def test_padding_is_cut_and_magnification_undone() -> None:
    """A slice of 20 px, magnified twice, padded to 48: cell i of stride 4 lies at slice pixel edge (4 i + .5) / 2."""
    geometry = Geometry((20, 20), (40, 40), (40, 40), (48, 48))
    ramp = np.tile(np.arange(12, dtype=np.float32), (12, 1))
    network_px = (np.arange(20) + 0.5) * 2 - 0.5
    np.testing.assert_allclose(geometry.to_slice(ramp)[0], network_px / 4, rtol=1e-6)


def test_box_factors_are_inverse() -> None:
    geometry = Geometry((10, 20), (20, 40), (100, 200), (128, 224))
    box = np.array([2.0, 1.0, 9.0, 5.0])
    np.testing.assert_allclose(box * geometry.slice_to_network_xyxy * geometry.network_to_input_xyxy, box * 2)
