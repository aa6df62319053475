"""A source of volumes -> ``scans/<case_id>.nii.gz`` on one orientation, spacing and HU range, and ``nodules.csv``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungct.ct.geometry import to_canonical
from lungct.ct.resample import resample
from lungct.errors import InputError
from lungct.io.boxes_csv import NIFTI_SUFFIX, write_nodules
from lungct.io.manifest import SCAN_SCHEMA, sha256_of
from lungct.io.nifti import write_nifti
from lungct.preprocessing.cases import Ledger, Outcome, Record, Running, run_cases
from lungct.preprocessing.input_key import scan_key
from lungct.registry import SPACING_MM_XYZ
from lungct.types import Grid, Nodule, Scan, Triple

logger = logging.getLogger("lungct")
NODULES = "nodules.csv"


@dataclass(frozen=True)
class VolumeOptions:
    """The output grid.

    Attributes:
        spacing_mm_xyz: distance between voxel centres; None keeps each scan's own.
    """

    spacing_mm_xyz: Triple | None = SPACING_MM_XYZ


@dataclass(frozen=True)
class _Work:
    ledger: Ledger
    spacing_mm_xyz: Triple | None
    hu_clip: tuple[int, int]
    resume: bool

    def __call__(self, scan: Scan) -> Record:
        key = scan_key(scan)
        found = self.ledger.finished(scan.case_id, key) if self.resume else None
        if found is not None:
            return found
        record = self._write(scan)
        self.ledger.store(scan.case_id, key, record, [record["path"]])
        return record

    def _write(self, scan: Scan) -> Record:
        raw = scan.load()
        if raw.hu.dtype.kind == "f" and not np.isfinite(raw.hu).any():
            raise InputError(f"{scan.case_id}: no voxel is a finite number")
        spacing_zyx = None if self.spacing_mm_xyz is None else self.spacing_mm_xyz[::-1]
        volume = resample(to_canonical(raw), spacing_zyx, self.hu_clip)
        path = f"scans/{scan.case_id}{NIFTI_SUFFIX}"
        write_nifti(self.ledger.staging / path, volume, durable=False)
        grid = volume.grid
        outside = [nodule.nodule_id for nodule in scan.nodules if not _inside(nodule, grid)]
        return {
            "schema": SCAN_SCHEMA,
            "case_id": scan.case_id,
            "patient_id": scan.patient_id,
            "path": path,
            "sha256": sha256_of(self.ledger.staging / path),
            "source": scan.source,
            "split": scan.split,
            "truth_known": scan.truth_known,
            "spacing_mm": list(grid.spacing_mm_zyx[::-1]),
            "shape": list(grid.shape_zyx[::-1]),
            "hu_range": [int(volume.hu.min()), int(volume.hu.max())],
            "nodules": len(scan.nodules),
            "qc": {
                "input_spacing_mm": list(raw.grid.spacing_mm_zyx[::-1]),
                "input_shape": list(raw.grid.shape_zyx[::-1]),
                "nodules_outside": outside,
            },
        }


def write_scans(
    ledger: Ledger, scans: Sequence[Scan], options: VolumeOptions, hu_clip: tuple[int, int], running: Running
) -> Outcome:
    """Write every scan and ``nodules.csv``; returns the manifest records."""
    by_name = {scan.case_id: scan for scan in scans}
    work = _Work(ledger, options.spacing_mm_xyz, hu_clip, running.resume)
    outcome = run_cases("scans", work, by_name, running)
    for record in outcome.records:
        for nodule_id in record["qc"]["nodules_outside"]:
            logger.warning("%s: the centre of nodule %s lies outside the scan", record["case_id"], nodule_id)
    nodules = [nodule for record in outcome.records for nodule in by_name[record["case_id"]].nodules]
    write_nodules(ledger.staging / NODULES, nodules)
    return outcome


def _inside(nodule: Nodule, grid: Grid) -> bool:
    index = grid.to_index(nodule.center_lps_mm)
    return bool(np.all(index >= -0.5) and np.all(index <= np.asarray(grid.shape_zyx[::-1]) - 0.5))
