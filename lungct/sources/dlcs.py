"""The DLCS24 layout: NIfTI scans, flat or in subfolders, and ``DLCSD24_Annotations.csv`` with boxes in LPS mm.

Scans without a row are first-class: free of nodules; their patient is named by their file, unless a manifest of ours
lies beside the CSV.

Source: Duke Lung Cancer Screening dataset 2024 (1,613 scans, 2,487 nodules).
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

from lungct.errors import InputError
from lungct.io.boxes_csv import read_nodules
from lungct.io.volume_file import read_volume, volume_stem
from lungct.sources.pseudonym import Naming
from lungct.sources.scan_files import scan_files
from lungct.sources.source import Contents, SourceOptions
from lungct.sources.told import naming_of, told
from lungct.types import Nodule, Scan

logger = logging.getLogger("lungct")
NAME = "dlcs24"
ANNOTATIONS = "DLCSD24_Annotations.csv"


def recognises(path: Path) -> bool:
    """Whether the CSV is there under its own name."""
    return (path / ANNOTATIONS).is_file()


def read(path: Path, options: SourceOptions) -> Contents:
    """Every NIfTI below ``path`` with the nodules of its rows.

    Raises:
        InputError: a broken CSV, or no scan below ``path``.
    """
    naming = naming_of(path, options.naming)
    return Contents(NAME, told(annotated_scans(scan_files(path), path / ANNOTATIONS, NAME, naming), path))


def annotated_scans(
    files: list[Path], annotations: Path, source: str, naming: Naming, *, all_files: bool = True
) -> tuple[Scan, ...]:
    """A record per volume file, with its rows in a CSV of the DLCS24 columns.

    With ``all_files`` the files are a whole folder, and rows of scans that are not in it are counted.

    Raises:
        InputError: see :func:`lungct.io.boxes_csv.read_nodules`; two patients or splits, or one nodule_id twice, in the
            rows of one scan; no annotated scan among the files.
    """
    rows: dict[str, list[Nodule]] = defaultdict(list)
    for nodule in read_nodules(annotations, source=source):
        rows[nodule.case_id].append(nodule)
    absent = rows.keys() - {volume_stem(file) for file in files} if all_files else set()
    if rows and len(absent) == len(rows):
        hint = f"the CSV's first scan is {next(iter(rows))}; file names must be those of the column ct_nifti_file"
        raise InputError.of(annotations, "none of its scans is in the folder", hint)
    if absent:
        logger.warning("%s: %d of %d annotated scans are not in the folder", annotations, len(absent), len(rows))
    return tuple(_scan_of(file, rows.get(volume_stem(file), []), annotations, source, naming) for file in files)


def _scan_of(file: Path, nodules: list[Nodule], annotations: Path, source: str, naming: Naming) -> Scan:
    stem = volume_stem(file)
    case_id = naming.published("case", stem)
    for what, values in (("patients", {n.patient_id for n in nodules}), ("splits", {n.split for n in nodules})):
        if len(values) > 1:
            raise InputError.of(annotations, f"{stem} has {len(values)} {what}: {', '.join(sorted(values))}")
    for nodule_id, count in Counter(n.nodule_id for n in nodules).items():
        if count > 1:
            problem = f"{stem} has two rows with one nodule_id, {nodule_id!r}"
            raise InputError.of(annotations, problem, "number its nodules")
    named = tuple(
        replace(
            nodule,
            case_id=case_id,
            patient_id=naming.published("patient", nodule.patient_id),
            nodule_id=naming.published("nodule", nodule.nodule_id),
        )
        for nodule in nodules
    )
    return Scan(
        case_id=case_id,
        patient_id=named[0].patient_id if named else case_id,
        load=partial(read_volume, file),
        nodules=named,
        split=nodules[0].split if nodules else "",
        source=source,
    )
