"""Other readings of coordinates: exact inverses, told apart by the scan's extent and by what lies at the points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.ct.frame import (
    from_lps,
    in_tissue,
    inside,
    likely_by_tissue,
    likely_frames,
    likely_unit,
    tissue_counts,
    to_lps,
)
from lungct.registry import CSV_FRAMES
from lungct.types import FloatArray, Grid

COS, SIN = float(np.cos(0.3)), float(np.sin(0.3))
OBLIQUE = Grid((40, 60, 50), (2.5, 0.7, 0.8), (-150.0, 90.0, -300.0), (COS, SIN, 0.0, SIN, -COS, 0.0, 0.0, 0.0, 1.0))
CENTERED = Grid((50, 100, 100), (2.0, 3.0, 3.0), (-148.5, -148.5, -49.0))
POINT = st.tuples(*[st.floats(-400, 400)] * 3)


@settings(max_examples=30, deadline=None)
@given(points=st.lists(POINT, min_size=1, max_size=4), frame=st.sampled_from(CSV_FRAMES))
def test_frames_there_and_back(points: list[tuple[float, float, float]], frame: str) -> None:
    there = to_lps(np.array(points), frame, OBLIQUE)
    np.testing.assert_allclose(from_lps(there, frame, OBLIQUE), points, atol=1e-9)


def test_what_each_frame_means() -> None:
    assert to_lps(np.array([1.0, 2.0, 3.0]), "ras", None).tolist() == [-1, -2, 3]
    assert to_lps(np.array([1.0, 2.0, 3.0]), "lps", None).tolist() == [1, 2, 3]
    np.testing.assert_allclose(to_lps(np.array([2.0, 3.0, 4.0]), "voxel", CENTERED), [-142.5, -139.5, -41.0])
    with pytest.raises(ValueError, match="without a grid"):
        to_lps(np.zeros(3), "voxel", None)


def test_inside_reaches_to_the_voxels_edges() -> None:
    index = np.array([[-0.49, 0, 0], [49.49, 59.49, 39.49], [-0.51, 0, 0], [0, 59.51, 0]])
    assert inside(OBLIQUE.to_world(index), OBLIQUE).tolist() == [True, True, False, False]
    assert inside(np.empty((0, 3)), OBLIQUE).tolist() == []


def drawn(grid: Grid, count: int = 12) -> FloatArray:
    """World points well inside a grid."""
    share = np.random.default_rng(3).uniform(0.1, 0.9, (count, 3))
    return np.asarray(grid.to_world(share * (np.array(grid.shape_zyx[::-1]) - 1)))


@pytest.mark.parametrize("stated", CSV_FRAMES)
@pytest.mark.parametrize("true", CSV_FRAMES)
def test_the_true_frame_is_named_where_the_stated_one_is_wrong(stated: str, true: str) -> None:
    grids = [OBLIQUE, Grid((40, 60, 50), (2.5, 0.7, 0.8), (30.0, -200.0, 500.0))]
    scans = [(from_lps(drawn(grid), true, grid), grid) for grid in grids]
    total, count, likely = likely_frames(scans, stated)
    assert total == 24
    if stated == true:
        assert (count, likely) == (24, {})
    else:
        assert count < 12
        assert likely == {true: 24}


def test_points_of_other_scans_are_of_no_frame() -> None:
    assert likely_frames([(np.full((4, 3), 4000.0), OBLIQUE)], "lps") == (4, 0, {})
    assert likely_frames([], "lps") == (0, 0, {})


def test_half_of_the_points_outside_is_no_reason_to_doubt() -> None:
    points = np.concatenate([drawn(OBLIQUE, 4), np.full((4, 3), 4000.0)])
    assert likely_frames([(points, OBLIQUE)], "lps") == (8, 4, {})


def chest(points: FloatArray, grid: Grid) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Lung all over, a 3 x 3 x 3 nodule at each point."""
    hu = np.full(grid.shape_zyx, -850, np.int16)
    for x, y, z in np.rint(grid.to_index(points)).astype(int):
        hu[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = 40
    return hu


@pytest.mark.parametrize("stated", ["lps", "ras"])
def test_mirrored_points_that_are_all_inside_are_told_by_tissue(stated: str) -> None:
    points = drawn(CENTERED)
    hu = chest(points, CENTERED)
    other = "ras" if stated == "lps" else "lps"
    mirrored = points * [-1, -1, 1]
    assert inside(mirrored, CENTERED).all()
    counts = tissue_counts(mirrored, stated, hu, CENTERED)
    assert counts.pop("nodules") == counts[other] == 12
    assert counts[stated] <= 2
    assert likely_by_tissue(counts, 12, stated) == other
    right = tissue_counts(points, stated, hu, CENTERED)
    assert likely_by_tissue(right, right.pop("nodules"), stated) is None


@pytest.mark.parametrize(
    ("counts", "total", "frame"),
    [
        ({"lps": 50, "ras": 95, "voxel": 0}, 100, "ras"),
        ({"lps": 80, "ras": 95, "voxel": 0}, 100, None),
        ({"lps": 50, "ras": 80, "voxel": 0}, 100, None),
        ({"lps": 0, "ras": 4, "voxel": 0}, 4, None),
        ({"lps": 0, "ras": 0, "voxel": 0}, 0, None),
    ],
)
def test_tissue_speaks_only_clearly(counts: dict[str, int], total: int, frame: str | None) -> None:
    assert likely_by_tissue(counts, total, "lps") == frame


def test_tissue_at_the_border_and_outside() -> None:
    hu = np.full(CENTERED.shape_zyx, -1000, np.int16)
    hu[0, 0, 0] = hu[0, 0, 1] = hu[0, 1, 0] = hu[0, 1, 1] = 0
    corner = CENTERED.to_world((0.0, 0.0, 0.0))
    assert in_tissue(np.stack([corner, corner + 10, corner - 10]), hu, CENTERED).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("scale", "unit"), [((1, 1, 1), "mm"), ((0.1, 0.1, 0.1), "cm"), ((1 / 0.7, 1 / 0.7, 1 / 2.5), "voxel")]
)
def test_units_of_sizes(scale: tuple[float, float, float], unit: str) -> None:
    rng = np.random.default_rng(0)
    size = rng.uniform(4, 16, (40, 1)) * rng.uniform(0.8, 1.25, (40, 3)) * scale
    spacing = np.tile((0.7, 0.7, 2.5), (40, 1))
    assert likely_unit(size, spacing) == unit
    assert likely_unit(size[:4], spacing[:4]) == "mm"


def test_flat_boxes_on_cubic_voxels_tell_nothing() -> None:
    assert likely_unit(np.tile((10.0, 10.0, 4.0), (40, 1)), np.ones((40, 3))) == "mm"
    assert likely_unit(np.empty((0, 3)), np.empty((0, 3))) == "mm"
