"""Connected pieces of a mask: in space, or each slice for itself."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lungct.types import BoolArray, IntArray

IN_SLICE = ndimage.generate_binary_structure(2, 1)[np.newaxis] & np.array([[[False]], [[True]], [[False]]])
"""(3, 3, 3) a voxel and its neighbours by edges within its slice."""


def box_of(mask: BoolArray) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds a (Z, Y, X) mask, None where it is empty."""
    return next(iter(ndimage.find_objects(mask.view(np.uint8))), None)


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


def largest_in_slices(mask: BoolArray, count: int) -> BoolArray:
    """In each slice the ``count`` largest pieces among those that do not touch the slice's border."""
    pieces, total = label_in_slices(mask)
    sizes = sizes_of(pieces, total)
    for border in (pieces[:, 0], pieces[:, -1], pieces[:, :, 0], pieces[:, :, -1]):
        sizes[border] = 0
    keep = np.zeros(total + 1, dtype=bool)
    for plane in pieces:
        here = np.unique(plane)
        here = here[sizes[here] > 0]
        keep[here[np.argsort(-sizes[here], kind="stable")[:count]]] = True
    return np.asarray(keep[pieces])
