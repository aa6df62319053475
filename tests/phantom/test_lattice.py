"""The coarse lattice: linear fields come through it unchanged."""

from __future__ import annotations

import numpy as np
import pytest

from lungct.phantom.lattice import Lattice, Upsampler
from lungct.types import Grid

TURN = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
GRIDS = [
    Grid((9, 20, 23), (2.2, 1.3, 1.3), (-10.0, 40.0, -200.0), TURN),
    Grid((16, 64, 64), (1.0, 5.6, 5.6), (0.0, 0.0, 0.0)),
    Grid((30, 31, 32), (0.7, 0.7, 0.7), (5.0, -3.0, 7.0)),
]


@pytest.mark.parametrize("grid", GRIDS)
def test_a_linear_field_is_upsampled_exactly(grid: Grid) -> None:
    lattice = Lattice.over(grid)
    offset = np.array([1.0, -2.0, 3.0])
    x, y, z = lattice.points_lps_mm(offset)
    assert x.shape == lattice.shape_zyx
    field = 0.3 * x - 0.2 * y + 0.7 * z
    z_index = grid.shape_zyx[0] - 1
    column, row = np.meshgrid(np.arange(grid.shape_zyx[2]), np.arange(grid.shape_zyx[1]))
    world = grid.to_world(np.stack([column, row, np.full_like(row, z_index)], axis=-1)) - offset
    expected = world @ [0.3, -0.2, 0.7]
    np.testing.assert_allclose(Upsampler(lattice).slice_at(field, z_index), expected, atol=2e-3)


@pytest.mark.parametrize("grid", GRIDS)
def test_lookup_agrees_with_the_field(grid: Grid) -> None:
    lattice = Lattice.over(grid)
    x, _, _ = lattice.points_lps_mm(np.zeros(3))
    index = np.random.default_rng(0).uniform(0, np.array(grid.shape_zyx[::-1]) - 1, (50, 3))
    np.testing.assert_allclose(lattice.at(x, index), grid.to_world(index)[:, 0], atol=2e-3)


def test_distance_of_a_sphere() -> None:
    grid = Grid((60, 60, 60), (1.0, 1.0, 1.0), (-30.0, -30.0, -30.0))
    lattice = Lattice.over(grid, 2.0)
    radius = np.sqrt(sum(np.square(one) for one in lattice.points_lps_mm(np.zeros(3))))
    level = (400.0 - radius**2).astype(np.float32)
    near = np.abs(radius - 20.0) < 3.0
    assert np.abs(lattice.distance_like(level) - (20.0 - radius))[near].max() < 0.35
