"""The DeepLesion layout: ``DL_info.csv`` and 16-bit key slices ``Images_png/pppppp_ss_ss/kkk.png``.

HU are the stored values - 32768. Coordinates start at 1 at the first pixel's centre, so a box's edges lie half a pixel
before them. Several rows may be of one image. Where every lesion has a type, the type is its label (``lung``,
``liver``, ..); where some are unlabelled (-1), as in the whole data set, all are ``lesion`` and the type is the
attribute ``lesion_type``: else the unlabelled ones, nearly all boxes to train on, would be a class of their own.
Possibly noisy rows are kept and marked. Age and sex are not read.

Source: Yan et al., DeepLesion, Journal of Medical Imaging 5(3), 2018; that coordinates start at 1 is in the loader that
its authors published.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError
from lungct.io.csv_table import Row, has_columns, read_table
from lungct.registry import SPLITS
from lungct.sources.slice_file import load_slice
from lungct.sources.source import Contents, SourceOptions
from lungct.types import SliceImage

logger = logging.getLogger("lungct")
NAME = "deeplesion"
TABLE, IMAGES = "DL_info.csv", "Images_png"
COLUMNS = (
    "File_name",
    "Bounding_boxes",
    "Lesion_diameters_Pixel_",
    "Coarse_lesion_type",
    "Possibly_noisy",
    "Spacing_mm_px_",
    "Image_size",
    "Train_Val_Test",
)
TYPES = ("bone", "abdomen", "mediastinum", "liver", "lung", "kidney", "soft tissue", "pelvis")
UNLABELLED = -1
EDGE_SHIFT_PX = -0.5
PUBLIC_NAME = r"\d{6}(_\d{2}){0,2}"


def recognises(path: Path) -> bool:
    """Whether the table is there under its own name."""
    return has_columns(path / TABLE, COLUMNS)


def read(path: Path, options: SourceOptions) -> Contents:
    """Every key slice that is there, with all its boxes.

    Raises:
        InputError: a broken table, or no image of it in the folder.
    """
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in read_table(path / TABLE, COLUMNS):
        rows[row.text("File_name")].append(row)
    files = {name: path / IMAGES / "/".join(name.rsplit("_", 1)) for name in rows}
    there = {name: file for name, file in files.items() if file.is_file()}
    if rows and not there:
        hint = f"unpack the archives of key slices into {IMAGES}"
        raise InputError.of(path / TABLE, f"none of its {len(rows)} images is in {IMAGES}", hint)
    if len(there) < len(rows):
        logger.warning("%s: %d of %d images are not there", path / TABLE, len(rows) - len(there), len(rows))
    typed = all(_type(row) != UNLABELLED for mine in rows.values() for row in mine)
    return Contents(NAME, images=tuple(_image_of(there[name], rows[name], options, typed=typed) for name in there))


def _image_of(file: Path, rows: list[Row], options: SourceOptions, *, typed: bool) -> SliceImage:
    series, patient = file.parent.name, file.parent.name.split("_")[0]
    case_id = options.naming.published("case", series, PUBLIC_NAME)
    width, height = rows[0].numbers("Image_size", 2)
    x_mm, y_mm, _ = rows[0].numbers("Spacing_mm_px_", 3)
    return SliceImage(
        image_id=f"{case_id}_{file.stem}",
        patient_id=options.naming.published("patient", patient, PUBLIC_NAME),
        case_id=case_id,
        load=partial(load_slice, file, options.window_hu, (int(width), int(height))),
        spacing_mm_xy=(x_mm, y_mm),
        boxes_xyxy_px=np.array([_box(row) for row in rows]),
        labels=tuple(TYPES[_type(row) - 1] if typed else "lesion" for row in rows),
        attributes=tuple(_attributes(row, x_mm) for row in rows),
        split=_split(rows[0]),
    )


def _type(row: Row) -> int:
    value = row.number("Coarse_lesion_type")
    if value != UNLABELLED and value not in range(1, len(TYPES) + 1):
        raise row.broken(f"Coarse_lesion_type is {value:g}, expected 1 to {len(TYPES)}, or {UNLABELLED}")
    return int(value)


def _box(row: Row) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (value + EDGE_SHIFT_PX for value in row.numbers("Bounding_boxes", 4))
    if x1 >= x2 or y1 >= y2:
        raise row.broken("Bounding_boxes has no area", "expected x1, y1, x2, y2 with x1 < x2 and y1 < y2")
    return x1, y1, x2, y2


def _attributes(row: Row, pixel_mm: float) -> dict[str, Any]:
    """Type (left out where unlabelled), the longer RECIST diameter, and whether the row may be noise."""
    kind = _type(row)
    return {
        **({} if kind == UNLABELLED else {"lesion_type": TYPES[kind - 1]}),
        "diameter_mm": round(max(row.numbers("Lesion_diameters_Pixel_", 2)) * pixel_mm, 4),
        "possibly_noisy": int(row.number("Possibly_noisy") > 0),
    }


def _split(row: Row) -> str:
    value = row.number("Train_Val_Test")
    if value not in (1, 2, 3):
        raise row.broken(f"Train_Val_Test is {value:g}, expected 1, 2 or 3")
    return SPLITS[int(value) - 1]
