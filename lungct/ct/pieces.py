"""Connected pieces of a mask: in space, or each slice for itself."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lungct.types import BoolArray, IntArray

IN_SLICE = ndimage.generate_binary_structure(2, 1)[np.newaxis] & np.array([[[False]], [[True]], [[False]]])
"""(3, 3, 3) a voxel and its neighbours by edges within its slice."""


def label_in_slices(mask: BoolArray) -> tuple[IntArray, int]:
    """(Z, Y, X) piece numbers from 1, pixels of a slice joined by edges, no number twice; and how many."""
    pieces, count = ndimage.label(mask, IN_SLICE)
    return pieces, int(count)


def sizes_of(pieces: IntArray, count: int) -> IntArray:
    """(count + 1,) voxels of each piece, 0 for what is none."""
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    return sizes


def without_crumbs(mask: BoolArray, least_share: float) -> BoolArray:
    """The pieces, joined by faces, that have at least ``least_share`` of the largest one's voxels."""
    pieces, count = ndimage.label(mask)
    sizes = sizes_of(pieces, count)
    return np.asarray((sizes >= max(least_share * sizes.max(), 1))[pieces])


def filled_in_slices(mask: BoolArray) -> BoolArray:
    """The mask and what it encloses within a slice."""
    outside, count = label_in_slices(np.pad(~mask, ((0, 0), (1, 1), (1, 1)), constant_values=True))
    open_ = np.zeros(count + 1, dtype=bool)
    open_[outside[:, 0, 0]] = True
    return np.asarray(~open_[outside[:, 1:-1, 1:-1]] | mask)
