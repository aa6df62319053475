"""The side of a nodule by a lung mask, and detections far from the others of their scan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.inference.outliers import without_outliers
from lungct.inference.sides import sides_of
from lungct.types import Detections, Grid, Planes


@pytest.mark.parametrize("direction", [np.eye(3), np.diag([-1.0, -1.0, 1.0])], ids=["lps", "ras"])
def test_side_by_the_nearest_voxel_within_reach(direction: np.ndarray) -> None:
    grid = Grid((20, 60, 60), (2.0, 1.0, 1.0), (50.0, 60.0, -9.0), tuple(direction.ravel().tolist()))
    mask = np.zeros(grid.shape_zyx, np.uint8)
    mask[2:12, 20:40, 5:20], mask[2:12, 20:40, 35:50] = 1, 2
    index = [(10, 30, 6), (40, 30, 6), (3, 30, 6), (26, 30, 6), (29, 30, 6), (10, 30, 17), (10, 30, 20), (40, 58, 6)]
    centers = [tuple(grid.to_world(tuple(map(float, one))).tolist()) for one in index]
    sides = sides_of(centers, Planes(grid, mask.__getitem__))
    # 12 mm above the mask is within reach, 18 mm is not, nor 19 mm behind it.
    assert sides == ["right", "left", "right", "right", "left", "right", "", ""]


def marks(*rows: tuple[int, float, float, float]) -> dict[int, Detections]:
    """(z, x, y, score) -> one detection of 4 x 4 pixels on each slice."""
    return {
        z: Detections(z, np.array([[x - 2, y - 2, x + 2, y + 2]]), np.array([score]), np.array([1]))
        for z, x, y, score in rows
    }


def test_far_ones_go_and_near_ones_stay() -> None:
    near = [(z, 30 + z % 3, 40 + z % 2, 0.5) for z in range(8)]
    kept = without_outliers(marks(*near, (8, 90, 40, 0.99), (9, 31, 90, 0.99)))
    assert sorted(kept) == list(range(8))
    assert without_outliers({}) == {}
    assert without_outliers({3: Detections(3, np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))}) == {}


def test_the_two_passes() -> None:
    def stay(*x: float) -> list[float]:
        return [x[z] for z in without_outliers(marks(*((z, one, 50.0, 0.5) for z, one in enumerate(x))))]

    assert stay(0, 10, 20, 30, 60) == [0, 10, 20, 30, 60]  # quartiles 10 and 30: 1.5 times 20 beyond 30 is 60
    assert stay(0, 10, 20, 30, 61) == [0, 10, 20, 30]
    # The two at 1000 hide 21 from the first pass; without them the quartiles are 11.25 and 13.75, and 18.75 the end.
    assert stay(10, 11, 12, 13, 14, 21, 1000, 1000) == [10, 11, 12, 13, 14]
    assert stay(10, 11, 12, 13, 14, 18.7, 1000, 1000)[-1] == 18.7


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from((0.0, 1, 2, 50, 900)), st.floats(0, 1000)), min_size=1, max_size=30))
def test_something_always_stays(places: list[tuple[float, float]]) -> None:
    assert without_outliers(marks(*((z, x, y, 0.5) for z, (x, y) in enumerate(places))))
