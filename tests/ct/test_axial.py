"""Planes in the order of the file are, on any grid, what resampling the whole scan gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lungct.ct.axial import axial, on_grid, stacks, upside_down
from lungct.ct.geometry import resampled_grid, to_canonical
from lungct.ct.resample import resample
from lungct.ct.stack import stack
from lungct.types import Grid, Planes, Volume

CLIP = (-1000, 500)
OBLIQUE = np.array([[0.9848, -0.1736, 0.0], [0.1736, 0.9848, 0.0], [0.0, 0.0, 1.0]])


def scan(flips: tuple[int, ...], axes: tuple[int, ...], turn: np.ndarray) -> Volume:
    direction = (turn @ np.diag(flips))[:, list(axes)]
    hu = np.random.default_rng(0).integers(-1200, 700, (9, 11, 13)).astype(np.int16)
    grid = Grid(hu.shape, (2.5, 0.7, 0.9), (-31.0, 12.0, 400.0), tuple(direction.ravel().tolist()))  # type: ignore[arg-type]
    return Volume(hu, grid)


def rising(volume: Volume) -> Planes:
    """Planes that can be read once and upwards only, as from a packed file."""
    last = [-1]

    def read(z: int) -> np.ndarray:
        assert z > last[0]
        last[0] = z
        return volume.hu[z].copy()

    return Planes(volume.grid, read)


@pytest.mark.parametrize("turn", [np.eye(3), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("flips", list(itertools.product((1, -1), repeat=3)))
@pytest.mark.parametrize("spacing", [None, (1.1, 1.0, 1.0), (6.0, 0.5, 0.6)])
def test_the_same_as_of_the_whole(
    flips: tuple[int, ...], turn: np.ndarray, spacing: tuple[float, float, float] | None
) -> None:
    volume = scan(flips, (0, 1, 2), turn)
    canonical = to_canonical(volume)
    view = axial(rising(volume))
    assert view.from_head == (flips[2] < 0)
    assert view.grid.shape_zyx == canonical.grid.shape_zyx
    np.testing.assert_allclose(view.grid.affine_lps, canonical.grid.affine_lps, atol=1e-9)
    grid = view.grid if spacing is None else resampled_grid(view.grid, spacing)
    whole = resample(canonical, spacing, CLIP)
    planes = list(on_grid(view, grid, CLIP))
    assert len(planes) == len(whole.hu)
    found = np.stack(planes[::-1] if view.from_head else planes)
    assert found.dtype == np.int16
    # The weights of two neighbours are rounded the other way round from the head down.
    assert np.abs(found.astype(int) - whole.hu).max() <= (1 if view.from_head and spacing else 0)


@pytest.mark.parametrize("axes", [(2, 0, 1), (0, 2, 1)])
def test_sagittal_and_coronal_files(axes: tuple[int, ...]) -> None:
    volume = scan((1, 1, -1), axes, OBLIQUE)
    view = axial(rising(volume))
    assert (np.stack([plane for _, plane in view]) == to_canonical(volume).hu).all()


def test_upside_down_keeps_every_voxel_where_it_is() -> None:
    grid = scan((1, 1, 1), (0, 1, 2), OBLIQUE).grid
    other = upside_down(grid)
    np.testing.assert_allclose(other.to_world((3.0, 4.0, 0.0)), grid.to_world((3.0, 4.0, 8.0)))
    np.testing.assert_allclose(other.to_world((3.0, 4.0, 6.0)), grid.to_world((3.0, 4.0, 2.0)))


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
@pytest.mark.parametrize("context", [1, 3, 5])
def test_stacks_in_either_direction(depth: int, context: int) -> None:
    hu = np.arange(depth * 6, dtype=np.int16).reshape(depth, 2, 3)
    for order in (range(depth), range(depth - 1, -1, -1)):
        found = dict(stacks(iter([hu[z] for z in order]), order, context))
        assert list(found) == list(order)
        for z, one in found.items():
            assert (one == stack(hu, z, context)).all()
