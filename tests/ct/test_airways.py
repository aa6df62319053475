"""Tubes that go down from slice to slice are airways; tips of the lung and what is wide are not."""

from __future__ import annotations

import numpy as np

from lungct.ct.airways import large_airways

SPACING = (2.5, 2.8, 2.8)


def lung_and_trachea() -> tuple[np.ndarray, np.ndarray]:
    """A lung from slice 0 to 29, a trachea from 10 to 39 that splits in two at 20."""
    lung, trachea = np.zeros((40, 60, 80), bool), np.zeros((40, 60, 80), bool)
    lung[:30, 10:50, 5:35] = True
    trachea[20:, 28:34, 50:56] = True
    trachea[10:20, 28:33, 44:49] = True
    trachea[10:20, 28:33, 57:62] = True
    trachea[19, 28:33, 44:62] = True
    return lung, trachea


def test_tube_is_found_with_its_branches() -> None:
    lung, trachea = lung_and_trachea()
    np.testing.assert_array_equal(large_airways(lung | trachea, SPACING), trachea)


def test_hole_in_the_wall_ends_no_tube() -> None:
    lung, trachea = lung_and_trachea()
    holed = lung | trachea
    holed[24, 30, 35:50] = True
    found = large_airways(holed, SPACING)
    assert found[trachea].mean() > 0.8
    assert found[10:19].sum() > 0.7 * trachea[10:19].sum()
    assert not found[lung].any()


def test_tube_too_thin_to_be_worn_down_is_found() -> None:
    air = np.zeros((40, 60, 80), bool)
    air[:, 30:32, 40:42] = True
    np.testing.assert_array_equal(large_airways(air, SPACING), air)


def test_tip_of_the_lung_stays() -> None:
    air = np.zeros((40, 60, 80), bool)
    air[:28, 10:50, 5:35] = True
    air[28:34, 20:28, 20:28] = True
    assert not large_airways(air, SPACING).any()


def test_low_recess_stays_though_it_is_narrow() -> None:
    air = np.zeros((40, 60, 80), bool)
    air[25:, 10:50, 5:35] = True
    air[:25, 45:50, 20:26] = True
    assert not large_airways(air, SPACING).any()


def test_long_flat_air_is_no_tube() -> None:
    air = np.zeros((40, 60, 80), bool)
    air[:, 30, 10:60] = True
    assert not large_airways(air, SPACING).any()
