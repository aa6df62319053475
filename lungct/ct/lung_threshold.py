"""Lungs slice by slice by a threshold, the largest pieces, and a rule that leaves out the table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.ct.morphology import IN_SLICE_AXES, grown
from lungct.ct.pieces import filled_in_slices, label_in_slices, largest_in_slices
from lungct.ct.sides import tell_sides_thinly
from lungct.types import BoolArray, Triple

STEP_MM_ZYX = (2.5, 1.4, 1.4)
EDGE_HU = None
AIR_HU = -300
PIECES = 3
HIGHEST_ROW, LOWEST_ROW = 0.3, 0.6
GROWN_MM = 3 * 0.703125


def segment(hu: NDArray[Any], spacing_mm_zyx: Triple) -> NDArray[np.uint8]:
    """(Z, Y, X) labels, 1 right and 2 left lung of the patient, from LPS-canonical HU of about ``STEP_MM_ZYX``.

    In every slice: what is below -300 HU and does not touch the border, its 3 largest pieces, their holes filled,
    without pieces whose centroid lies in the upper 30 % or the lower 40 % of the image's rows; grown by 2.1 mm. The
    rows make the rule depend on where the patient lies in the image, and a lung that touches the border is lost.

    Source: the optional morphological mask of a 2.5D nodule detector on NLST and DLCS24; there 3 dilations of
    0.703 mm pixels.
    """
    mask = filled_in_slices(largest_in_slices(hu < AIR_HU, PIECES))
    mask = _without_table(mask)
    for _ in range(round(GROWN_MM / spacing_mm_zyx[1])):
        mask = grown(mask, IN_SLICE_AXES)
    return tell_sides_thinly(mask, hu, spacing_mm_zyx)


def _without_table(mask: BoolArray) -> BoolArray:
    pieces, count = label_in_slices(mask)
    sizes = np.maximum(np.bincount(pieces.ravel(), minlength=count + 1), 1)
    rows = np.broadcast_to(np.arange(mask.shape[1])[:, None], mask.shape)
    centroid = np.bincount(pieces.ravel(), weights=rows.ravel(), minlength=count + 1) / sizes / mask.shape[1]
    keep = (centroid >= HIGHEST_ROW) & (centroid <= LOWEST_ROW)
    keep[0] = False
    return np.asarray(keep[pieces])
