"""Where in an image a crop was cut out, exactly."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.types import IntArray

ASKED_FIRST = 64


def locate(crop: NDArray[Any], image: NDArray[Any], most: int = 2) -> IntArray:
    """(N, 2) rows and columns of the first pixel of the places, ``most`` at the most, where a (Y, X) image equals the
    (y, x) crop up to one constant that all its values are off by.

    The pixels of the crop that differ most from its first one are asked first, since they leave the fewest places;
    what is left is compared as a whole.
    """
    rows, columns = (big - small + 1 for big, small in zip(image.shape, crop.shape, strict=True))
    if min(rows, columns) < 1:
        return np.empty((0, 2), dtype=np.intp)
    image, crop = (one.astype(np.float64) for one in (image, crop))
    wanted = crop - crop[0, 0]
    order = np.argsort(-np.abs(wanted), axis=None, kind="stable")[:ASKED_FIRST]
    y, x = (grid.ravel() for grid in np.mgrid[:rows, :columns])
    for down, right in zip(*np.unravel_index(order, crop.shape), strict=True):
        same = image[y + down, x + right] - image[y, x] == wanted[down, right]
        y, x = y[same], x[same]
    height, width = crop.shape
    found = (
        (top, left)
        for top, left in zip(y.tolist(), x.tolist(), strict=True)
        if np.array_equal(image[top : top + height, left : left + width] - image[top, left], wanted)
    )
    return np.array(list(islice(found, most)), dtype=np.intp).reshape(-1, 2)
