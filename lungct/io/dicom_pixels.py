"""The stored pixels of one DICOM slice -> HU: native ones straight into the caller's array, compressed ones by GDCM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.io.dicom_elements import BrokenDicom

AIR_HU = -1000
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """How the pixels of a slice are stored and what HU they stand for.

    Attributes:
        offset: of native pixels in the file; None leaves decoding to GDCM.
        dtype: number type of native pixels with its byte order, such as ``<u2``.
        bits_stored: bits of a pixel that are its value; others may hold an overlay.
        high_bit: the highest of them.
        slope, intercept: HU = slope x stored + intercept, of this slice alone.
        padding: lowest and highest stored value that stand for no measurement; they become air.
        bright_is_low: MONOCHROME1, which only says how to show a slice; but GDCM then inverts what it decodes.
    """

    offset: int | None
    dtype: str
    bits_stored: int
    high_bit: int
    slope: float = 1.0
    intercept: float = 0.0
    padding: tuple[int, int] | None = None
    bright_is_low: bool = False

    @property
    def range(self) -> tuple[int, int]:
        """Lowest and highest stored value that there can be."""
        half = 1 << self.bits_stored - 1
        return (-half, half - 1) if "i" in self.dtype else (0, 2 * half - 1)

    @property
    def is_whole(self) -> bool:
        """Whether every HU is a whole number."""
        return self.slope == int(self.slope) and self.intercept == int(self.intercept)


def read_hu(path: Path, pixels: StoredPixels, out: NDArray[Any]) -> None:
    """Fill the (Y, X) int16 or float32 ``out`` with the HU of one slice; int16 is clipped to what it holds.

    Raises:
        BrokenDicom: fewer pixels than stated, or not decodable.
    """
    if pixels.offset is None:
        _decode(path, pixels, out)
    else:
        _read_native(path, pixels, out)


def _read_native(path: Path, pixels: StoredPixels, out: NDArray[Any]) -> None:
    raw: NDArray[Any] = np.empty(out.shape, pixels.dtype)
    with open(path, "rb", buffering=0) as stream:
        stream.seek(pixels.offset or 0)
        if stream.readinto(raw.data.cast("B")) != raw.nbytes:
            raise BrokenDicom("fewer pixels than rows x columns")
    stored = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    padded = _padded(stored, pixels.padding)
    bits = 8 * raw.itemsize
    stored <<= bits - 1 - pixels.high_bit
    stored >>= bits - pixels.bits_stored
    _to_hu(stored, pixels, out)
    if padded is not None:
        out[padded] = AIR_HU


def _padded(stored: NDArray[Any], padding: tuple[int, int] | None) -> NDArray[np.bool_] | None:
    if padding is None:
        return None
    found: NDArray[np.bool_] = stored == padding[0]
    if padding[1] > padding[0]:
        found = (stored >= padding[0]) & (stored <= padding[1])
    return found


def _to_hu(stored: NDArray[Any], pixels: StoredPixels, out: NDArray[Any]) -> None:
    if not pixels.is_whole or out.dtype != np.int16:
        np.multiply(stored, np.float32(pixels.slope), out=out, dtype=np.float32, casting="unsafe")
        out += np.float32(pixels.intercept)
        return
    slope, intercept = int(pixels.slope), int(pixels.intercept)
    low, high = pixels.range
    ends = (slope * low + intercept, slope * high + intercept)
    if max(high, *map(abs, (*ends, slope, intercept))) > _INT16.max:
        out[...] = np.clip(stored.astype(np.int64) * slope + intercept, _INT16.min, _INT16.max)
    elif slope == 1:
        np.add(stored, np.int16(intercept), out=out, dtype=np.int16, casting="unsafe")
    else:  # a product that leaves int16 comes back into it with the sum
        np.multiply(stored, np.int16(slope), out=out, dtype=np.int16, casting="unsafe")
        out += np.int16(intercept)


def _decode(path: Path, pixels: StoredPixels, out: NDArray[Any]) -> None:
    """GDCM rescales by itself, so padding is looked for in HU."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO")
    except RuntimeError:
        raise BrokenDicom("not decodable") from None
    plane = SimpleITK.GetArrayViewFromImage(image)
    if plane.size != out.size or image.GetNumberOfComponentsPerPixel() != 1:
        raise BrokenDicom("not of the size that it states")
    hu: NDArray[Any] = plane.reshape(out.shape).astype(np.float32 if plane.dtype.kind == "f" else np.int64)
    if pixels.bright_is_low:
        hu = pixels.slope * sum(pixels.range) + 2 * pixels.intercept - hu
    out[...] = hu if out.dtype.kind == "f" else np.clip(hu, _INT16.min, _INT16.max)
    if pixels.padding is not None:
        one, other = (pixels.slope * value + pixels.intercept for value in pixels.padding)
        out[(hu >= min(one, other)) & (hu <= max(one, other))] = AIR_HU
