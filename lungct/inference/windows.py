"""Where the lungs, or the body, are in the slices of a scan: what lies around them need not be searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungct.ct.resample import place_on
from lungct.ct.sides import LEFT, RIGHT
from lungct.types import BoolArray, Detections, FloatArray, Grid, Volume

Window: TypeAlias = tuple[slice, slice]
"""Rows and columns."""

BODY_HU = -500
LOOK_MM = 3.0
LEAST_CM2 = 20.0
MARGIN_MM = 10.0
"""Round the body and the lungs, and how far above and below a lung slices are searched."""
STEP_PX = 32
"""Windows begin and end at multiples of it, so that neighbours mostly share their size and a pass of the network."""
LEAST_LUNG_ML = 100.0
LEAST_SHARE_OF_OTHER = 0.2
ALONG_MM = 25.0
"""How far above and below the lungs widen a slice's window."""
SCANTY_SHARE = 0.1
"""Of a lung's largest section; with less it ends here, or is solid."""


def lung_windows(lungs: Volume, grid: Grid) -> Mapping[int, Window] | None:
    """Of each slice of ``grid`` with lung at most 10 mm above or below, by its z, the window that holds the lungs.

    That is the box of both lungs in the slices up to 25 mm above and below, and 10 mm around it. Of a lung that has
    next to nothing in the slices within 10 mm, less than a tenth of its largest section, it is the box over the whole
    scan, for a lobe may be solid there, and no mask of air shows it. None where the mask is not to be trusted with
    that: a lung of it has less than 100 ml or a fifth of the other.

    Args:
        lungs: labels, 1 the patient's right lung and 2 the left, on a grid of the same directions, as
            :func:`lungct.ct.lung_mask.lungs_of_planes` gives them.
    """
    each = [np.equal(lungs.hu, side) for side in (RIGHT, LEFT)]
    areas = [one.sum(axis=(1, 2)) for one in each]
    sizes_ml = [one.sum() * float(np.prod(lungs.grid.spacing_mm_zyx)) / 1000 for one in areas]
    if min(sizes_ml) < max(LEAST_LUNG_ML, LEAST_SHARE_OF_OTHER * max(sizes_ml)):
        return None
    seen = {axis: [one.any(axis=3 - axis) for one in each] for axis in (1, 2)}
    edges = {axis: _edges_px(lungs.grid, grid, axis) for axis in (1, 2)}
    windows = {}
    for z, height in enumerate(place_on(lungs.grid, grid, 0).tolist()):
        close, wide = (_around(height, reach / lungs.grid.spacing_mm_zyx[0]) for reach in (MARGIN_MM, ALONG_MM))
        sections = [one[close].max(initial=0) for one in areas]
        if not any(sections):
            continue
        scanty = [one < SCANTY_SHARE * whole.max() for one, whole in zip(sections, areas, strict=True)]
        parts = [slice(None) if one else wide for one in scanty]
        y, x = (
            _window(*_ends(seen[axis], parts, edges[axis]), grid.shape_zyx[axis], grid.spacing_mm_zyx[axis])
            for axis in (1, 2)
        )
        windows[z] = y, x
    return windows


def _around(height: float, reach: float) -> slice:
    """The slices whose slabs lie within reach of a height, all in slices."""
    return slice(max(int(np.ceil(height - reach - 0.5)), 0), max(int(np.floor(height + reach + 0.5)) + 1, 0))


def _edges_px(coarse: Grid, grid: Grid, axis: int) -> FloatArray:
    """(n + 1,) edges of a coarse grid's voxels along an axis, in edges of ``grid``: voxel i is from i to i + 1."""
    step = coarse.spacing_mm_zyx[axis] / grid.spacing_mm_zyx[axis]
    first = float(place_on(grid, coarse, axis)[0]) + 0.5 - step / 2
    return np.asarray(first + step * np.arange(coarse.shape_zyx[axis] + 1))


def _ends(seen: Sequence[BoolArray], parts: Sequence[slice], edges_px: FloatArray) -> tuple[int, int]:
    """Where the lungs begin and end along an axis, in whole pixels: each (Z, n) in its part of the slices."""
    places = np.flatnonzero(np.any([one[part].any(axis=0) for one, part in zip(seen, parts, strict=True)], axis=0))
    return int(np.floor(edges_px[places[0]])), int(np.ceil(edges_px[places[-1] + 1]))


def body_window(stack: NDArray[np.int16], spacing_mm_xy: tuple[float, float]) -> Window:
    """Rows and columns that hold the body in a stack's middle slice, and a margin of 10 mm.

    The body is what is denser than -500 HU in pieces of at least 20 cm2 once structures thinner than about 6 mm are
    gone, seen on every third millimetre; lungs lie between its parts. Where a slice holds no such piece, and where
    values are no HU, the window is the whole slice.

    Args:
        stack: (C, Y, X) HU.
    """
    rows, columns = stack.shape[1:]
    step_x, step_y = (max(1, round(LOOK_MM / one)) for one in spacing_mm_xy)
    dense = stack[len(stack) // 2, ::step_y, ::step_x] > BODY_HU
    pieces, count = ndimage.label(ndimage.binary_opening(np.pad(dense, 1, mode="edge"))[1:-1, 1:-1])
    cell_mm2 = step_x * spacing_mm_xy[0] * step_y * spacing_mm_xy[1]
    large = np.bincount(pieces.ravel(), minlength=count + 1) * cell_mm2 >= 100 * LEAST_CM2
    large[0] = False
    if not large.any():
        return slice(0, rows), slice(0, columns)
    y, x = (np.flatnonzero(large[pieces].any(axis=axis)) for axis in (1, 0))
    return (
        _window(int(y[0]) * step_y, int(y[-1] + 1) * step_y, rows, spacing_mm_xy[1]),
        _window(int(x[0]) * step_x, int(x[-1] + 1) * step_x, columns, spacing_mm_xy[0]),
    )


def _window(first: int, end: int, length: int, spacing_mm: float) -> slice:
    margin = round(MARGIN_MM / spacing_mm)
    first, end = max(first - margin, 0) // STEP_PX * STEP_PX, -(-(end + margin) // STEP_PX) * STEP_PX
    return slice(first, min(end, length))


def in_slice(found: Detections, window: Window) -> Detections:
    """What was found in a window, with its boxes in pixels of the whole slice."""
    y, x = (one.start for one in window)
    return replace(found, boxes_xyxy_px=found.boxes_xyxy_px + np.array([x, y, x, y], dtype=np.float32))
