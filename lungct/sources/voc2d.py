"""2D slices with PASCAL-VOC boxes: ``images/`` of 8-bit gray and ``annotations/*.xml``, optionally ``slices.csv``.

``slices.csv`` (``image,seriesuid,diameter_mm``) says which slices are of one series, hence one patient; the series is
pseudonymised. Without it each slice is its own patient. Images without XML, and XML without image, are left out and
counted: a missing file is no sign of a healthy slice.

What a corner means is an option, see :mod:`lungct.io.voc`; by default it is a 0-based pixel centre. In the 780 LUNA16
slices that ship with MS-YOLO11 that is what they are: xmax - xmin is the diameter in pixels (mean difference -.12,
where inclusive corners would give -1.1) and the nodule's brightness centroid lies at (xmin + xmax) / 2 in 0-based
pixel-centre coordinates to .15 px (median, both axes).
"""

from __future__ import annotations

import csv
import logging
from functools import partial
from pathlib import Path
from typing import Any

from lungct.errors import InputError
from lungct.io.voc import read_voc
from lungct.sources.slice_file import GRAY_SUFFIXES, load_slice
from lungct.sources.source import Contents, SourceOptions
from lungct.types import SliceImage

logger = logging.getLogger("lungct")
SLICES_CSV = "slices.csv"


def recognises(path: Path) -> bool:
    """Whether there are ``images/`` and XML files in ``annotations/``."""
    return (path / "images").is_dir() and next((path / "annotations").glob("*.xml"), None) is not None


def read(path: Path, options: SourceOptions) -> Contents:
    """Every image that has an XML file.

    Raises:
        InputError: XML that is broken or does not fit its image, a ``slices.csv`` without its columns or without an
            image that has XML.
    """
    images = {one.stem: one for one in sorted((path / "images").glob("*")) if one.suffix.lower() in GRAY_SUFFIXES}
    notes = {one.stem: one for one in sorted((path / "annotations").glob("*.xml"))}
    rows = _read_slices_csv(path / SLICES_CSV)
    for what, lonely in (("images without XML", images.keys() - notes), ("XML without image", notes.keys() - images)):
        if lonely:
            logger.warning("%s: %d %s left out", path, len(lonely), what)
    pairs = [(images[stem], notes[stem]) for stem in sorted(images.keys() & notes.keys())]
    unnamed = [options.naming.published("image", image.stem) for image, _ in pairs if image.name not in rows]
    if rows and unnamed:
        hint = "name every image in it, or remove it: then each slice is its own patient"
        raise InputError.of(path / SLICES_CSV, f"images without a row: {len(unnamed)}, first {unnamed[0]}", hint)
    return Contents("voc2d", images=tuple(_image_of(*pair, rows.get(pair[0].name), options) for pair in pairs))


def _read_slices_csv(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if not {"image", "seriesuid"} <= set(reader.fieldnames or ()):
                raise InputError.of(path, "no columns image, seriesuid", "expected image,seriesuid[,diameter_mm]")
            rows: dict[str, dict[str, str]] = {}
            for row in reader:
                image, series = ((row[key] or "").strip() for key in ("image", "seriesuid"))
                if not image or not series:
                    raise InputError.of(path, f"line {reader.line_num}: no image or no seriesuid in it")
                rows[image] = row
            if not rows:
                raise InputError.of(path, "no row in it", "name every image in it, or remove it")
            return rows
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError.of(path, f"not readable as CSV ({problem})") from None


def _image_of(image: Path, note: Path, row: dict[str, str] | None, options: SourceOptions) -> SliceImage:
    said = read_voc(note, options.voc_corners)
    image_id = options.naming.published("image", image.stem)
    case_id = options.naming.name("case", row["seriesuid"].strip()) if row else image_id
    spacing = options.pixel_spacing_mm
    return SliceImage(
        image_id=image_id,
        patient_id=case_id,
        case_id=case_id,
        load=partial(load_slice, image, options.window_hu, said.size_xy),
        spacing_mm_xy=None if spacing is None else (spacing, spacing),
        boxes_xyxy_px=said.boxes_xyxy_px,
        labels=said.labels,
        attributes=_attributes(row, len(said.labels)),
    )


def _attributes(row: dict[str, str] | None, count: int) -> tuple[dict[str, Any], ...]:
    """The row's diameter is of one nodule, so it is given only where the slice has one."""
    text = (row or {}).get("diameter_mm") or ""
    if count != 1 or not text.strip():
        return tuple({} for _ in range(count))
    try:
        return ({"diameter_mm": float(text)},)
    except ValueError:
        raise InputError(f"slices.csv: diameter_mm is {text!r}, expected a number in mm") from None
