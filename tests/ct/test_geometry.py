"""Axes turn without a voxel moving; resampled grids share their edges; oblique boxes reach as ellipsoids do."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.ct.geometry import cropped, half_extents_index, resampled_grid, to_canonical
from lungct.types import Grid, Volume


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """Turn about x, then y, then z."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one = np.eye(3)
        a, b = [i for i in range(3) if i != axis]
        one[[a, b], [a, b]] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turned = one @ turned
    return turned


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_every_orientation_becomes_lps_and_voxels_stay(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    direction = rotation((4, -7, 9)) @ (np.eye(3)[:, list(axes)] * signs)
    grid = Grid((4, 5, 6), (2.0, 1.5, 0.5), (10.0, -20.0, 30.0), tuple(direction.ravel()))
    volume = Volume(np.arange(120).reshape(4, 5, 6), grid)
    turned = to_canonical(volume)
    assert np.array_equal(np.argmax(np.abs(turned.grid.direction_matrix), axis=0), [0, 1, 2])
    assert (np.diag(turned.grid.direction_matrix) > 0.9).all()
    assert np.linalg.det(turned.grid.direction_matrix) == pytest.approx(1)
    for z, y, x in product(range(4), range(5), range(6)):
        index = np.rint(turned.grid.to_index(grid.to_world((x, y, z)))).astype(int)
        assert turned.hu[tuple(index[::-1])] == volume.hu[z, y, x]


def test_canonical_volume_is_left_alone() -> None:
    grid = Grid((2, 3, 4), (2.0, 1.0, 1.0), (1.0, 2.0, 3.0))
    volume = Volume(np.zeros((2, 3, 4)), grid)
    assert to_canonical(volume).grid == grid


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.floats(0.3, 5.0)] * 3),
    st.tuples(*[st.floats(0.3, 5.0)] * 3),
    st.tuples(*[st.floats(-40, 40)] * 3),
)
def test_resampled_grid_keeps_its_first_edge_and_its_extent(
    shape: tuple[int, int, int],
    old: tuple[float, float, float],
    new: tuple[float, float, float],
    turn: tuple[float, ...],
) -> None:
    grid = Grid(shape, old, (5.0, -6.0, 7.0), tuple(rotation(turn).ravel()))
    other = resampled_grid(grid, new)
    np.testing.assert_allclose(grid.to_world((-0.5, -0.5, -0.5)), other.to_world((-0.5, -0.5, -0.5)), atol=1e-9)
    for count, spacing, old_count, old_spacing in zip(other.shape_zyx, new, shape, old, strict=True):
        if count > 1:
            assert abs(count * spacing - old_count * old_spacing) <= spacing / 2 + 1e-9


def test_half_extents_along_straight_axes_are_the_boxs_own() -> None:
    grid = Grid((9, 9, 9), (2.0, 1.0, 0.5), (0.0, 0.0, 0.0))
    np.testing.assert_allclose(half_extents_index((4.0, 6.0, 8.0), grid), [4.0, 3.0, 2.0])


def test_half_extents_of_a_turned_ellipsoid_match_its_points() -> None:
    grid = Grid((9, 9, 9), (2.0, 1.0, 0.5), (0.0, 0.0, 0.0), tuple(rotation((20, 30, 40)).ravel()))
    size = (4.0, 6.0, 9.0)
    points = np.random.default_rng(0).normal(size=(200_000, 3))
    points *= np.asarray(size) / 2 / np.linalg.norm(points, axis=1, keepdims=True)
    np.testing.assert_allclose(half_extents_index(size, grid), grid.to_index(points).max(axis=0), rtol=2e-3)


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.integers(0, 3)] * 3),
    st.tuples(*[st.integers(5, 9)] * 3),
    st.tuples(*[st.integers(1, 3)] * 3),
)
def test_cropped_voxels_stay_where_they_are(
    degrees: tuple[float, float, float],
    first: tuple[int, int, int],
    last: tuple[int, int, int],
    steps: tuple[int, int, int],
) -> None:
    hu = np.arange(7 * 8 * 6, dtype=np.int16).reshape(7, 8, 6)
    grid = Grid((7, 8, 6), (2.5, 0.8, 0.7), (-10.0, 20.0, 30.0), tuple(rotation(degrees).ravel().tolist()))
    found = cropped(Volume(hu, grid), [slice(*one) for one in zip(first, last, steps, strict=True)])
    assert found.grid.shape_zyx == found.hu.shape
    for index in product(*(range(size) for size in found.hu.shape)):
        place = np.rint(grid.to_index(found.grid.to_world(index[::-1]))).astype(int)
        np.testing.assert_allclose(grid.to_world(place), found.grid.to_world(index[::-1]), atol=1e-6)
        assert found.hu[index] == hu[tuple(place[::-1])]
