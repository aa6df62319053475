"""2D images with boxes in COCO JSON: 8- or 16-bit PNG or JPEG, NPY, DICOM, or the slices that lungct itself writes.

JSON files lie in the folder or its ``annotations/``; a name with train, val or test in it states the split of its
images. An image is looked for beside its JSON, in the folder, in ``images/``, and there in a folder named as the split.
Ids may be numbers or strings and categories may start at 0; both are numbered anew. Crowd regions and boxes without
area are left out and counted. Where no key ``lungct`` of ours says more, each image is its own patient.

Source: Lin et al., Microsoft COCO: common objects in context, ECCV 2014; boxes are x, y, w, h in pixel edges.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from lungct.errors import InputError
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, read_truth
from lungct.sources.pseudonym import Naming
from lungct.sources.slice_file import load_slice
from lungct.sources.source import Contents, SourceOptions
from lungct.sources.told import naming_of
from lungct.types import SliceImage

logger = logging.getLogger("lungct")
NAME = "coco2d"
_START = re.compile(r'\s*\{\s*"(info|licenses|categories|annotations|images)"\s*:')
_SPLIT = re.compile(r"(?:^|[^a-z])(train|val|test)", re.IGNORECASE)


@dataclass(frozen=True)
class _Found:
    """One image of a JSON with its file."""

    image: CocoImage
    file: Path
    truth: CocoTruth
    split: str


def recognises(path: Path) -> bool:
    """Whether a JSON file begins as COCO does."""
    return path.is_dir() and next(_tables(path), None) is not None


def read(path: Path, options: SourceOptions) -> Contents:
    """Every image that is there, with or without boxes.

    Raises:
        InputError: a broken JSON, or no image of any in the folder.
    """
    truths = {table: read_truth(table) for table in _tables(path)}
    found = [
        _Found(image, file, truth, split)
        for table, truth in truths.items()
        for split in [_split_of(table)]
        for image in truth.images
        for file in [_file_of(image, truth.root, path, split)]
        if file is not None
    ]
    total = sum(len(truth.images) for truth in truths.values())
    if total and not found:
        raise InputError.of(path, f"none of the {total} images of its JSON is there", "put them into images/")
    unusable = sum(not _usable(one) for truth in truths.values() for one in truth.annotations)
    for count, what in ((total - len(found), "images are not there"), (unusable, "crowd or empty boxes left out")):
        if count:
            logger.warning("%s: %d %s", path, count, what)
    naming = naming_of(path, options.naming)
    named = zip(found, _names([one.file.relative_to(path) for one in found]), strict=True)
    return Contents(NAME, images=tuple(_image_of(one, name, options, naming) for one, name in named))


def _tables(path: Path) -> Iterator[Path]:
    for folder in (path, path / "annotations"):
        for file in sorted(folder.glob("*.json")):
            with open(file, encoding="utf-8-sig", errors="replace") as stream:
                if _START.match(stream.read(400)):
                    yield file


def _split_of(table: Path) -> str:
    found = _SPLIT.search(table.stem)
    return found[1].lower() if found else ""


def _file_of(image: CocoImage, beside: Path, path: Path, split: str) -> Path | None:
    if PurePosixPath(image.file_name).is_absolute() or ".." in PurePosixPath(image.file_name).parts:
        return None
    folders = (beside, path, path / "images", *((path / split, path / "images" / split) if split else ()))
    return next((file for folder in folders if (file := folder / image.file_name).is_file()), None)


def _usable(one: CocoAnnotation) -> bool:
    x1, y1, x2, y2 = one.box_xyxy_px
    return not one.iscrowd and x1 < x2 and y1 < y2


def _names(files: Sequence[Path]) -> list[str]:
    """The files' stems; of those that share one, their paths."""
    count = Counter(file.stem for file in files)
    paths = (file.with_suffix("").as_posix().removeprefix("images/") for file in files)
    return [file.stem if count[file.stem] == 1 else path for file, path in zip(files, paths, strict=True)]


def _image_of(one: _Found, name: str, options: SourceOptions, naming: Naming) -> SliceImage:
    image, said = one.image, one.image.lungct
    image_id = naming.published("image", name)
    case_id = naming.published("case", image.case_id) if "case_id" in said else image_id
    boxes = [note for note in one.truth.annotations_of[image.id] if _usable(note)]
    spacing = options.pixel_spacing_mm
    return SliceImage(
        image_id=image_id,
        patient_id=naming.published("patient", image.patient_id) if "patient_id" in said else case_id,
        case_id=case_id,
        load=partial(load_slice, one.file, options.window_hu, (image.width, image.height)),
        spacing_mm_xy=image.spacing_mm_xy or (None if spacing is None else (spacing, spacing)),
        boxes_xyxy_px=np.array([note.box_xyxy_px for note in boxes], dtype=np.float64).reshape(-1, 4),
        labels=tuple(one.truth.categories[note.category_id] for note in boxes),
        attributes=tuple(naming.attributes(note.attributes) for note in boxes),
        split=str(said.get("split", one.split)),
    )
