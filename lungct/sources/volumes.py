"""A folder of NIfTI, MHD, MHA or NRRD volumes, or one of them, with or without ``nodules.csv`` (DLCS24 columns).

What ``lungct preprocess`` writes is read here too; its manifest tells patient, split and source of scans that have no
row in ``nodules.csv``.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from lungct.errors import InputError
from lungct.io.volume_file import read_volume, volume_suffix
from lungct.sources import dicom_series
from lungct.sources.csv_frame import placed
from lungct.sources.dlcs import annotated_scans
from lungct.sources.excluded import EXCLUDED, with_excluded
from lungct.sources.pseudonym import Naming
from lungct.sources.scan_files import has_scan_files, identifiers, scan_files
from lungct.sources.source import Contents, SourceOptions
from lungct.sources.told import naming_of, told
from lungct.types import Scan

logger = logging.getLogger("lungct")
NAME = "volumes"
NODULES = "nodules.csv"


def recognises(path: Path) -> bool:
    """Whether ``path`` is a volume by its name, or a folder with one in it."""
    return bool(volume_suffix(path.name)) if path.is_file() else has_scan_files(path)


def read(path: Path, options: SourceOptions) -> Contents:
    """Every volume; where there is no ``nodules.csv`` nothing is known about nodules.

    Raises:
        InputError: a broken CSV or manifest; coordinates in another frame than ``options`` say; no ``nodules.csv``
            though the manifest says that nodules were looked for.
    """
    if path.is_dir() and dicom_series.recognises(path):
        logger.warning("%s: DICOM files among the volumes are left out; --source dicom reads them alone", path)
    naming = naming_of(path, options.naming)
    folder = path if path.is_dir() else path.parent
    files = scan_files(path) if path.is_dir() else [path]
    table = (folder / NODULES).is_file()
    if table and files:
        scans = annotated_scans(files, folder / NODULES, NAME, naming, all_files=path.is_dir())
        scans = with_excluded(placed(scans, options.csv_frame, folder / NODULES, sizes=True), folder / EXCLUDED)
    else:
        scans = tuple(_bare(file, name, naming) for file, name in identifiers(files, folder).items())
    if path.is_dir():
        scans = told(scans, path)
    if not table and any(scan.truth_known for scan in scans):
        hint = "restore it, or preprocess anew: without it every slice would count as free of nodules"
        raise InputError.of(folder / NODULES, "missing, though the manifest says that nodules were looked for", hint)
    return Contents(NAME, scans)


def _bare(file: Path, identifier: str, naming: Naming) -> Scan:
    case_id = naming.published("case", identifier)
    return Scan(case_id, case_id, partial(read_volume, file), source=NAME, truth_known=False)
