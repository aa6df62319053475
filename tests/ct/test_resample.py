"""Resampling agrees with ITK, moves no sphere, and copes with single slices."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.ct.geometry import to_canonical
from lungct.ct.resample import resample
from lungct.types import Grid, Volume

HU = (-1000, 500)


def sphere(grid: Grid, center_lps_mm: np.ndarray, radius_mm: float) -> Volume:
    """A ball of 0 HU in air with an edge as wide as a voxel."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape_zyx), indexing="ij")
    distance = np.linalg.norm(grid.to_world(np.stack([x, y, z], axis=-1)) - center_lps_mm, axis=-1)
    inside = np.clip((radius_mm - distance) / max(grid.spacing_mm_zyx) + 0.5, 0, 1)
    return Volume((-1000 + 1000 * inside).astype(np.float32), grid)


def center_of_mass(volume: Volume) -> np.ndarray:
    weight = volume.hu.astype(np.float64) + 1000
    z, y, x = np.meshgrid(*(np.arange(n) for n in volume.hu.shape), indexing="ij")
    return np.array([(axis * weight).sum() / weight.sum() for axis in (x, y, z)])


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(*[st.floats(0.6, 2.5)] * 3),
    st.tuples(*[st.floats(0.6, 2.5)] * 3),
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from((1, -1))] * 3),
    st.floats(-25, 25),
    st.tuples(*[st.floats(-2, 2)] * 3),
)
def test_sphere_centre_lands_within_half_a_voxel(
    old: tuple[float, float, float],
    new: tuple[float, float, float],
    axes: list[int],
    signs: tuple[int, int, int],
    degrees: float,
    offset: tuple[float, float, float],
) -> None:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    direction = turn @ (np.eye(3)[:, axes] * signs)
    shape = tuple(int(24 / one) for one in old)
    grid = Grid(shape, old, (40.0, -60.0, 80.0), tuple(direction.ravel()))
    center = grid.to_world((np.asarray(shape[::-1]) - 1) / 2) + offset
    found = resample(to_canonical(sphere(grid, center, 6.0)), new, HU)
    assert np.abs(center_of_mass(found) - found.grid.to_index(center)).max() < 0.5


def test_agrees_with_itk_inside_the_scan() -> None:
    rng = np.random.default_rng(1)
    hu = rng.integers(-1000, 500, (9, 11, 13)).astype(np.int16)
    angle = np.radians(12)
    direction = (np.cos(angle), -np.sin(angle), 0.0, np.sin(angle), np.cos(angle), 0.0, 0.0, 0.0, 1.0)
    grid = Grid((9, 11, 13), (2.5, 0.8, 0.7), (-30.0, 12.0, 99.0), direction)
    ours = resample(Volume(hu, grid), (1.25, 0.9, 0.9), HU)
    image = SimpleITK.GetImageFromArray(hu)
    image.SetSpacing(grid.spacing_mm_zyx[::-1])
    image.SetOrigin(grid.origin_lps_mm)
    image.SetDirection(direction)
    theirs = SimpleITK.Resample(
        image,
        [int(n) for n in ours.grid.shape_zyx[::-1]],
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        ours.grid.origin_lps_mm,
        ours.grid.spacing_mm_zyx[::-1],
        direction,
        -1000,
        SimpleITK.sitkFloat64,
    )
    difference = np.abs(SimpleITK.GetArrayFromImage(theirs) - ours.hu)
    assert difference[1:-1, 1:-1, 1:-1].max() <= 0.51


def test_outermost_value_holds_beyond_the_last_centre() -> None:
    volume = Volume(np.array([[[0, 100]]], dtype=np.int16), Grid((1, 1, 2), (1.0, 1.0, 4.0), (0.0, 0.0, 0.0)))
    found = resample(volume, (1.0, 1.0, 1.0), HU)
    assert found.hu.ravel().tolist() == [0, 0, 12, 38, 62, 88, 100, 100]


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.float32, np.float64, np.int32])
def test_native_grid_only_clips(kind: type) -> None:
    volume = Volume(np.array([[[0, 400, 900]]], dtype=kind), Grid((1, 1, 3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    found = resample(volume, None, (-1000, 500))
    assert found.grid == volume.grid
    assert found.hu.dtype == np.int16
    assert found.hu.ravel().tolist() == [0, 400, 500]


def test_nan_becomes_the_lowest() -> None:
    volume = Volume(np.array([[[np.nan, 3.6]]]), Grid((1, 1, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    assert resample(volume, None, HU).hu.ravel().tolist() == [-1000, 4]


def test_a_value_that_is_no_number_counts_as_the_lowest_and_stays_where_it_is() -> None:
    hu = np.full((3, 30, 40), 100, np.float32)
    hu[1, 12, 20], hu[0, 2, 2] = np.nan, np.inf
    found = resample(Volume(hu, Grid(hu.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))), (1.0, 1.0, 0.5), HU).hu
    assert found[1, 12, 39:43].tolist() == [-175, -725, -725, -175]
    assert (found != 100).sum() == 8
    assert found[0, 2, 4] == HU[1]


@pytest.mark.parametrize("spacing", [(0.7, 0.9, 1.1), (2.3, 0.9, 1.1), (2.3, 2.1, 3.7), (1.0, 1.0, 0.31)])
def test_is_three_linear_interpolations_whatever_goes_first(spacing: tuple[float, float, float]) -> None:
    hu = np.random.default_rng(2).integers(-900, 400, (17, 37, 50)).astype(np.int16)
    volume = Volume(hu, Grid(hu.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    found = resample(volume, spacing, HU)
    expected = hu.astype(np.float64)
    for axis, mm in enumerate(spacing):
        place = (np.arange(found.hu.shape[axis]) + 0.5) * mm - 0.5
        old = np.arange(hu.shape[axis])
        expected = np.apply_along_axis(lambda line, x=place, xp=old: np.interp(x, xp, line), axis, expected)
    assert np.abs(found.hu - expected).max() <= 0.501
