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
from lungct.registry import SPLITS
from lungct.sources.csv_frame import placed
from lungct.sources.pseudonym import Naming, same_spelling
from lungct.sources.scan_files import identifiers, scan_files
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
        InputError: a broken CSV, or no scan below ``path``; coordinates in another frame than ``options`` say.
    """
    naming = naming_of(path, options.naming)
    scans = annotated_scans(scan_files(path), path / ANNOTATIONS, NAME, naming)
    return Contents(NAME, told(placed(scans, options.csv_frame, path / ANNOTATIONS, sizes=True), path))


def annotated_scans(
    files: list[Path], annotations: Path, source: str, naming: Naming, *, all_files: bool = True
) -> tuple[Scan, ...]:
    """A record per volume file, with its rows in a CSV of the DLCS24 columns.

    With ``all_files`` the files are a whole folder, and rows of scans that are not in it are counted.

    Raises:
        InputError: see :func:`lungct.io.boxes_csv.read_nodules`; two patients or splits, or one nodule_id twice, in the
            rows of one scan; several files of a row's name; no annotated scan among the files.
    """
    rows: dict[str, list[Nodule]] = defaultdict(list)
    for nodule in read_nodules(annotations, source=source):
        rows[same_spelling(nodule.case_id)].append(nodule)
    stems = Counter(same_spelling(volume_stem(file)) for file in files)
    absent = rows.keys() - stems.keys() if all_files else set()
    if rows and len(absent) == len(rows):
        first = naming.published("case", next(iter(rows)))
        hint = f"the CSV's first scan is {first}; file names must be those of the column ct_nifti_file"
        raise InputError.of(annotations, "none of its scans is in the folder", hint)
    if absent:
        logger.warning("%s: %d of %d annotated scans are not in the folder", annotations, len(absent), len(rows))
    known = identifiers(files, annotations.parent)
    scans = []
    for file in files:
        stem = same_spelling(volume_stem(file))
        case_id = naming.published("case", known[file])
        if stem in rows and stems[stem] > 1:
            problem = f"{stems[stem]} files in the folder have the name of one scan, {naming.published('case', stem)}"
            raise InputError.of(annotations, problem, "file names that rows speak of must differ over all subfolders")
        scans.append(_scan_of(file, case_id, rows.get(stem, []), annotations, source, naming))
    return tuple(scans)


def _scan_of(file: Path, case_id: str, nodules: list[Nodule], annotations: Path, source: str, naming: Naming) -> Scan:
    for split in {nodule.split for nodule in nodules}:
        if split and not split.lower().startswith(SPLITS):
            hint = f"expected one of {', '.join(SPLITS)}, or empty"
            raise InputError.of(annotations, f"{case_id}: benchmark_split is {split!r}", hint)
    patients = {naming.published("patient", one.patient_id) if one.patient_id else case_id for one in nodules}
    for what, values in (("patients", patients), ("splits", {n.split for n in nodules})):
        if len(values) > 1:
            raise InputError.of(annotations, f"{case_id} has {len(values)} {what}: {', '.join(sorted(values))}")
    for nodule_id, count in Counter(n.nodule_id for n in nodules).items():
        if count > 1:
            shown = naming.published("nodule", nodule_id)
            problem = f"{case_id} has two rows with one nodule_id, {shown!r}"
            raise InputError.of(annotations, problem, "number its nodules")
    patient_id = patients.pop() if patients else case_id
    names = naming.nodules(case_id, [nodule.nodule_id for nodule in nodules])
    return Scan(
        case_id=case_id,
        patient_id=patient_id,
        load=partial(read_volume, file),
        nodules=tuple(
            replace(
                nodule,
                case_id=case_id,
                patient_id=patient_id,
                nodule_id=name,
                source=nodule.source if naming.keep_ids else source,
                attributes=naming.attributes(nodule.attributes),
            )
            for nodule, name in zip(nodules, names, strict=True)
        ),
        split=nodules[0].split if nodules else "",
        source=source,
    )
