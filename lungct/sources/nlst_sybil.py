"""NLST boxes as the JSON of Sybil's authors: ``{SeriesInstanceUID: {SOPInstanceUID: [{x, y, width, height}]}}``.

Boxes are fractions of the image's width and height, from the top left corner; each is a cancer, or the place where one
came. The truth is per slice, so each slice of the JSON whose DICOM file is there becomes a 2D image, whether or not the
whole series is there: nothing says which boxes of neighbouring slices are one lesion. A slice with an empty list is an
image without boxes, a box that is there twice is one, and slices that are not in the JSON are left out.

Source: Mikhael et al., Sybil: a validated deep learning model to predict future lung cancer risk from a single low-dose
chest computed tomography, J Clin Oncol 41, 2023.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError
from lungct.io.dicom import SliceHeader, read_headers
from lungct.sources.nlst_slices import PARTICIPANT
from lungct.sources.slice_file import load_slice
from lungct.sources.slices_by_uid import refuse_absent_slices
from lungct.sources.source import SourceOptions
from lungct.types import SliceImage

OVERHANG = 0.5
_START = re.compile(r'\s*\{\s*"\d+(\.\d+)+"\s*:\s*\{')


def is_sybil(path: Path) -> bool:
    """Whether a file begins with a UID that stands for an object; looks at its first letters only."""
    try:
        with open(path, encoding="utf-8-sig") as stream:
            return _START.match(stream.read(400)) is not None
    except (OSError, UnicodeDecodeError):
        return False


def read(path: Path, table: Path, options: SourceOptions) -> tuple[SliceImage, ...]:
    """Every slice of the JSON whose DICOM file is below ``path``, in the JSON's order.

    Raises:
        InputError: a broken JSON, a box that is no fraction of the image, no slice in the folder.
    """
    headers = {one.sop_uid: one for one in read_headers(path)[0] if one.sop_uid}
    slices = list(_slices(table))
    refuse_absent_slices([sop for _, sop, _, _ in slices], headers.keys(), table)
    return tuple(
        _image_of(headers[sop], series, [_box(box, headers[sop], where) for box in boxes], options)
        for series, sop, boxes, where in slices
        if sop in headers
    )


def _slices(table: Path) -> Iterator[tuple[str, str, list[Any], str]]:
    """Series, slice, its boxes, and where in the file that is, said without a UID."""
    try:
        document = json.loads(table.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as problem:
        raise InputError.of(table, f"not readable as JSON ({problem})") from None
    expected = "expected {SeriesInstanceUID: {SOPInstanceUID: [{x, y, width, height}]}}"
    if not isinstance(document, dict):
        raise InputError.of(table, "no object", expected)
    for number, (series, images) in enumerate(document.items(), 1):
        if not isinstance(images, dict):
            raise InputError.of(table, f"series {number} is no object", expected)
        for place, (sop, boxes) in enumerate(images.items(), 1):
            where = f"{table}: series {number}, slice {place}"
            if not isinstance(boxes, list):
                raise InputError(f"{where} is no list", expected)
            yield series, sop, boxes, where


def _box(box: Any, header: SliceHeader, where: str) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(box[name]) for name in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{where}: a box is no object of numbers x, y, width, height") from None
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        raise InputError(f"{where}: a box of {width:g} x {height:g} at {x:g}, {y:g} has no area")
    if min(x, y) <= -OVERHANG or max(x + width, y + height) >= 1 + OVERHANG:
        raise InputError(f"{where}: a box lies beyond the image", "expected fractions of its size, from 0 to 1")
    across, down = header.size_xy
    return x * across, y * down, (x + width) * across, (y + height) * down


def _image_of(header: SliceHeader, series: str, boxes: list[tuple[float, ...]], options: SourceOptions) -> SliceImage:
    single = list(dict.fromkeys(boxes))
    case_id, patient = options.naming.name("case", series), header.patient_id
    return SliceImage(
        image_id=options.naming.name("image", header.sop_uid),
        patient_id=options.naming.published("patient", patient, PARTICIPANT) if patient else case_id,
        case_id=case_id,
        load=partial(load_slice, header.path, options.window_hu),
        spacing_mm_xy=header.spacing_mm_xy,
        boxes_xyxy_px=np.array(single, dtype=np.float64).reshape(-1, 4),
        labels=("nodule",) * len(single),
        attributes=({"malignant": 1},) * len(single),
    )
