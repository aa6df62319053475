"""Balls drawn into voxels cover the volume they have."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lungct.phantom.stamp import stamp_balls
from lungct.types import Grid

GRID = Grid((24, 40, 40), (1.0, 0.8, 0.8), (0.0, 0.0, 0.0))


@pytest.mark.parametrize("radius_mm", [2.0, 3.7, 6.0])
def test_a_ball_has_its_volume(radius_mm: float) -> None:
    covered = stamp_balls(GRID, np.array([[19.3, 20.6, 11.7]]), np.array([radius_mm])).sum() / 255.0
    assert covered * 0.8 * 0.8 * 1.0 == pytest.approx(4 / 3 * math.pi * radius_mm**3, rel=0.06)


def test_thin_tubes_fade_with_their_cross_section() -> None:
    centers = np.stack([np.full(400, 20.2), np.full(400, 19.9), np.linspace(0, 23, 400)], axis=1)
    volumes = [stamp_balls(GRID, centers, np.full(400, radius))[4:20].sum() for radius in (0.1, 0.2, 0.4)]
    assert volumes[1] / volumes[0] == pytest.approx(4, rel=0.25)
    assert volumes[2] / volumes[1] == pytest.approx(4, rel=0.25)


def test_balls_outside_and_across_the_border() -> None:
    centers = np.array([[-30.0, 5, 5], [500.0, 5, 5], [0.0, 0.0, 0.0]])
    covered = stamp_balls(GRID, centers, np.array([2.0, 2.0, 3.0]))
    assert covered[0, 0, 0] == 255
    assert covered[6:].max() == 0
    assert covered[:, :, 10:].max() == 0


def test_no_balls() -> None:
    assert stamp_balls(GRID, np.zeros((0, 3)), np.zeros(0)).max() == 0
