"""Which slices of a grid are searched, and that their slabs fill it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungct.ct.axial import stacks
from lungct.ct.geometry import resampled_grid
from lungct.inference.searched import searched_slices
from lungct.types import Grid


def grid_of(depth: int, spacing_mm: float) -> Grid:
    return Grid((depth, 8, 8), (spacing_mm, 1.0, 1.0), (3.0, -4.0, 50.0))


@given(depth=st.integers(1, 120), own_mm=st.floats(0.5, 8), model_mm=st.floats(0.5, 5))
def test_every_own_slice_has_a_searched_one_within_half_a_step(depth: int, own_mm: float, model_mm: float) -> None:
    own = grid_of(depth, own_mm)
    grid = resampled_grid(own, (model_mm, 1.0, 1.0))
    found = searched_slices(own, grid, "own")
    assert len(found.z) == min(depth, grid.shape_zyx[0]) if own_mm > model_mm else len(found.z) == grid.shape_zyx[0]
    own_z_mm, searched_mm = (
        np.array([one.to_world((0.0, 0.0, float(z)))[2] for z in places])
        for one, places in ((own, range(depth)), (grid, found.z))
    )
    inside = (own_z_mm >= grid.origin_lps_mm[2]) & (own_z_mm <= grid.to_world((0, 0, grid.shape_zyx[0] - 1.0))[2])
    apart = np.abs(own_z_mm[:, None] - searched_mm).min(axis=1)
    assert (apart[inside] <= model_mm / 2 + 1e-6).all()


@given(depth=st.integers(1, 60), own_mm=st.floats(0.5, 8), model_mm=st.floats(0.5, 5))
def test_slabs_are_the_scans_own_and_hold_their_slices(depth: int, own_mm: float, model_mm: float) -> None:
    own = grid_of(depth, own_mm)
    found = searched_slices(own, resampled_grid(own, (model_mm, 1.0, 1.0)), "own")
    slabs = found.slabs(found.z)
    assert (slabs[1:, 0] == slabs[:-1, 1]).all()
    centers = np.asarray(found.z) + 0.5
    assert ((slabs[:, 0] < centers) & (centers < slabs[:, 1])).all()
    thick_mm = np.diff(slabs, axis=1) * model_mm
    np.testing.assert_allclose(thick_mm, max(own_mm, model_mm), rtol=1e-9)
    assert abs(slabs[0, 0]) < 1e-9


@pytest.mark.parametrize("own_mm", [2.5, 5.0])
def test_slices_halfway_between_two_of_the_grid_are_searched_alike(own_mm: float) -> None:
    """Wherever the scan lies: rounding of its origin decides nothing."""
    random = np.random.default_rng(0)
    for _ in range(100):
        tilt = np.deg2rad(random.uniform(-20, 20))
        direction = (1.0, 0.0, 0.0, 0.0, np.cos(tilt), -np.sin(tilt), 0.0, np.sin(tilt), np.cos(tilt))
        own = Grid((90, 8, 8), (own_mm, 0.7, 0.7), tuple(random.uniform(-400, 400, 3).round(3).tolist()), direction)
        found = searched_slices(own, resampled_grid(own, (1.25, 0.7, 0.7)), "own")
        assert set(np.diff(found.z).tolist()) == {round(own_mm / 1.25)}


def test_of_a_finer_scan_all_are_searched_and_each_stands_for_itself() -> None:
    own = grid_of(20, 1.0)
    found = searched_slices(own, resampled_grid(own, (2.0, 1.0, 1.0)), "own")
    assert found.z == tuple(range(10))
    assert found.slabs((3, 4)).tolist() == [[3, 4], [4, 5]]
    coarse = grid_of(20, 3.0)
    assert len(searched_slices(coarse, resampled_grid(coarse, (1.0, 1.0, 1.0)), "all").z) == 60
    assert searched_slices(coarse, resampled_grid(coarse, (1.0, 1.0, 1.0)), "own").z == tuple(range(1, 60, 3))
    assert found.rank(4) == 4
    with pytest.raises(ValueError, match="slice 10 was not searched"):
        found.rank(10)


@pytest.mark.parametrize("order", [range(7), range(6, -1, -1)], ids=["up", "down"])
def test_wanted_stacks_are_those_of_all(order: range) -> None:
    planes = {z: np.full((2, 2), z, np.int16) for z in order}
    all_of_them = dict(stacks((planes[z] for z in order), order, 3))
    some = dict(stacks((planes[z] for z in order), order, 3, {1, 4, 6}))
    assert sorted(some) == [1, 4, 6]
    assert all((some[z] == all_of_them[z]).all() for z in some)
