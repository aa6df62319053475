"""Hounsfield units: clipping to int16, to 8-bit gray through a window, and from gray back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def clip_hu(values: NDArray[Any], hu_clip: tuple[int, int]) -> NDArray[np.int16]:
    """HU of any shape and number type, clipped to ``hu_clip`` and rounded to int16; NaN becomes the lowest.

    Where nothing has to change that is the array itself, not a copy.
    """
    low, high = hu_clip
    if values.dtype == np.int16 and values.size and low <= values.min() and values.max() <= high:
        return values
    if values.dtype.kind in "iu":
        return np.asarray(np.clip(values, low, high), dtype=np.int16)
    clipped = np.fmax(values, low)  # of NaN and a number it gives the number
    np.fmin(clipped, high, out=clipped)
    return np.asarray(np.rint(clipped, out=clipped), dtype=np.int16)


def hu_to_gray(hu: NDArray[np.int16], window_hu: tuple[int, int]) -> NDArray[np.uint8]:
    """HU of any shape to 8-bit gray: 0 up to the lowest of ``window_hu``, 255 from the highest on, straight between."""
    low, high = window_hu
    unit = (hu.astype(np.float32) - low) / (high - low)
    return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)


def gray_to_hu(gray: NDArray[np.uint8], window_hu: tuple[int, int]) -> NDArray[np.int16]:
    """(Y, X) 8-bit gray, 0 the lowest and 255 the highest HU of ``window_hu``, to (Y, X) int16 HU."""
    low, high = window_hu
    table = np.rint(low + (high - low) * np.arange(256) / 255.0).astype(np.int16)
    return table[gray]
