"""Every method of the registry through one test, and how maps are finished and flagged."""

from __future__ import annotations

import numpy as np
import pytest

from lungct import registry
from lungct.explain.base import Explanation, MethodOptions, Subject, finish, load_method, normalised, stacked
from lungct.explain.geometry import Geometry

FLAT = Geometry((4, 5), (4, 5), (4, 5), (4, 5))


@pytest.mark.parametrize("name", registry.METHODS)
def test_every_method_gives_one_map_per_detection(name: str, subject: Subject) -> None:
    explanation = load_method(name)(subject, MethodOptions(samples=2, masks=50))
    maps, flags = finish(explanation, subject.geometry)
    assert maps.shape == (2, *subject.geometry.slice_yx)
    assert maps.dtype == np.float16
    assert len(flags) == len(explanation.raw) == len(explanation.layers) == 2
    for one, flag in zip(maps, flags, strict=True):
        assert one.min() >= 0
        assert one.max() <= 1
        assert bool(flag) == (one.max() == 0)


@pytest.mark.parametrize(
    ("value", "flag"), [(0.0, "zero"), (3.0, "constant"), (float("nan"), "nan"), (float("inf"), "nan")]
)
def test_maps_that_mean_nothing_are_flagged_and_zero(value: float, flag: str) -> None:
    values, found = normalised(np.full((4, 5), value, np.float32))
    assert found == flag
    assert not values.any()


def test_rectified_maps_lose_what_speaks_against() -> None:
    raw = [np.array([[-2.0, 0.0, 1.0, 2.0, -1.0]] * 4, np.float32)]
    cut, _ = finish(Explanation(raw, ["x"], on_slice=True, rectify=True), FLAT)
    kept, _ = finish(Explanation(raw, ["x"], on_slice=True), FLAT)
    assert cut[0, 0].tolist() == [0, 0, 0.5, 1, 0]
    assert kept[0, 0].tolist() == [0, 0.5, 0.75, 1, 0.25]


def test_all_negative_evidence_is_a_zero_map() -> None:
    raw = [np.full((4, 5), -1.0, np.float32)]
    assert finish(Explanation(raw, ["x"], on_slice=True, rectify=True), FLAT)[1] == ("zero",)


def test_raw_maps_of_two_levels_are_stacked_with_nan() -> None:
    together = stacked([np.ones((2, 3), np.float32), np.zeros((4, 5), np.float32)])
    assert together.shape == (2, 4, 5)
    assert np.isnan(together[0]).sum() == 20 - 6
    assert np.isfinite(together[1]).all()
    assert stacked([]).shape == (0, 0, 0)
