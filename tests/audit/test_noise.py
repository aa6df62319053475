"""The noise filter counts what was published, with the kernel that it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lungct.audit.noise import above_percentile, judge_all, measure
from lungct.types import Grid, Volume

PUBLISHED = {99: 24, 98: 48, 97: 71, 96: 95, 95: 119, 94: 142, 93: 166, 92: 189, 91: 213, 90: 237}
"""Percentile -> noisy nodule slices of 2,363."""


@pytest.mark.parametrize("percentile", PUBLISHED)
def test_as_many_as_published(percentile: int) -> None:
    values = np.random.default_rng(0).permutation(2363).tolist()
    noisy, _ = above_percentile(values, percentile)
    assert sum(noisy) == PUBLISHED[percentile]
    assert {value for value, found in zip(values, noisy, strict=True) if found} == set(
        range(2363 - PUBLISHED[percentile], 2363)
    )


def test_it_is_the_variance_of_the_four_neighbour_laplacian() -> None:
    hu = np.random.default_rng(0).normal(-300, 400, (3, 30, 40))
    volume = Volume(hu, Grid((3, 30, 40), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    scaled = (hu.clip(-1000, 400) + 1000) / 1400
    expected = np.mean([ndimage.laplace(plane, mode="mirror").var() for plane in scaled])
    assert measure(volume)["laplacian_variance"] == pytest.approx(expected, rel=1e-4)


def test_the_noisiest_are_flagged_and_of_few_none() -> None:
    facts = {f"i{n}": {"laplacian_variance": float(n)} for n in range(50)}
    assert [one.case for one in judge_all(facts, 98)] == ["i49"]
    assert [one.case for one in judge_all(facts, 90)] == ["i45", "i46", "i47", "i48", "i49"]
    assert list(judge_all(facts, 100)) == []
    del facts["i3"]
    assert list(judge_all(facts, 98)) == []
    equal = {name: {"laplacian_variance": 1.0} for name in facts}
    assert list(judge_all(equal, 90)) == []
