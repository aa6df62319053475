"""A folder of NIfTI, MHD, MHA or NRRD volumes, or one of them, with or without ``nodules.csv`` (DLCS24 columns).

What ``lungct preprocess`` writes is read here too; its manifest tells patient, split and source of scans that have no
row in ``nodules.csv``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lungct.io.atomic import MANIFEST
from lungct.io.manifest import SCAN_SCHEMA, read_manifest
from lungct.io.volume_file import read_volume, volume_stem, volume_suffix
from lungct.sources.dlcs import annotated_scans
from lungct.sources.scan_files import scan_files
from lungct.sources.source import Contents, SourceOptions
from lungct.types import Scan

NAME = "volumes"
NODULES = "nodules.csv"


def recognises(path: Path) -> bool:
    """Whether ``path`` is a volume by its name, or a folder with one in it."""
    return bool(volume_suffix(path.name)) if path.is_file() else next(iter(scan_files(path)), None) is not None


def read(path: Path, options: SourceOptions) -> Contents:
    """Every volume; where there is no ``nodules.csv`` nothing is known about nodules.

    Raises:
        InputError: a broken CSV or manifest.
    """
    files = [path] if path.is_file() else scan_files(path)
    annotations = (path.parent if path.is_file() else path) / NODULES
    if annotations.is_file() and files:
        scans = annotated_scans(files, annotations, NAME, all_files=path.is_dir())
    else:
        scans = tuple(_bare(file) for file in files)
    facts = _manifest_facts(path) if path.is_dir() else {}
    return Contents(NAME, tuple(_told(scan, facts.get(scan.case_id, {})) for scan in scans))


def _bare(file: Path) -> Scan:
    stem = volume_stem(file)
    return Scan(stem, stem, partial(read_volume, file), source=NAME, truth_known=False)


def _manifest_facts(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    if not (folder / MANIFEST).is_file():
        return {}
    return {one["case_id"]: one for one in read_manifest(folder) if one.get("schema") == SCAN_SCHEMA}


def _told(scan: Scan, facts: Mapping[str, Any]) -> Scan:
    """What the manifest says, where the CSV says nothing; a scan with a row has a truth whatever the manifest says."""
    return replace(
        scan,
        patient_id=scan.patient_id if scan.nodules else str(facts.get("patient_id", scan.patient_id)),
        split=scan.split or str(facts.get("split", "")),
        source=str(facts.get("source", scan.source)),
        truth_known=bool(scan.nodules) or bool(facts.get("truth_known", scan.truth_known)),
    )
