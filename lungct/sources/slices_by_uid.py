"""The 2D slice files of a folder tree by what annotations call them: SOPInstanceUID, or the file's own stem."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lungct.errors import InputError
from lungct.io.dicom import SliceHeader, read_headers
from lungct.sources.slice_file import DICOM_SUFFIXES, SLICE_SUFFIXES

logger = logging.getLogger("lungct")
_NAMED = tuple(suffix for suffix in SLICE_SUFFIXES if suffix not in DICOM_SUFFIXES)


@dataclass(frozen=True)
class SliceFile:
    """One file; ``header`` where it is DICOM."""

    path: Path
    header: SliceHeader | None = None

    @property
    def spacing_mm_xy(self) -> tuple[float, float] | None:
        """Its own pixel spacing, None where the format has none."""
        return None if self.header is None else self.header.spacing_mm_xy


def slices_by_uid(path: Path) -> dict[str, SliceFile]:
    """Every slice file below ``path``; DICOM files by their SOPInstanceUID whatever they are called, others by stem."""
    named = {one.stem: SliceFile(one) for one in sorted(path.rglob("*")) if one.suffix.lower() in _NAMED}
    headers, _ = read_headers(path)
    return named | {one.sop_uid: SliceFile(one.path, one) for one in headers if one.sop_uid}


def refuse_absent_slices(wanted: Collection[str], found: Collection[str], table: Path) -> None:
    """Count the annotated slices that are not there.

    Raises:
        InputError: none of them is.
    """
    absent = len(set(wanted).difference(found))
    if absent == len(wanted):
        hint = "files must be DICOM with that SOPInstanceUID, or be named by it"
        raise InputError.of(table, f"none of its {len(wanted)} slices is in the folder", hint)
    if absent:
        logger.warning("%s: %d of %d annotated slices are not in the folder", table.parent, absent, len(wanted))
