"""Where the lungs are in one slice that stands alone, without its scan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungct.ct.pieces import filled_in_slices, largest_in_slices
from lungct.types import BoolArray

AIR_HU = -400
PIECES = 2
LEAST_SHARE = 0.01
"""Of the slice; a smaller piece is an airway or bowel."""


def lungs_of_slice(hu: NDArray[Any]) -> BoolArray:
    """(Y, X) the two largest pieces below -400 HU that do not touch the border, with what they enclose.

    Nodules and vessels inside are part of them, those at the wall are not. A slice whose lungs touch its border, as a
    narrow field of view makes it, has none.

    Args:
        hu: (Y, X) HU of an axial slice.
    """
    found = largest_in_slices((hu < AIR_HU)[np.newaxis], PIECES)[0]
    pieces, count = ndimage.label(found)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    large = sizes >= LEAST_SHARE * hu.size
    large[0] = False
    return np.asarray(filled_in_slices(large[pieces][np.newaxis])[0])
