"""Where the body is in slices of a scan, so that the air and the table around it need not be searched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungct.types import Detections

BODY_HU = -500
LOOK_MM = 3.0
LEAST_CM2 = 20.0
MARGIN_MM = 10.0
STEP_PX = 32
"""Windows begin and end at multiples of it: neighbours mostly share one, and cells lie as in the whole slice."""


def body_window(stack: NDArray[np.int16], spacing_mm_xy: tuple[float, float]) -> tuple[slice, slice]:
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


def in_slice(found: Detections, window: tuple[slice, slice]) -> Detections:
    """What was found in a window, with its boxes in pixels of the whole slice."""
    y, x = (one.start for one in window)
    return replace(found, boxes_xyxy_px=found.boxes_xyxy_px + np.array([x, y, x, y], dtype=np.float32))
