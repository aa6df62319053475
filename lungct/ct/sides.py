"""Which lung is the right one: two lungs told apart in a mask, also where they touch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungct.ct.morphology import worn
from lungct.ct.pieces import box_of, sizes_of
from lungct.types import BoolArray, IntArray, Triple

RIGHT, LEFT = 1, 2
LEAST_SHARE = 0.15
LEAST_APART_MM = 50.0
DEEPEST_CUT_MM = 12.0
THIN_MM = 2.8
BONE_HU, SPINE_MM = 150, 25.0


def tell_sides(lungs: BoolArray, spine_x: int, spacing_mm_zyx: Triple) -> NDArray[np.uint8]:
    """(Z, Y, X) uint8, 1 where ``lungs`` is the patient's right lung and 2 where it is the left, LPS-canonical order.

    The mask is worn down until its two largest pieces lie 5 cm apart across the body and each has 15 % of what is left;
    these grow back, and every voxel that they do not reach goes to the side of the middle between them on which it
    lies. Where wearing down by 12 mm parts nothing the spine does; with less than 15 % on its one side there is one
    lung.
    """
    labels = np.zeros(lungs.shape, np.uint8)
    where = box_of(lungs)
    if where is None:
        return labels
    mask, step_mm = lungs[where], spacing_mm_zyx[2]
    core = mask
    for cuts in range(1 + round(DEEPEST_CUT_MM / step_mm)):
        if cuts:
            core = worn(core)
        seeds = _two_seeds(core, step_mm)
        if seeds is not None:
            labels[where] = _grown(*seeds, mask, cuts)
            return labels
    right = np.broadcast_to(np.arange(lungs.shape[2]) < spine_x, lungs.shape)
    share = float(right[lungs].mean())
    if LEAST_SHARE <= share <= 1 - LEAST_SHARE:
        labels[lungs] = np.where(right[lungs], RIGHT, LEFT)
    else:
        labels[lungs] = RIGHT if share > 0.5 else LEFT
    return labels


def tell_sides_thinly(lungs: BoolArray, hu: NDArray[Any], spacing_mm_zyx: Triple) -> NDArray[np.uint8]:
    """The same labels, told on every n-th pixel of a slice, about ``THIN_MM`` apart, where that is enough."""
    z_mm, y_mm, x_mm = spacing_mm_zyx
    step_y, step_x = (max(1, round(THIN_MM / mm)) for mm in (y_mm, x_mm))
    thin = tell_sides(
        lungs[:, ::step_y, ::step_x], spine_x(hu, spacing_mm_zyx) // step_x, (z_mm, y_mm * step_y, x_mm * step_x)
    )
    grown = np.where(thin > 0, thin, ndimage.maximum_filter(thin, 3))
    full = grown.repeat(step_y, axis=1).repeat(step_x, axis=2)[:, : lungs.shape[1], : lungs.shape[2]]
    return np.where(lungs, full, 0).astype(np.uint8)


def spine_x(hu: NDArray[Any], spacing_mm_zyx: Triple) -> int:
    """The index along x where most bone lies over bone: ribs slope across the slices, the spine stands."""
    bone = (hu > BONE_HU).mean(axis=0)
    size = [max(1, round(SPINE_MM / step)) for step in spacing_mm_zyx[1:]]
    return int(np.argmax(ndimage.uniform_filter(bone, size, mode="constant")) % bone.shape[1])


def _two_seeds(core: BoolArray, step_mm: float) -> tuple[NDArray[np.uint8], float] | None:
    """Labels of two pieces that can be the two lungs, and the x between them; None where there are none such."""
    pieces, count = ndimage.label(core)
    if count < 2:
        return None
    sizes = sizes_of(pieces, count)
    two = np.argsort(sizes)[-2:]
    if sizes[two].min() < LEAST_SHARE * sizes.sum():
        return None
    centers = np.array([center[2] for center in ndimage.center_of_mass(core, pieces, two)])
    if abs(centers[1] - centers[0]) * step_mm < LEAST_APART_MM:
        return None
    number = np.zeros(count + 1, np.uint8)
    number[two[np.argsort(centers)]] = RIGHT, LEFT
    return number[pieces], float(centers.mean())


def _grown(seeds: NDArray[np.uint8], middle_x: float, mask: BoolArray, steps: int) -> IntArray:
    for _ in range(steps + 1 if steps else 0):
        seeds = np.where((seeds == 0) & mask, ndimage.maximum_filter(seeds, 3), seeds)
    beyond = np.where(np.arange(mask.shape[2]) < middle_x, RIGHT, LEFT).astype(np.uint8)
    return np.where((seeds == 0) & mask, beyond, seeds)
