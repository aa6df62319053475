"""Lungs slice by slice by a watershed between markers in and around their air."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungct.ct.morphology import IN_SLICE_AXES, grown, worn
from lungct.ct.pieces import IN_SLICE, filled_in_slices, largest_in_slices
from lungct.ct.sides import tell_sides_thinly
from lungct.types import BoolArray, Triple

STEP_MM_ZYX = (2.5, 1.4, 1.4)
EDGE_HU = None
AIR_HU = -400
PIECES = 2
AROUND_MM = 7.0
CLOSING_MM = 8.0
INSIDE, OUTSIDE = 1, 2


def segment(hu: NDArray[Any], spacing_mm_zyx: Triple) -> NDArray[np.uint8]:
    """(Z, Y, X) labels, 1 right and 2 left lung of the patient, from LPS-canonical HU of about ``STEP_MM_ZYX``.

    In every slice the inner marker is the 2 largest pieces below -400 HU that do not touch the border, worn down by a
    pixel; the outer one is what lies more than 7 mm away from them. Both are flooded until they meet where HU jumps
    most; a closing of 8 mm in the slice stands for the rolling ball. Gas of the bowel and the trachea count as lung
    where they are among the 2, and a lung that touches the border is lost.

    Source: Shojaii, Alirezaie and Babyn 2005 (markers, watershed, rolling ball); the flooding is the image foresting
    transform of Falcao, Stolfi and Lotufo 2004, whose paths cost their largest step in HU.
    """
    air = largest_in_slices(hu < AIR_HU, PIECES)
    markers = np.zeros(hu.shape, np.int8)
    markers[worn(air, IN_SLICE_AXES)] = INSIDE
    markers[~_repeated(grown, air, AROUND_MM, spacing_mm_zyx)] = OUTSIDE
    relief = (np.clip(hu, -1100, 3000) + 1100).astype(np.uint16)
    mask = ndimage.watershed_ift(relief, markers, structure=IN_SLICE) == INSIDE
    mask |= _repeated(worn, _repeated(grown, mask, CLOSING_MM, spacing_mm_zyx), CLOSING_MM, spacing_mm_zyx)
    return tell_sides_thinly(filled_in_slices(mask), hu, spacing_mm_zyx)


def _repeated(change: Callable[..., BoolArray], mask: BoolArray, by_mm: float, spacing_mm_zyx: Triple) -> BoolArray:
    for _ in range(max(1, round(by_mm / spacing_mm_zyx[1]))):
        mask = change(mask, IN_SLICE_AXES)
    return mask
