"""CLAHE, bilateral filter and resizing agree with OpenCV's; what is written is HU of the window."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.ct.clahe import clahe
from lungct.ct.enhance import Enhancement, bilateral, enhance
from lungct.ct.resample import resized
from lungct.registry import ENHANCEMENTS, HU_WINDOWS

WINDOW = (-1000, 500)


def slice_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blobs of HU with noise: lung, tissue, bone, and values beyond every window."""
    rng = np.random.default_rng(seed)
    small = rng.choice([-1100, -880, -820, 20, 60, 900], size=(height // 7 + 2, width // 9 + 2))
    hu = np.kron(small, np.ones((7, 9)))[:height, :width] + rng.normal(0, 25, (height, width))
    return hu.astype(np.int16)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([1.0, 2.5, 40.0]),
    st.sampled_from([1, 2, 8]),
    st.integers(0),
)
def test_clahe_is_opencvs_but_for_its_rounding(height: int, width: int, clip: float, tiles: int, seed: int) -> None:
    gray = np.random.default_rng(seed).integers(0, 200, (height, width)).astype(np.uint8)
    theirs = cv2.createCLAHE(clip, (tiles, tiles)).apply(gray)
    ours = clahe(gray, np.arange(256.0), clip, tiles)
    assert np.abs(ours - theirs).max() <= 1.0


def test_clahe_of_a_slice_is_opencvs_without_bias() -> None:
    gray = np.clip((slice_of(203, 250).astype(float) + 1000) / 1500 * 255, 0, 255).astype(np.uint8)
    difference = clahe(gray, np.arange(256.0), 2.5, 8) - cv2.createCLAHE(2.5, (8, 8)).apply(gray)
    assert np.abs(difference).max() <= 1.0
    assert abs(difference.mean()) < 0.05


def test_clahe_of_levels_between_grays_lies_between() -> None:
    levels = slice_of(64, 64) % 511
    gray_of_level = np.linspace(0, 255, 511)  # every other level is a whole gray
    ours = clahe(levels, gray_of_level, 2.5, 4)
    for tile in (np.s_[:8, :8], np.s_[56:, 56:]):  # where one tile alone decides
        new_gray = dict(zip(levels[tile].ravel().tolist(), ours[tile].ravel().tolist(), strict=True))
        values = [new_gray[level] for level in sorted(new_gray)]
        assert len(values) > 20
        assert np.all(np.diff(values) >= 0)


@pytest.mark.parametrize(("sigma_hu", "sigma_px"), [(100.0, 1.5), (30.0, 1.0), (400.0, 2.0)])
def test_bilateral_is_opencvs(sigma_hu: float, sigma_px: float) -> None:
    plane = slice_of(61, 83).astype(np.float32)
    reach = int(np.ceil(2 * sigma_px))
    theirs = cv2.bilateralFilter(plane, 2 * reach + 1, sigma_hu, sigma_px)
    assert np.abs(bilateral(plane, sigma_hu, sigma_px) - theirs).max() < 0.05


@pytest.mark.parametrize("size_xy", [(64, 64), (40, 90), (83, 61), (17, 5), (200, 150)])
def test_resizing_is_opencvs(size_xy: tuple[int, int]) -> None:
    hu = slice_of(61, 83)
    theirs = cv2.resize(hu.astype(np.float32), size_xy, interpolation=cv2.INTER_LINEAR)
    ours = resized(hu, size_xy)
    assert ours.dtype == np.int16
    assert ours.shape == (size_xy[1], size_xy[0])
    assert np.abs(ours - theirs).max() <= 0.51


def test_gamma_is_the_power_of_the_windowed_gray() -> None:
    hu = np.array([[-2000, -1000, -250, 499, 500, 3000]], np.int16)
    found = enhance(hu, WINDOW, Enhancement(gamma=2.0))
    assert found.dtype == np.int16
    assert found.tolist() == [[-1000, -1000, -625, 498, 500, 500]]


def test_nothing_asked_only_clips() -> None:
    hu = slice_of(40, 50)
    assert Enhancement().does_nothing
    np.testing.assert_array_equal(enhance(hu, WINDOW, Enhancement()), np.clip(hu, *WINDOW))


@pytest.mark.parametrize("window", HU_WINDOWS.values())
@pytest.mark.parametrize("preset", ENHANCEMENTS)
def test_presets_stay_in_the_window_and_change_slices(preset: str, window: tuple[int, int]) -> None:
    hu = slice_of(90, 100)
    found = enhance(hu, window, Enhancement.of(preset))
    assert found.dtype == np.int16
    assert window[0] <= found.min()
    assert found.max() <= window[1]
    assert (found != np.clip(hu, *window)).mean() > 0.2


def test_steps_follow_one_another_unrounded() -> None:
    hu, how = slice_of(90, 100), Enhancement(gamma=1.35, clahe=2.5, bilateral_hu=80.0)
    low, span = WINDOW[0], WINDOW[1] - WINDOW[0]
    gray = (np.arange(span + 1) / span) ** 1.35
    plane = clahe(np.clip(hu.astype(int), *WINDOW) - low, gray * 255, 2.5, 8) / 255 * span + low
    expected = bilateral(plane.astype(np.float32), 80.0, 1.5)
    assert np.abs(enhance(hu, WINDOW, how) - expected).max() <= 0.51


def test_numbers_go_before_those_of_a_preset() -> None:
    assert Enhancement.of("gamma-clahe", gamma=None, clahe=4.0) == Enhancement(gamma=1.35, clahe=4.0)
    assert Enhancement.of(None, bilateral_hu=50.0) == Enhancement(bilateral_hu=50.0)


@pytest.mark.parametrize("preset", ENHANCEMENTS)
def test_a_slice_of_one_value_is_flat_afterwards(preset: str) -> None:
    found = enhance(np.full((40, 40), -700, np.int16), WINDOW, Enhancement.of(preset))
    assert np.ptp(found) <= 1
