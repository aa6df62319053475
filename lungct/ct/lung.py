"""A cheap lung estimate by threshold on a coarse grid: good enough to tell which slices show lung."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungct.ct.pieces import box_of
from lungct.types import BoolArray, FloatArray, Grid

AIR_HU = -400
COARSE_STEP_ZYX = (2, 4, 4)
LEAST_SHARE_OF_LARGEST = 0.1
LEAST_AREA_MM2 = 500.0
LEAST_SHARE_OF_WIDEST = 0.1
CLOSING_REACH = 4


def coarse_lungs(hu: NDArray[Any]) -> BoolArray:
    """(Z/2, Y/4, X/4) mask of the air inside the body, vessels closed, from (Z, Y, X) HU in LPS-canonical order.

    Air that reaches an image border within its own slice is outside; of the rest, pieces of at least a tenth of the
    largest are kept, which leaves out most gas of the bowel.
    """
    air = hu[tuple(slice(None, None, step) for step in COARSE_STEP_ZYX)] < AIR_HU
    in_slice = np.zeros((3, 3, 3), dtype=bool)
    in_slice[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(air, in_slice)
    outside = np.zeros(count + 1, dtype=bool)
    for border in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        outside[np.unique(border)] = True
    inside = air & ~outside[labels]
    pieces, count = ndimage.label(inside)
    if count == 0:
        return np.zeros_like(air)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept: BoolArray = (sizes >= LEAST_SHARE_OF_LARGEST * sizes.max())[pieces] & inside
    _close(kept)
    return kept


def _close(lungs: BoolArray) -> None:
    """Close a mask by a disc of two pixels, in place; only where it is."""
    box = box_of(lungs)
    if box is not None:
        around = lungs[box[0], *(slice(max(one.start - CLOSING_REACH, 0), one.stop + CLOSING_REACH) for one in box[1:])]
        disc = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 2)
        around |= ndimage.binary_closing(around, disc[np.newaxis])


def lung_area_mm2(hu: NDArray[Any], grid: Grid) -> FloatArray:
    """(Z,) estimated lung area of every slice, mm^2."""
    step_z, step_y, step_x = COARSE_STEP_ZYX
    pixel_mm2 = grid.spacing_mm_zyx[1] * step_y * grid.spacing_mm_zyx[2] * step_x
    area = coarse_lungs(hu).sum(axis=(1, 2)) * pixel_mm2
    return np.repeat(area, step_z)[: len(hu)]


def lung_slices(hu: NDArray[Any], grid: Grid) -> BoolArray:
    """(Z,) whether a slice shows enough lung: 5 cm^2, and a tenth of what the widest slice shows."""
    area = lung_area_mm2(hu, grid)
    least = max(LEAST_AREA_MM2, LEAST_SHARE_OF_WIDEST * float(area.max()))
    return np.asarray(area >= least, dtype=bool)
