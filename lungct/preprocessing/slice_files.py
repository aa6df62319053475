"""The files of one slice: its NPZ, and beside it the middle channel as a PNG for the eyes."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from lungct.ct.hu import hu_to_gray
from lungct.io.npz import write_slice
from lungct.io.png import write_gray
from lungct.registry import HU_WINDOWS


def write_slice_files(folder: Path, file_name: str, image_hu: NDArray[np.int16], png_window: str | None) -> list[str]:
    """Write a (C, Y, X) int16 slice stack; returns the names of its files, relative to ``folder``.

    Args:
        file_name: of the NPZ, relative to ``folder``.
        png_window: name of the HU window of the PNG, which also stands in it; None writes none.
    """
    write_slice(folder / file_name, image_hu)
    if png_window is None:
        return [file_name]
    low, high = HU_WINDOWS[png_window]
    png = str(PurePosixPath(file_name).with_suffix(".png"))
    write_gray(folder / png, hu_to_gray(image_hu[len(image_hu) // 2], (low, high)), f"{low}..{high} HU ({png_window})")
    return [file_name, png]
