"""Trees of vessels: they taper, start at the hila and stay in the lungs."""

from __future__ import annotations

import numpy as np
import pytest

from lungct.phantom.lattice import Lattice
from lungct.phantom.vessels import Balls, grow_vessels
from lungct.types import Grid


@pytest.fixture(scope="module")
def two_spheres() -> tuple[Balls, Balls]:
    grid = Grid((60, 90, 100), (3.0, 3.0, 3.0), (-150.0, -135.0, -90.0))
    lattice = Lattice.over(grid)
    points = lattice.points_lps_mm(np.zeros(3))
    x, y, z = points
    lung = 65.0 - np.sqrt((np.abs(x) - 75.0) ** 2 + y**2 + z**2)
    return grow_vessels(np.random.default_rng(3), lattice, lung.astype(np.float32), points)


def test_vessels_taper_from_the_hilum(two_spheres: tuple[Balls, Balls]) -> None:
    vessels, _ = two_spheres
    hilum = np.linalg.norm(np.abs(vessels.points_mm) - [34, 4, 8], axis=1)
    near, far = vessels.radii_mm[hilum < 12], vessels.radii_mm[hilum > 60]
    assert np.quantile(near, 0.99) > 2.5 * np.quantile(far, 0.95)
    assert vessels.radii_mm.max() <= 6.5 * 1.25
    assert vessels.radii_mm.min() > 0.3


def test_branches_reach_the_whole_lung_and_no_farther(two_spheres: tuple[Balls, Balls]) -> None:
    vessels, _ = two_spheres
    x, y, z = vessels.points_mm.T
    depth = 65.0 - np.sqrt((np.abs(x) - 75.0) ** 2 + y**2 + z**2)
    outer = np.abs(x) > 40
    assert np.mean(depth[outer] > 0) > 0.98
    assert x[outer].min() < -120
    assert x[outer].max() > 120
    assert z.max() > 45


def test_airways_are_fewer_and_thick(two_spheres: tuple[Balls, Balls]) -> None:
    vessels, airways = two_spheres
    assert len(airways.radii_mm) < len(vessels.radii_mm) / 2
    assert airways.radii_mm.min() > 0.8


def test_a_volume_with_hardly_any_lung() -> None:
    grid = Grid((8, 32, 32), (2.5, 11.0, 11.0), (-170.0, -170.0, 300.0))
    lattice = Lattice.over(grid)
    lung = np.full(lattice.shape_zyx, -5.0, np.float32)
    vessels, _ = grow_vessels(np.random.default_rng(0), lattice, lung, lattice.points_lps_mm(np.zeros(3)))
    assert np.isfinite(vessels.points_mm).all()
