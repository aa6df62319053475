"""One nodule: its shape keeps to its reach, its box is that of its voxels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.phantom.lattice import Lattice
from lungct.phantom.nodule import Canvas, draw_nodule_at, draw_shape, reach_mm, world_box
from lungct.phantom.sampling import NoduleDraw
from lungct.types import Grid

ANGLES = st.floats(-0.4, 0.4)


def turned(a: float, b: float, flips: tuple[int, int, int]) -> tuple[float, ...]:
    first = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    second = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return tuple(float(v) for v in (first @ second * np.array(flips)).ravel())


@settings(max_examples=40, deadline=None)
@given(a=ANGLES, b=ANGLES, flips=st.sampled_from(list(itertools.product((1, -1), repeat=3))), seed=st.integers(0, 99))
def test_box_is_the_hull_of_all_voxel_corners(a: float, b: float, flips: tuple[int, int, int], seed: int) -> None:
    grid = Grid((30, 40, 50), (2.0, 0.9, 0.7), (-31.0, 12.5, -200.0), turned(a, b, flips))
    index = np.random.default_rng(seed).integers(0, 30, (12, 3)).astype(float)
    center, size = world_box(grid, index)
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
    world = grid.to_world((index[:, None] + corners).reshape(-1, 3))
    np.testing.assert_allclose(np.array(center) - np.array(size) / 2, world.min(axis=0), atol=2e-6)
    np.testing.assert_allclose(np.array(center) + np.array(size) / 2, world.max(axis=0), atol=2e-6)


@pytest.mark.parametrize("spiculation", [0.0, 0.29, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_no_part_lies_beyond_its_reach(spiculation: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    draw = NoduleDraw("solid", "isolated", 12.0, spiculation, 30.0, 30.0, 0)
    shape = draw_shape(rng, 6.0, spiculation)
    ways = np.concatenate([rng.standard_normal((4000, 3)), shape.bumps])
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    assert shape.depth_mm(ways * reach_mm(draw) * 1.001).max() < 0
    assert shape.depth_mm(np.zeros((1, 3)))[0] > 0


def test_spicules_roughen_the_surface() -> None:
    ways = np.random.default_rng(0).standard_normal((4000, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)

    def roughness(spiculation: float) -> float:
        depth = draw_shape(np.random.default_rng(1), 6.0, spiculation).depth_mm(6.0 * ways)
        return float(depth.std() / 6.0)

    assert roughness(0.9) > 1.8 * roughness(0.0)


@pytest.mark.parametrize(("kind", "low", "high"), [("solid", 0, 60), ("ground-glass", -640, -560)])
def test_a_nodule_in_the_open_has_its_size_and_density(kind: str, low: float, high: float) -> None:
    grid = Grid((40, 60, 60), (1.0, 1.0, 1.0), (-30.0, -30.0, -20.0))
    lattice = Lattice.over(grid)
    canvas = Canvas(
        np.full(grid.shape_zyx, -850, np.float32),
        np.zeros(grid.shape_zyx, np.uint8),
        lattice,
        np.full(lattice.shape_zyx, 30, np.float32),
    )
    draw = NoduleDraw(kind, "isolated", 14.0, 0.0, 30.0 if kind == "solid" else -600.0, 30.0, 0)
    box = draw_nodule_at(canvas, draw, np.array([0.4, -0.3, 0.2]), 3, np.random.default_rng(4))
    assert box is not None
    assert set(np.unique(canvas.labels)) == {0, 3}
    volume_mm3 = float((canvas.labels == 3).sum())
    assert (6 * volume_mm3 / np.pi) ** (1 / 3) == pytest.approx(14.0, rel=0.15)
    assert low < np.median(canvas.hu[canvas.labels == 3]) < high


def test_the_pleura_cuts_the_truth() -> None:
    grid = Grid((40, 60, 60), (1.0, 1.0, 1.0), (-30.0, -30.0, -20.0))
    lattice = Lattice.over(grid)
    x, _, _ = lattice.points_lps_mm(np.zeros(3))
    canvas = Canvas(
        np.where(np.arange(60) - 30 < 3, -850, 50).astype(np.float32) * np.ones(grid.shape_zyx, np.float32),
        np.zeros(grid.shape_zyx, np.uint8),
        lattice,
        3.0 - x,
    )
    draw = NoduleDraw("solid", "juxta-pleural", 14.0, 0.0, 30.0, 30.0, 0)
    box = draw_nodule_at(canvas, draw, np.zeros(3), 1, np.random.default_rng(4))
    assert box is not None
    center, size = box
    assert center[0] + size[0] / 2 == pytest.approx(3.5, abs=1e-6)
    assert canvas.hu[:, :, 40:].min() == 50
