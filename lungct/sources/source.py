"""One dataset layout in, records out: finds which layout a folder has and reads its scans or slice images."""

from __future__ import annotations

import importlib
import logging
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, cast

from lungct.errors import InputError
from lungct.registry import CSV_FRAMES, LIDC_READERS, MISSING_SLICES, SOURCES, VOC_CORNERS
from lungct.sources.hidden import Hiding, hidden_load, hiding
from lungct.sources.pseudonym import KEY_VARIABLE, Naming
from lungct.types import Scan, SliceImage

logger = logging.getLogger("lungct")
_SAFE_NAME = re.compile(r"[^\W.][\w.+-]*", re.ASCII)


@dataclass(frozen=True)
class SourceOptions:
    """What the files of a source do not say themselves.

    Attributes:
        window_hu: HU of gray 0 and gray 255.
        pixel_spacing_mm: distance between pixel centres; None unknown.
        voc_corners: what xmin and xmax stand for, see :mod:`lungct.sources.voc2d`.
        csv_frame: what the coordinates of a nodule table are, one of ``CSV_FRAMES``.
        naming: how identifiers become names.
        lidc_readers: how many readers of LIDC-IDRI must have drawn a nodule.
        missing_slices: what is done with a DICOM series that has gaps, one of ``MISSING_SLICES``.
    """

    window_hu: tuple[int, int] = (-1000, 400)
    pixel_spacing_mm: float | None = None
    voc_corners: str = VOC_CORNERS[0]
    csv_frame: str = CSV_FRAMES[0]
    naming: Naming = field(default_factory=Naming)
    lidc_readers: int = LIDC_READERS
    missing_slices: str = MISSING_SLICES[0]

    @property
    def fill_gaps(self) -> bool:
        """Whether slices that are missing from a DICOM series are interpolated."""
        return self.missing_slices == "interpolate"


@dataclass(frozen=True, eq=False)
class Contents:
    """What a source holds: scans, or 2D slice images, never both."""

    name: str
    scans: tuple[Scan, ...] = ()
    images: tuple[SliceImage, ...] = ()


class Layout(Protocol):
    """What each module of a layout offers."""

    def recognises(self, path: Path) -> bool:
        """Whether ``path`` looks like this layout; cheap."""

    def read(self, path: Path, options: SourceOptions) -> Contents:
        """Find every scan or image; voxels are read later, by each record's ``load``."""


def read_source(path: Path, name: str | None = None, options: SourceOptions = SourceOptions()) -> Contents:
    """Read a source; without ``name`` the first layout of the registry that recognises ``path``.

    Errors, here and of each record's ``load``, name files below ``path`` by pseudonyms as the records are named.

    Raises:
        InputError: no such path, no layout fits, nothing in it, a case id that is taken twice or no file name.
    """
    if not path.exists():
        raise InputError.of(path, "no such file or folder")
    where = Hiding(path, options.naming)
    with hiding(where):
        name = name or next((one for one in SOURCES if _layout(one).recognises(path)), None)
        if name is None:
            hint = f"known layouts: {', '.join(SOURCES)}"
            raise InputError.of(path, "no scans of a known layout in it", hint)
        contents = _layout(name).read(path, options)
    if not contents.scans and not contents.images:
        raise InputError.of(path, f"nothing to read in it as '{name}' ({SOURCES[name].summary})")
    _check_names([scan.case_id for scan in contents.scans], "case id", path)
    _check_names([image.image_id for image in contents.images], "image id", path)
    if not options.naming.keep_ids and not options.naming.has_key:
        logger.info("pseudonyms have no key; set %s or --key-file before sharing the output", KEY_VARIABLE)
    return replace(
        contents,
        scans=tuple(replace(scan, load=hidden_load(scan.load, where)) for scan in contents.scans),
        images=tuple(replace(image, load=hidden_load(image.load, where)) for image in contents.images),
    )


def _layout(name: str) -> Layout:
    return cast(Layout, importlib.import_module(SOURCES[name].module))


def _check_names(names: list[str], what: str, path: Path) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            hint = "file names must differ over all subfolders; rename one or preprocess the folders one by one"
            raise InputError.of(path, f"{count} files have the {what} {name!r}", hint)
        if not _SAFE_NAME.fullmatch(name):
            hint = "use letters, digits, '.', '_', '+', '-' in file names"
            raise InputError.of(path, f"{what} {name!r} cannot name a file", hint)
