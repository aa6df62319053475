"""NLST boxes as a slice CSV: ``pid,dcm_series,uid_slice,x,y,width,height``, a file ``{uid_slice}`` per slice.

Boxes are pixels from the top left corner; each is a cancer. A slice file is NPY in HU or DICOM. Slices without a row
are left out, since nobody says that they are free. A participant may have several series, all in one split.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np

from lungct.io.csv_table import Row, read_table
from lungct.sources.slice_file import load_slice
from lungct.sources.slices_by_uid import SliceFile, refuse_absent_slices, slices_by_uid
from lungct.sources.source import SourceOptions
from lungct.types import SliceImage

logger = logging.getLogger("lungct")
PARTICIPANT = r"\d{6}"
COLUMNS = ("pid", "dcm_series", "uid_slice", "x", "y", "width", "height")


def read(path: Path, table: Path, options: SourceOptions) -> tuple[SliceImage, ...]:
    """Every slice of the table whose file is there, in the table's order.

    Raises:
        InputError: a broken table, boxes that are no pixels, a slice of two participants, no slice in the folder.
    """
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in read_table(table, COLUMNS):
        if not all(row.text(name) for name in COLUMNS[:3]):
            raise row.broken("no pid, dcm_series or uid_slice in it")
        rows[row.text("uid_slice")].append(row)
    files = slices_by_uid(path)
    refuse_absent_slices(rows.keys(), files.keys(), table)
    return tuple(_image_of(files[uid], mine, options) for uid, mine in rows.items() if uid in files)


def _image_of(file: SliceFile, rows: list[Row], options: SourceOptions) -> SliceImage:
    first = rows[0]
    for row in rows[1:]:
        if (row.text("pid"), row.text("dcm_series")) != (first.text("pid"), first.text("dcm_series")):
            raise row.broken(f"another pid or dcm_series than line {first.line} has for the same slice")
    boxes = list(dict.fromkeys(_box(row) for row in rows))
    spacing = options.pixel_spacing_mm
    return SliceImage(
        image_id=options.naming.name("image", first.text("uid_slice")),
        patient_id=options.naming.published("patient", first.text("pid"), PARTICIPANT),
        case_id=options.naming.name("case", first.text("dcm_series")),
        load=partial(load_slice, file.path, options.window_hu),
        spacing_mm_xy=file.spacing_mm_xy or (None if spacing is None else (spacing, spacing)),
        boxes_xyxy_px=np.array(boxes, dtype=np.float64),
        labels=("nodule",) * len(boxes),
        attributes=({"malignant": 1},) * len(boxes),
    )


def _box(row: Row) -> tuple[float, float, float, float]:
    x, y, width, height = (row.number(name, "a number of pixels") for name in COLUMNS[3:])
    if width <= 0 or height <= 0:
        raise row.broken(f"width, height are {width:g}, {height:g}, expected positive numbers of pixels")
    if max(x + width, y + height) <= 1:
        raise row.broken("the box lies within one pixel", "expected pixels, not fractions of the image")
    return x, y, x + width, y + height
