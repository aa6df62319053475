"""Growing and wearing down are those of scipy, at the border of the array too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from lungct.ct.morphology import grown, worn

MASKS = arrays(bool, st.tuples(*[st.integers(1, 5)] * 3))


@pytest.mark.parametrize("corners", [False, True])
@settings(max_examples=40, deadline=None)
@given(mask=MASKS, axes=st.lists(st.sampled_from([0, 1, 2]), min_size=1, unique=True))
def test_they_are_those_of_scipy(corners: bool, mask: np.ndarray, axes: list[int]) -> None:
    before = mask.copy()
    structure = ndimage.generate_binary_structure(3, 3 if corners else 1)
    for axis in {0, 1, 2}.difference(axes):
        structure &= np.expand_dims([False, True, False], [one for one in range(3) if one != axis])
    assert (grown(mask, axes, corners=corners) == ndimage.binary_dilation(mask, structure)).all()
    for outside in (False, True):
        expected = ndimage.binary_erosion(mask, structure, border_value=outside)
        assert (worn(mask, axes, corners=corners, outside=outside) == expected).all()
    assert (mask == before).all()
