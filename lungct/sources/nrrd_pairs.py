"""Pairs of NRRD files: full CT slices in one folder, nodule crops of the same stems in another, and ``labels.csv``.

``labels.csv`` (``case,malignancy``, optionally ``patient``) rates each pair from 1 to 5. The folders may have any name;
the one with the larger images holds the slices. A crop is looked for in its slice, where it must lie exactly once, up
to one constant that all its values may be off by (HU in one, stored values in the other); the crop's border is the
nodule's box. Pairs with one and the same slice become one image with several boxes. Without a column ``patient`` each
slice is its own patient. A pixel spacing of exactly 1 x 1 is what a file without one reads as, so it counts as unknown.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungct.ct.locate import locate
from lungct.errors import InputError
from lungct.io.csv_table import Row, has_columns, read_table
from lungct.io.volume_file import NRRD_SUFFIXES, read_plane
from lungct.sources.slice_file import load_slice
from lungct.sources.source import Contents, SourceOptions
from lungct.types import SliceImage

logger = logging.getLogger("lungct")
NAME = "nrrd-pairs"
LABELS, COLUMNS = "labels.csv", ("case", "malignancy")
UNKNOWN_SPACING = (1.0, 1.0)


@dataclass(frozen=True)
class _Place:
    """Where a crop lies in its slice, and what tells that slice from others."""

    box_xyxy_px: tuple[float, float, float, float]
    spacing_mm_xy: tuple[float, float]
    digest: str


@dataclass(frozen=True)
class _Pair:
    """One crop and its slice; ``place`` is None where it is not found, which loading the slice then says."""

    full: Path
    crop: Path
    row: Row | None
    place: _Place | None


def recognises(path: Path) -> bool:
    """Whether there are the table and two folders of NRRD files that share a stem."""
    if not has_columns(path / LABELS, COLUMNS):
        return False
    stems = list(_folders(path).values())
    return len(stems) == 2 and bool(stems[0].keys() & stems[1].keys())


def read(path: Path, options: SourceOptions) -> Contents:
    """Every slice that has a crop. Both files of every pair are read, for only so the box is known.

    Raises:
        InputError: a broken table, other than two folders of NRRD files, or no stem in both.
    """
    rows = {row.text("case"): row for row in read_table(path / LABELS, COLUMNS)}
    folders = list(_folders(path).values())
    if len(folders) != 2 or not folders[0].keys() & folders[1].keys():
        raise InputError.of(path, f"{len(folders)} folders of NRRD files", "expected two, with files of equal stems")
    stems = sorted(folders[0].keys() & folders[1].keys())
    one, other = folders
    fulls, crops = (one, other) if _area(one[stems[0]]) > _area(other[stems[0]]) else (other, one)
    for what, count in (
        ("files without a partner", len(fulls.keys() ^ crops.keys())),
        ("pairs without a row", len(set(stems) - rows.keys())),
        ("rows without a pair", len(rows.keys() - set(stems))),
    ):
        if count:
            logger.warning("%s: %d %s", path / LABELS, count, what)
    by_slice: dict[str, list[_Pair]] = defaultdict(list)
    for stem in stems:
        pair = _pair_of(fulls[stem], crops[stem], rows.get(stem))
        by_slice[pair.place.digest if pair.place else stem].append(pair)
    return Contents(NAME, images=tuple(_image_of(pairs, options) for pairs in by_slice.values()))


def _folders(path: Path) -> dict[Path, dict[str, Path]]:
    found = {
        folder: {one.stem: one for one in sorted(folder.iterdir()) if one.suffix.lower() in NRRD_SUFFIXES}
        for folder in sorted(path.iterdir())
        if folder.is_dir()
    }
    return {folder: files for folder, files in found.items() if files}


def _area(path: Path) -> int:
    return int(read_plane(path)[0].size)


def _pair_of(full: Path, crop: Path, row: Row | None) -> _Pair:
    try:
        return _Pair(full, crop, row, _place_of(full, crop))
    except InputError:
        return _Pair(full, crop, row, None)


def _place_of(full: Path, crop: Path) -> _Place:
    (image, spacing), (part, _) = read_plane(full), read_plane(crop)
    found = locate(part, image)
    if len(found) != 1:
        problem = "lies in its slice more than once" if len(found) else "is no part of its slice"
        raise InputError.of(crop, f"the crop {problem}", "crops must be cut out of the slice and not be resampled")
    top, left = (float(value) for value in found[0])
    box = (left, top, left + part.shape[1], top + part.shape[0])
    return _Place(box, spacing, hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).hexdigest())


def _refuse(full: Path, crop: Path) -> NDArray[np.int16]:
    """Says why the crop was not found."""
    _place_of(full, crop)
    raise InputError.of(crop, "the crop was not in its slice a moment ago", "do not change files while they are read")


def _image_of(pairs: list[_Pair], options: SourceOptions) -> SliceImage:
    """Of pairs with the same slice, or of one pair whose crop was not found."""
    first = pairs[0]
    found = [(pair.place, pair.row) for pair in pairs if pair.place]
    image_id = options.naming.published("image", first.full.stem)
    patients = {pair.row.text("patient") for pair in pairs if pair.row and pair.row.text("patient")}
    if len(patients) > 1:
        raise InputError.of(first.full, f"the same slice is of {len(patients)} patients in {LABELS}")
    spacing = options.pixel_spacing_mm
    spacing_xy = None if spacing is None else (spacing, spacing)
    if found and found[0][0].spacing_mm_xy != UNKNOWN_SPACING:
        spacing_xy = found[0][0].spacing_mm_xy
    return SliceImage(
        image_id=image_id,
        patient_id=options.naming.published("patient", patients.pop()) if patients else image_id,
        case_id=image_id,
        load=partial(load_slice, first.full, options.window_hu) if found else partial(_refuse, first.full, first.crop),
        spacing_mm_xy=spacing_xy,
        boxes_xyxy_px=np.array([place.box_xyxy_px for place, _ in found], dtype=np.float64).reshape(-1, 4),
        labels=("nodule",) * len(found),
        attributes=tuple(_rating(row) for _, row in found),
    )


def _rating(row: Row | None) -> dict[str, float]:
    if row is None or not row.text("malignancy"):
        return {}
    rating = row.number("malignancy", "a rating from 1 to 5")
    if not 1 <= rating <= 5:
        raise row.broken(f"malignancy is {rating:g}, expected a rating from 1 to 5")
    return {"malignancy": rating}
