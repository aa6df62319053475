"""One 2D slice in a file of any format -> (Y, X) int16 HU: 8- and 16-bit images, NPY, our NPZ, DICOM, NRRD and MHD."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lungct.ct.hu import clip_hu, gray_to_hu
from lungct.errors import InputError
from lungct.io.dicom import read_header
from lungct.io.dicom_voxels import read_slice as read_dicom_slice
from lungct.io.npz import read_slice
from lungct.io.volume_file import ITK_SUFFIXES, read_plane

GRAY_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
ARRAY_SUFFIXES = (".npy", ".npz")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
SLICE_SUFFIXES = GRAY_SUFFIXES + ARRAY_SUFFIXES + DICOM_SUFFIXES + ITK_SUFFIXES
INT16 = (-32768, 32767)
LARGEST_STORED, LEAST_SHIFTED = 8192, 28672


def load_slice(path: Path, window_hu: tuple[int, int], size_xy: tuple[int, int] | None = None) -> NDArray[np.int16]:
    """Read one slice, and hold it against the size that its annotations state.

    8-bit values are gray over ``window_hu``. Unsigned 16-bit ones are HU + 32768 (DeepLesion's way) or HU + 1024 (as
    scanners store them), which no CT value leaves in doubt. Other numbers are HU, as are those of an image that has
    negative ones. Of an NPZ of ours it is the middle
    channel; colour is turned to gray.

    Raises:
        InputError: not readable, not one 2D slice, 16-bit values of neither kind, another size than stated.
    """
    values = _values(path)
    if values.ndim != 2 or values.dtype.kind not in "uif":
        raise InputError.of(path, f"{values.shape} {values.dtype}, expected numbers of one (Y, X) slice")
    actual = (values.shape[1], values.shape[0])
    if size_xy is not None and actual != size_xy:
        stated = f"{size_xy[0]} x {size_xy[1]}"
        raise InputError.of(path, f"{actual[0]} x {actual[1]} pixels, its annotations say {stated}")
    if values.dtype == np.uint8:
        return gray_to_hu(values, window_hu)
    return clip_hu(_from_unsigned(values, path) if values.dtype == np.uint16 else values, INT16)


def _values(path: Path) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if not path.is_file():
        raise InputError.of(path, "no such file")
    if suffix == ".npy":
        return _npy(path)
    if suffix == ".npz":
        channels: NDArray[Any] = read_slice(path)
        return np.asarray(channels[len(channels) // 2])
    if suffix in GRAY_SUFFIXES:
        return _gray(path)
    return read_plane(path)[0] if suffix in ITK_SUFFIXES else _dicom(path)


def _npy(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError, SyntaxError, TokenError, MemoryError, OverflowError) as problem:
        raise InputError.of(path, f"not readable as NPY ({problem})") from None


def _gray(path: Path) -> NDArray[Any]:
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):
                return _whole(np.asarray(image), path)
            if image.mode not in ("L", "RGB", "P", "RGBA"):
                raise InputError.of(path, f"image mode {image.mode}, expected 8- or 16-bit gray")
            return np.asarray(image.convert("L"))
    except (OSError, UnidentifiedImageError, SyntaxError) as problem:
        raise InputError.of(path, f"not readable as an image ({problem})") from None


def _whole(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Numbers of 16 or 32 bits: with a sign they are HU, without one what scanners or DeepLesion store."""
    if values.min() < 0:
        return values.astype(np.int32)
    if values.max() > np.iinfo(np.uint16).max:
        raise InputError.of(path, f"values up to {values.max()}, expected HU or 16-bit gray")
    return values.astype(np.uint16)


def _dicom(path: Path) -> NDArray[Any]:
    """HU by the file's own rescale slope and intercept."""
    header = read_header(path)
    if isinstance(header, str):
        raise InputError.of(path, f"no CT slice ({header})")
    return read_dicom_slice(header, str(path))


def _from_unsigned(values: NDArray[np.uint16], path: Path) -> NDArray[np.int32]:
    """Zeros are padding in either kind."""
    there = values[values > 0]
    if len(there) == 0 or there.max() <= LARGEST_STORED:
        return values.astype(np.int32) - 1024
    if np.median(there) >= LEAST_SHIFTED:
        return values.astype(np.int32) - 32768
    problem = f"16-bit values from {there.min()} to {there.max()} are neither HU + 1024 nor HU + 32768"
    raise InputError.of(path, problem, "save HU as .npy")
