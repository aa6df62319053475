"""Hounsfield units: clipping to int16, and 8-bit gray back to HU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def clip_hu(values: NDArray[Any], hu_clip: tuple[int, int]) -> NDArray[np.int16]:
    """HU of any shape and number type, clipped to ``hu_clip`` and rounded to int16; NaN becomes the lowest."""
    low, high = hu_clip
    if values.dtype.kind in "iu":
        return np.asarray(np.clip(values, low, high), dtype=np.int16)
    clipped = np.fmax(values, low)  # of NaN and a number it gives the number
    np.fmin(clipped, high, out=clipped)
    return np.asarray(np.rint(clipped, out=clipped), dtype=np.int16)


def gray_to_hu(gray: NDArray[np.uint8], window_hu: tuple[int, int]) -> NDArray[np.int16]:
    """(Y, X) 8-bit gray, 0 the lowest and 255 the highest HU of ``window_hu``, to (Y, X) int16 HU."""
    low, high = window_hu
    table = np.rint(low + (high - low) * np.arange(256) / 255.0).astype(np.int16)
    return table[gray]
