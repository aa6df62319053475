"""The slices of a split from their files, kept in memory while they fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.io.coco import CocoImage, CocoTruth
from lungct.io.npz import read_slice

CACHE_BYTES = 2 * 2**30
"""Decoded int16 slices kept in memory by one process; the rest is read again each epoch."""


class SliceReader:
    """Reads the slices of one split and keeps them while they fit.

    Raises:
        InputError: a slice that is missing, broken, or of another size than its record says, or of another number of
            channels than the first one.
    """

    def __init__(self, truth: CocoTruth, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.truth = truth
        self._kept: dict[str, NDArray[np.int16]] = {}
        self._room_bytes = cache_bytes

    def __call__(self, image: CocoImage) -> NDArray[np.int16]:
        """(C, Y, X) int16 HU."""
        found = self._kept.get(image.file_name)
        if found is not None:
            return found
        path = self.truth.root / image.file_name
        read = read_slice(path)
        if read.shape[1:] != (image.height, image.width):
            expected = f"{image.width} x {image.height}"
            raise InputError.of(path, f"is {read.shape[2]} x {read.shape[1]} pixels, its record says {expected}")
        if read.nbytes <= self._room_bytes:
            self._kept[image.file_name] = read
            self._room_bytes -= read.nbytes
        return read
