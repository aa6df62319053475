"""Boxes on scans of the National Lung Screening Trial, in the three forms in which they are passed on.

- A slice CSV ``pid,dcm_series,uid_slice,x,y,width,height``: see :mod:`lungct.sources.nlst_slices`.
- The JSON of Sybil's authors: see :mod:`lungct.sources.nlst_sybil`.
- A 3D CSV ``seriesuid,coordX,coordY,coordZ,diameter_mm`` under any name, with volumes named by their series or DICOM
  series below the folder. A nodule becomes a cube of its diameter; the published boxes are loose. The table speaks of
  series with a cancer only, so of a scan without a row nothing is known. It names no participant: of volumes each is
  taken for a patient of its own, DICOM tells.

The boxes of all three are of lesions in the place of a cancer found within the year, so each is malignant. NLST's
six-digit participant numbers are public and stay.

Source: National Lung Screening Trial Research Team, NEJM 365, 2011; Mikhael et al., Sybil, J Clin Oncol 41, 2023, for
the boxes; Tushar et al., arXiv 2405.04605, for the 3D ones.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

from lungct.errors import InputError
from lungct.io.csv_table import has_columns
from lungct.io.points_csv import POINT_COLUMNS
from lungct.io.volume_file import read_volume, volume_stem
from lungct.sources import dicom_series, nlst_slices, nlst_sybil
from lungct.sources.csv_frame import placed
from lungct.sources.points import cubes, nodule_points, refuse_absent
from lungct.sources.scan_files import scan_files
from lungct.sources.source import Contents, SourceOptions
from lungct.types import Scan

NAME = "nlst"
logger = logging.getLogger("lungct")


def recognises(path: Path) -> bool:
    """Whether a table of one of the three forms is in the folder."""
    return path.is_dir() and bool(_tables(path))


def read(path: Path, options: SourceOptions) -> Contents:
    """The annotated slices, or for the 3D CSV every scan.

    Raises:
        InputError: no table or several, a broken one, nothing that it speaks of in the folder.
    """
    tables = _tables(path)
    if len(tables) != 1:
        found = ", ".join(sorted(one.name for one in tables)) or "none"
        hint = "expected one slice CSV, Sybil JSON or 3D CSV; leave one in the folder"
        raise InputError.of(path, f"tables of boxes in it: {found}", hint)
    ((table, form),) = tables.items()
    if form == "slices":
        return Contents(NAME, images=nlst_slices.read(path, table, options))
    if form == "sybil":
        return Contents(NAME, images=nlst_sybil.read(path, table, options))
    return Contents(NAME, _scans(path, table, options))


def _tables(path: Path) -> dict[Path, str]:
    """Table -> its form; a table of findings to exclude has the columns of the 3D CSV and is none."""
    found = {one: "slices" for one in path.glob("*.csv") if has_columns(one, nlst_slices.COLUMNS)}
    points = (one for one in path.glob("*.csv") if "excluded" not in one.name and has_columns(one, POINT_COLUMNS))
    sybil = (one for one in path.glob("*.json") if nlst_sybil.is_sybil(one))
    return found | dict.fromkeys(points, "points") | dict.fromkeys(sybil, "sybil")


def _scans(path: Path, table: Path, options: SourceOptions) -> tuple[Scan, ...]:
    """Series are matched by the name that their UID gets, which DICOM series have already."""
    naming = options.naming
    points = {naming.published("case", uid): rows for uid, rows in nodule_points(table).items()}
    scans = [_scan_of(file, options) for file in scan_files(path)]
    if len(scans) > 1:
        logger.warning("%s: no participant is named, scans of one may fall into different splits", table)
    scans = scans or list(dicom_series.read(path, options).scans)
    refuse_absent(points.keys(), {scan.case_id for scan in scans}, table)
    annotated = [
        replace(
            scan,
            nodules=cubes(points.get(scan.case_id, ()), scan.case_id, scan.patient_id, malignant=1, source=NAME),
            source=NAME,
            truth_known=scan.case_id in points,
        )
        for scan in scans
    ]
    return placed(annotated, options.csv_frame, table, sizes=False)


def _scan_of(file: Path, options: SourceOptions) -> Scan:
    case_id = options.naming.published("case", volume_stem(file))
    return Scan(case_id, case_id, partial(read_volume, file))
