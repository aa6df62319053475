"""A crop is found where it was cut out, nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.ct.locate import locate

IMAGE = np.random.default_rng(1).integers(-1000, 400, (90, 120)).astype(np.int16)


@settings(max_examples=25, deadline=None)
@given(
    top=st.integers(0, 80),
    left=st.integers(0, 110),
    size=st.tuples(st.integers(2, 30), st.integers(2, 30)),
    offset=st.sampled_from([0, 1024, -7]),
)
def test_found_up_to_a_constant(top: int, left: int, size: tuple[int, int], offset: int) -> None:
    crop = IMAGE[top : top + size[0], left : left + size[1]].astype(np.int32) + offset
    assert [top, left] in locate(crop, IMAGE).tolist()
    if crop.size >= 4:
        assert len(locate(crop, IMAGE)) == 1


def test_changed_crop_is_found_nowhere() -> None:
    crop = IMAGE[10:20, 10:25].copy()
    crop[-1, -1] += 1
    assert locate(crop, IMAGE).shape == (0, 2)


def test_larger_than_the_image_is_found_nowhere() -> None:
    assert locate(np.zeros((91, 4)), IMAGE).shape == (0, 2)


@pytest.mark.parametrize("value", [-1000, 0])
def test_crop_of_one_value_is_found_wherever_that_holds(value: int) -> None:
    image = np.full((40, 50), -1000, np.int16)
    image[20, 20] = 5
    assert len(locate(np.full((30, 40), value), image)) == 0
    assert len(locate(np.full((10, 20), value), image, most=1000)) == 31 * 31 - 10 * 20
    assert locate(np.full((10, 20), value), image).tolist() == [[0, 0], [0, 1]]
