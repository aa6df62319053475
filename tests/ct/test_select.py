"""The four rules on profiles worked out by hand, and footprints on straight and edge-crossing boxes."""

from __future__ import annotations

import numpy as np
import pytest

from lungct.ct.boxes import footprint, is_cut
from lungct.ct.hu import clip_hu, gray_to_hu, hu_to_gray
from lungct.ct.lung import lung_slices
from lungct.ct.select import Profile, Rule, least_mass, profile, rule_of, select
from lungct.ct.stack import stack
from lungct.errors import UsageError
from lungct.types import Grid, Nodule

GRID = Grid((20, 32, 40), (2.0, 1.0, 0.5), (0.0, 0.0, 0.0))
MASS = np.array([0.1, 0.5, 0.8, 1.0, 0.6, 0.2])


def kept(rule: Rule, mean_hu: float = 0.0) -> list[int]:
    return np.flatnonzero(select(Profile(MASS, np.full(6, mean_hu)), rule)).tolist()


def nodule(center: tuple[float, float, float], size: tuple[float, float, float]) -> Nodule:
    return Nodule("n1", "p1", "c1", center, size)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule("all"), [0, 1, 2, 3, 4, 5]),
        (Rule("threshold"), [1, 2, 3, 4]),
        (Rule("threshold", fraction=0.7), [2, 3]),
        (Rule("threshold", fraction=1.0), [3]),
        (Rule("statistical"), [1, 2, 3, 4]),  # mean .533, sd .310
        (Rule("statistical", k=0.0), [2, 3, 4]),
        (Rule("statistical", k=2.0), [0, 1, 2, 3, 4, 5]),
        (Rule("sliding-window"), [2, 3, 4]),
        (Rule("sliding-window", window_slices=2), [2, 3]),
        (Rule("sliding-window", window_slices=99), [0, 1, 2, 3, 4, 5]),
    ],
)
def test_rules(rule: Rule, expected: list[int]) -> None:
    assert kept(rule) == expected


def test_peak_stays_whatever_min_hu_says() -> None:
    assert kept(Rule("threshold", min_hu=-200), mean_hu=-500) == [3]
    assert kept(Rule("threshold", min_hu=-200), mean_hu=-100) == [1, 2, 3, 4]


def test_peak_outside_the_heaviest_window_is_kept() -> None:
    mass = np.array([1.0, 0.0, 0.0, 0.7, 0.7, 0.7])
    assert np.flatnonzero(select(Profile(mass, mass), Rule("sliding-window"))).tolist() == [0, 3, 4, 5]


def test_a_number_of_another_rule_is_refused() -> None:
    assert rule_of("threshold", fraction=0.25, k=None) == Rule("threshold", fraction=0.25)
    with pytest.raises(UsageError, match="--k belongs to --method statistical"):
        rule_of("threshold", k=2.0)


def test_footprint_in_edge_coordinates() -> None:
    place = footprint(nodule((10.0, 16.0, 20.0), (4.0, 6.0, 8.0)), GRID)
    assert place is not None
    assert (place.z_first, place.z_last) == (8, 12)
    assert place.box_xyxy_px == pytest.approx((16.5, 13.5, 24.5, 19.5))


def test_thin_nodule_between_slices_spans_the_nearest() -> None:
    place = footprint(nodule((10.0, 16.0, 20.8), (4.0, 4.0, 0.5)), GRID)
    assert place is not None
    assert (place.z_first, place.z_last) == (10, 10)


def test_box_is_clipped_to_the_image_and_missed_outside() -> None:
    place = footprint(nodule((0.0, 31.0, 0.0), (4.0, 6.0, 8.0)), GRID)
    assert place is not None
    assert place.box_xyxy_px == pytest.approx((0, 28.5, 4.5, 32))
    assert (place.z_first, place.z_last) == (0, 2)
    assert footprint(nodule((-5.0, 16.0, 20.0), (4.0, 4.0, 4.0)), GRID) is None
    assert footprint(nodule((10.0, 16.0, 90.0), (4.0, 4.0, 4.0)), GRID) is None


def test_mass_is_the_mean_over_the_inscribed_ellipse() -> None:
    hu = np.full(GRID.shape_zyx, -1000, np.int16)
    y, x = np.mgrid[:32, :40]
    inside = ((x - 20) / 8) ** 2 + ((y - 16) / 5) ** 2 <= 1
    hu[10][inside] = 500
    hu[11][inside] = -250
    place = footprint(nodule((10.0, 16.0, 21.0), (8.0, 10.0, 3.0)), GRID)
    assert place is not None
    found = profile(hu, place)
    assert found.mass.tolist() == [1.0, 0.5]
    assert found.mean_hu.tolist() == [500, -250]


def test_stack_repeats_the_outermost_slice_where_a_neighbour_is_missing() -> None:
    hu = np.arange(3, dtype=np.int16)[:, None, None] * np.ones((1, 2, 2), np.int16)
    assert stack(hu, 0, 3)[:, 0, 0].tolist() == [0, 0, 1]
    assert stack(hu, 2, 5)[:, 0, 0].tolist() == [0, 1, 2, 2, 2]
    assert stack(hu, 1, 7)[:, 0, 0].tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert stack(hu, 1, 1).shape == (1, 2, 2)


def test_gray_of_a_window() -> None:
    hu = np.array([-1001, -1000, -700, -400, -399], np.int16)
    assert hu_to_gray(hu, (-1000, -400)).tolist() == [0, 0, 128, 255, 255]
    assert np.array_equal(gray_to_hu(hu_to_gray(hu[1:4], (-1000, -745)), (-1000, -745)), [-1000, -745, -745])


def test_clipping_copies_only_what_changes() -> None:
    hu = np.arange(-1100, 600, dtype=np.int16)
    assert clip_hu(hu, (-1200, 700)) is hu
    clipped = clip_hu(hu, (-1000, 500))
    assert (clipped.min(), clipped.max(), hu[0]) == (-1000, 500, -1100)
    assert clip_hu(hu.astype(np.int32), (-1200, 700)).dtype == np.int16


@pytest.mark.parametrize(
    ("center", "expected"),
    [
        ((10.0, 16.0, 20.0), False),
        ((1.75, 2.5, 2.0), False),  # edge on edge with the scan's corner
        ((1.74, 2.5, 2.0), True),
        ((10.0, 28.6, 20.0), True),
        ((10.0, 16.0, 36.1), True),
    ],
)
def test_a_box_beyond_an_end_is_cut(center: tuple[float, float, float], expected: bool) -> None:
    place = footprint(nodule(center, (4.0, 6.0, 6.0)), GRID)
    assert place is not None
    assert is_cut(place, GRID) == expected


def test_least_mass_is_the_line_between_kept_and_not() -> None:
    found = Profile(MASS, MASS)
    for rule in (Rule("threshold"), Rule("statistical", k=0.3)):
        least = least_mass(found, rule)
        assert least is not None
        assert np.array_equal(select(found, rule), least <= MASS)
    assert least_mass(found, Rule("all")) is None
    assert least_mass(found, Rule("sliding-window")) is None


def test_lung_slices_of_two_tubes_in_a_body() -> None:
    hu = np.full((20, 64, 64), -1000, np.int16)
    hu[:, 8:56, 4:60] = 40
    hu[4:16, 16:48, 10:28] = -850
    hu[4:16, 16:48, 36:54] = -850
    hu[18:, 28:32, 30:34] = -900
    found = lung_slices(hu, Grid(hu.shape, (2.0, 2.0, 2.0), (0.0, 0.0, 0.0)))
    assert np.flatnonzero(found).tolist() == list(range(4, 16))
