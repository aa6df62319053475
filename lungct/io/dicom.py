"""DICOM files -> headers of CT slices; what is no CT slice is left out and counted by its reason.

No message holds an identifier, UID or date.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lungct.io.dicom_elements import BrokenDicom, Elements, is_dicom, read_elements
from lungct.io.dicom_pixels import StoredPixels

__all__ = ["SliceHeader", "is_dicom", "read_headers"]

IMAGE_TYPE, SOP_UID, MODALITY = 0x00080008, 0x00080018, 0x00080060
PATIENT_ID, SERIES_UID, INSTANCE_NUMBER = 0x00100020, 0x0020000E, 0x00200013
POSITION, ORIENTATION = 0x00200032, 0x00200037
SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS = 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011
PIXEL_SPACING = 0x00280030
ALLOCATED, STORED, HIGH_BIT, SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
PADDING, PADDING_LIMIT, INTERCEPT, SLOPE = 0x00280120, 0x00280121, 0x00281052, 0x00281053
VOLUME_TAGS = {
    0x00200100: "temporal position",
    0x00200012: "acquisition number",
    0x00209241: "percentage of the cardiac phase",
    0x00181060: "trigger time",
    0x00181210: "convolution kernel",
}
"""What may tell the volumes apart that share one series UID, in the order in which it is asked."""
LARGEST = 1e6
"""Of rescale slope and intercept, beyond which they mean nothing in HU."""
_WHAT = (IMAGE_TYPE, SOP_UID, MODALITY, PATIENT_ID, SERIES_UID, INSTANCE_NUMBER, SAMPLES, PHOTOMETRIC, FRAMES)
_WHERE = (POSITION, ORIENTATION, ROWS, COLUMNS, PIXEL_SPACING)
_STORED = (ALLOCATED, STORED, HIGH_BIT, SIGNED, PADDING, PADDING_LIMIT, INTERCEPT, SLOPE)
_WANTED = frozenset((*_WHAT, *_WHERE, *_STORED, *VOLUME_TAGS))


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What one DICOM file says of its slice; positions and directions in LPS.

    Attributes:
        volume_marks: the values of :data:`VOLUME_TAGS`, in their order.
    """

    path: Path
    series_uid: str
    sop_uid: str
    patient_id: str
    instance_number: int
    position_lps_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    size_xy: tuple[int, int]
    spacing_mm_xy: tuple[float, float]
    pixels: StoredPixels
    volume_marks: tuple[str, ...] = ()


def read_headers(folder: Path) -> tuple[list[SliceHeader], Counter[str]]:
    """The CT slices below ``folder``, by path, and how many files were left out for each reason.

    Raises:
        OSError: a file or folder that must not be read.
    """
    headers, skipped = [], Counter[str]()
    for path in sorted(_files(folder)):
        found = read_header(path)
        if isinstance(found, SliceHeader):
            headers.append(found)
        else:
            skipped[found] += 1
    return headers, skipped


def _files(folder: Path) -> Iterator[Path]:
    def refuse(problem: OSError) -> None:
        raise problem

    for parent, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def read_header(path: Path) -> SliceHeader | str:
    """The header, or the reason why the file is no CT slice."""
    if not path.is_file():
        return "no DICOM"
    try:
        found = read_elements(path, _WANTED)
        return "no DICOM" if found is None else _why_not(found) or _header_of(path, found)
    except BrokenDicom:
        return "broken DICOM"


def _why_not(found: Elements) -> str:
    if "LOCALIZER" in found.text(IMAGE_TYPE).upper():
        return "localizer"
    if found.text(MODALITY) not in ("CT", ""):
        return "not CT"
    if not found.has_pixels or not found.number(ROWS) or not found.number(COLUMNS):
        return "no image"
    if (found.number(SAMPLES) or 1) != 1:
        return "colour"
    if found.text(FRAMES) not in ("", "0", "1"):
        return "several frames in one file"
    return ""


def _header_of(path: Path, found: Elements) -> SliceHeader | str:
    position, orientation, spacing_yx = (_numbers(found, tag) for tag in (POSITION, ORIENTATION, PIXEL_SPACING))
    if len(position) != 3 or len(orientation) != 6:
        return "no position"
    if len(spacing_yx) != 2 or min(spacing_yx) <= 1e-3:
        return "no pixel spacing"
    pixels = _pixels_of(found)
    if pixels is None:
        return "no usable rescale slope"
    size_xy = (found.number(COLUMNS) or 0, found.number(ROWS) or 0)
    if pixels.offset is not None and (found.pixels_at or (0, 0))[1] < math.prod(size_xy) * int(pixels.dtype[-1]):
        return "broken DICOM"
    return SliceHeader(
        path=path,
        series_uid=found.text(SERIES_UID),
        sop_uid=found.text(SOP_UID),
        patient_id=found.text(PATIENT_ID),
        instance_number=_whole(found.text(INSTANCE_NUMBER)),
        position_lps_mm=position,
        orientation=orientation,
        size_xy=size_xy,
        spacing_mm_xy=(spacing_yx[1], spacing_yx[0]),
        pixels=pixels,
        volume_marks=tuple(found.text(tag) for tag in VOLUME_TAGS),
    )


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0


def _numbers(found: Elements, tag: int) -> tuple[float, ...]:
    """Every number of a value; empty where one of them is none."""
    try:
        numbers = tuple(map(float, found.text(tag).split("\\")))
    except ValueError:
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def _pixels_of(found: Elements) -> StoredPixels | None:
    """None where slope or intercept make no sense."""
    slope = _numbers(found, SLOPE) if found.text(SLOPE) else (1.0,)
    intercept = _numbers(found, INTERCEPT) if found.text(INTERCEPT) else (0.0,)
    if len(slope) != 1 or len(intercept) != 1 or not 0 < abs(slope[0]) <= LARGEST or abs(intercept[0]) > LARGEST:
        return None
    allocated, signed = found.number(ALLOCATED) or 16, found.number(SIGNED) == 1
    stored = found.number(STORED) or allocated
    high_bit = found.number(HIGH_BIT) or stored - 1
    direct = allocated in (8, 16) and 0 < stored <= high_bit + 1 <= allocated
    offset = found.pixels_at[0] if found.pixels_at and direct else None
    dtype = f"{'>' if found.big_endian else '<'}{'i' if signed else 'u'}{allocated // 8}"
    ends = [found.number(tag) for tag in (PADDING, PADDING_LIMIT)]
    known = sorted(_as_signed(end, allocated) if signed else end for end in ends if end is not None)
    padding = (known[0], known[-1]) if known and ends[0] is not None else None
    inverted = found.text(PHOTOMETRIC) == "MONOCHROME1"
    return StoredPixels(offset, dtype, stored, high_bit, slope[0], intercept[0], padding, inverted)


def _as_signed(word: int, bits: int) -> int:
    return word - (1 << bits) if word >= 1 << bits - 1 else word
