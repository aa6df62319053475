"""Copies of a slice or scan look alike after what files go through; other patients do not."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lungct.audit.appearance import coarse_of, fine_likeness, planes_of
from lungct.audit.duplicates import COARSE_LIMIT, FINE_LIMIT
from lungct.types import Volume

Plane = NDArray[Any]


def jpeg(hu: Plane) -> Plane:
    stream = io.BytesIO()
    Image.fromarray(((hu.clip(-1000, 400) + 1000.0) * 255 / 1400).astype(np.uint8)).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(stream)) * (1400 / 255) - 1000


def shifted(hu: Plane) -> Plane:
    padded = np.pad(hu, 3, constant_values=-1000)
    return padded[5:-1, 1:-5]


CHANGES: dict[str, Callable[[Plane], Plane]] = {
    "noise": lambda hu: hu + np.random.default_rng(0).normal(0, 30, hu.shape),
    "shift": shifted,
    "jpeg": jpeg,
    "larger matrix": lambda hu: np.asarray(Image.fromarray(hu.astype(np.float32)).resize((200, 200))),
    "slope and offset": lambda hu: hu * 0.9 - 50,
    "window": lambda hu: hu.clip(-1350, 150),
    "wider field": lambda hu: np.pad(hu, ((5, 9), (12, 3)), constant_values=-1000),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_slice_is_a_copy(change: str, chests: tuple[Volume, ...]) -> None:
    for volume in chests:
        hu = volume.hu[60]
        one, other = planes_of(hu[None]), planes_of(CHANGES[change](hu.astype(np.float64))[None])
        assert coarse_of(one) @ coarse_of(other) >= COARSE_LIMIT
        assert fine_likeness(one, other) >= FINE_LIMIT


def test_a_changed_scan_is_a_copy(chests: tuple[Volume, ...]) -> None:
    hu = chests[0].hu
    noise = np.random.default_rng(0).normal(0, 30, hu.shape)
    for changed in (hu + noise, hu[::2], hu[:, ::-1][:, ::-1].clip(-1000, 500), hu[2:]):
        one, other = planes_of(hu), planes_of(changed)
        assert coarse_of(one) @ coarse_of(other) >= COARSE_LIMIT
        assert fine_likeness(one, other) >= FINE_LIMIT


def test_other_patients_are_no_copies(chests: tuple[Volume, ...]) -> None:
    for z in range(30, 100, 10):
        one, other = (planes_of(volume.hu[z : z + 1]) for volume in chests[:2])
        assert fine_likeness(one, other) < FINE_LIMIT
    assert fine_likeness(planes_of(chests[0].hu), planes_of(chests[1].hu)) < FINE_LIMIT


def test_far_slices_of_one_scan_are_no_copies(chests: tuple[Volume, ...]) -> None:
    hu = chests[0].hu
    assert fine_likeness(planes_of(hu[60:61]), planes_of(hu[66:67])) < FINE_LIMIT


def test_coarse_view_is_of_mean_0_and_length_1(chests: tuple[Volume, ...]) -> None:
    for hu, planes in ((chests[0].hu, 8), (chests[0].hu[60:61], 1), (chests[0].hu[:3], 8)):
        view = coarse_of(planes_of(hu))
        assert view.shape == (planes * 32 * 32,)
        assert abs(view.mean()) < 1e-6
        assert np.linalg.norm(view) == pytest.approx(1, abs=1e-5)
    assert not coarse_of(planes_of(np.zeros((1, 50, 60)))).any()
