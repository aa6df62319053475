"""2D slices with PASCAL-VOC boxes: ``images/`` of 8-bit gray and ``annotations/*.xml``, optionally ``slices.csv``.

``slices.csv`` (``image,seriesuid,diameter_mm``) says which slices are of one series, hence one patient; the series is
pseudonymised. Without it each slice is its own patient. Images without XML, and XML without image, are left out and
counted: a missing file is no sign of a healthy slice.

What a corner means differs between tools, half a pixel to one pixel, which matters for boxes of six pixels. ``centres``
(the default): 0-based pixel-centre coordinates, so the box's edges are xmin + .5 and xmax + .5. In the 780 LUNA16
slices that ship with MS-YOLO11 that is what they are: xmax - xmin is the diameter in pixels (mean difference -.12,
where inclusive corners would give -1.1) and the nodule's brightness centroid lies at (xmin + xmax) / 2 in 0-based
pixel-centre coordinates to .15 px (median, both axes). ``inclusive``: the VOC development kit's own 1-based inclusive
pixels, edges xmin - 1 and xmax. ``edges``: taken as they are.

Source: Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge, IJCV 88, 2010.
"""

from __future__ import annotations

import csv
import logging
import math
import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lungct.ct.hu import gray_to_hu
from lungct.errors import InputError
from lungct.sources.source import Contents, SourceOptions
from lungct.types import FloatArray, SliceImage

logger = logging.getLogger("lungct")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
SLICES_CSV = "slices.csv"
EDGE_SHIFT_PX = {"centres": (0.5, 0.5), "inclusive": (-1.0, 0.0), "edges": (0.0, 0.0)}


def recognises(path: Path) -> bool:
    """Whether there are ``images/`` and XML files in ``annotations/``."""
    return (path / "images").is_dir() and next((path / "annotations").glob("*.xml"), None) is not None


def read(path: Path, options: SourceOptions) -> Contents:
    """Every image that has an XML file.

    Raises:
        InputError: XML that is broken or does not fit its image, a ``slices.csv`` without its columns or without an
            image that has XML.
    """
    images = {one.stem: one for one in sorted((path / "images").glob("*")) if one.suffix.lower() in IMAGE_SUFFIXES}
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
    boxes, labels = _read_voc(note, options.voc_corners)
    image_id = options.naming.published("image", image.stem)
    case_id = options.naming.name("case", row["seriesuid"].strip()) if row else image_id
    spacing = options.pixel_spacing_mm
    return SliceImage(
        image_id=image_id,
        patient_id=case_id,
        case_id=case_id,
        load=partial(load_gray, image, note, options.window_hu),
        spacing_mm_xy=None if spacing is None else (spacing, spacing),
        boxes_xyxy_px=boxes,
        labels=labels,
        attributes=_attributes(row, len(labels)),
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


def _read_voc(path: Path, corners: str) -> tuple[FloatArray, tuple[str, ...]]:
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as problem:
        raise InputError.of(path, f"not readable as XML ({problem})") from None
    boxes, labels = [], []
    low, high = EDGE_SHIFT_PX[corners]
    for found in root.iter("object"):
        texts = [found.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        try:
            box = np.array([float(text or "") for text in texts]) + np.array([low, low, high, high])
        except ValueError:
            raise InputError.of(path, f"bndbox is {texts}, expected numbers xmin, ymin, xmax, ymax") from None
        if not np.isfinite(box).all() or box[0] >= box[2] or box[1] >= box[3]:
            raise InputError.of(path, f"bndbox {texts} has no area", "expected xmin < xmax and ymin < ymax")
        boxes.append(box)
        labels.append((found.findtext("name") or "nodule").strip())
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4), tuple(labels)


def load_gray(path: Path, note: Path, window_hu: tuple[int, int]) -> NDArray[np.int16]:
    """Read an 8-bit image as (Y, X) int16 HU and hold it against the size that its XML states.

    Raises:
        InputError: not an image, not 8 bit, or not of the size that the XML says; a size that is no number.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "RGB", "P", "RGBA"):
                raise InputError.of(path, f"image mode {image.mode}, expected 8-bit gray")
            gray = np.asarray(image.convert("L"))
    except (OSError, UnidentifiedImageError) as problem:
        raise InputError.of(path, f"not readable as an image ({problem})") from None
    stated = _stated_size(note)
    for value, actual in zip(stated, gray.shape[::-1], strict=True):
        if math.isfinite(value) and value > 0 and value != actual:
            actual_size = f"{gray.shape[1]} x {gray.shape[0]}"
            raise InputError.of(note, f"says {stated[0]:g} x {stated[1]:g} pixels, the image has {actual_size}")
    return gray_to_hu(gray, window_hu)


def _stated_size(note: Path) -> list[float]:
    """Width and height in pixels as the XML says, NaN where it does not."""
    texts = [ElementTree.parse(note).getroot().findtext(f"size/{key}") for key in ("width", "height")]
    try:
        return [float(text or math.nan) for text in texts]
    except ValueError:
        raise InputError.of(note, f"size is {texts}, expected numbers width, height in pixels") from None
