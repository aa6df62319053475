"""A source of volumes -> ``scans/<case_id>.nii.gz`` on one orientation, spacing and HU range, and ``nodules.csv``.

Findings that are to be left out of an evaluation go to ``excluded.csv``, where the source has any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lungct.ct.enhance import Enhancement, enhance
from lungct.ct.frame import in_tissue, inside, tissue_counts
from lungct.ct.geometry import half_extents_index, to_canonical
from lungct.ct.resample import resample
from lungct.errors import InputError
from lungct.io.boxes_csv import NIFTI_SUFFIX, write_nodules
from lungct.io.manifest import SCAN_SCHEMA, files_of, grid_facts, sha256_of
from lungct.io.nifti import write_nifti
from lungct.io.points_csv import write_points
from lungct.preprocessing.cases import Ledger, Outcome, Record, Running, run_cases
from lungct.preprocessing.input_key import scan_key
from lungct.preprocessing.lungs import LungOptions, with_lungs, write_lungs
from lungct.preprocessing.scan_warnings import warn_of_scans
from lungct.registry import CSV_FRAMES, SPACING_MM_XYZ
from lungct.sources.excluded import EXCLUDED
from lungct.types import BoolArray, Nodule, Scan, Triple, Volume

NODULES = "nodules.csv"


@dataclass(frozen=True)
class VolumeOptions:
    """The output grid, and the lungs on it.

    Attributes:
        spacing_mm_xyz: distance between voxel centres; None keeps each scan's own.
    """

    spacing_mm_xyz: Triple | None = SPACING_MM_XYZ
    lungs: LungOptions = field(default_factory=LungOptions)


@dataclass(frozen=True)
class _Work:
    ledger: Ledger
    options: VolumeOptions
    hu_clip: tuple[int, int]
    enhancement: Enhancement
    csv_frame: str
    resume: bool

    def __call__(self, scan: Scan) -> Record:
        key = scan_key(scan)
        found = self.ledger.finished(scan.case_id, key) if self.resume else None
        if found is not None:
            return found
        record = self._write(scan)
        self.ledger.store(scan.case_id, key, record, files_of(record))
        return record

    def _write(self, scan: Scan) -> Record:
        raw = scan.load()
        if raw.hu.dtype.kind == "f" and not np.isfinite(raw.hu).any():
            raise InputError(f"{scan.case_id}: no voxel is a finite number")
        spacing_xyz = self.options.spacing_mm_xyz
        canonical = to_canonical(raw)
        volume = resample(canonical, None if spacing_xyz is None else spacing_xyz[::-1], self.hu_clip)
        volume, lungs = with_lungs(canonical, volume, self.options.lungs)
        if not self.enhancement.does_nothing:
            for plane in volume.hu:
                plane[:] = enhance(plane, self.hu_clip, self.enhancement)
        path = f"scans/{scan.case_id}{NIFTI_SUFFIX}"
        write_nifti(self.ledger.staging / path, volume, durable=False)
        grid = volume.grid
        centers = np.array([nodule.center_lps_mm for nodule in scan.nodules]).reshape(-1, 3)
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
            "source_grid": grid_facts(scan.source_grid or raw.grid),
            "hu_range": [int(volume.hu.min()), int(volume.hu.max())],
            "nodules": len(scan.nodules),
            "qc": {
                "input_spacing_mm": list(raw.grid.spacing_mm_zyx[::-1]),
                "input_shape": list(raw.grid.shape_zyx[::-1]),
                "filled_slices": list(raw.filled_z),
                "nodules_on_filled": [one.nodule_id for one in scan.nodules if _meets(one, raw)],
                "nodules_outside": _ids(scan.nodules, ~inside(centers, grid)),
                "nodules_in_air": _ids(scan.nodules, ~in_tissue(centers, raw.hu, raw.grid)),
                "nodules_in_tissue": tissue_counts(centers, self.csv_frame, raw.hu, raw.grid),
            },
            **write_lungs(self.ledger.staging, scan.case_id, lungs, self.options.lungs, scan.nodules),
            **_attributes(scan, raw),
        }


def write_scans(
    ledger: Ledger,
    scans: Sequence[Scan],
    options: VolumeOptions,
    hu_clip: tuple[int, int],
    running: Running,
    *,
    enhancement: Enhancement = Enhancement(),
    csv_frame: str = CSV_FRAMES[0],
) -> tuple[Outcome, list[str]]:
    """Write every scan and the tables; returns the manifest records and the names of the tables.

    ``csv_frame`` is what the coordinates were before the source made them LPS mm, and only shapes a warning.
    """
    by_name = {scan.case_id: scan for scan in scans}
    work = _Work(ledger, options, hu_clip, enhancement, csv_frame, running.resume)
    outcome = run_cases("scans", work, by_name, running)
    warn_of_scans(outcome.records, csv_frame)
    kept = [by_name[record["case_id"]] for record in outcome.records]
    write_nodules(ledger.staging / NODULES, (nodule for scan in kept for nodule in scan.nodules))
    excluded = [(scan.case_id, finding) for scan in kept for finding in scan.excluded]
    if not excluded:
        return outcome, [NODULES]
    write_points(ledger.staging / EXCLUDED, excluded)
    return outcome, [NODULES, EXCLUDED]


def _attributes(scan: Scan, raw: Volume) -> Record:
    """What the source says of a scan, and how many of its slices are made up: every slice made from it carries that."""
    made_up = {"filled_slices": len(raw.filled_z)} if raw.filled_z else {}
    said = {**scan.attributes, **made_up}
    return {"attributes": said} if said else {}


def _meets(nodule: Nodule, raw: Volume) -> bool:
    """Whether a nodule's box reaches a slice that is made up."""
    center, half = raw.grid.to_index(nodule.center_lps_mm)[2], half_extents_index(nodule.size_mm, raw.grid)[2]
    return any(abs(z - center) <= half for z in raw.filled_z)


def _ids(nodules: Sequence[Nodule], which: BoolArray) -> list[str]:
    return [nodule.nodule_id for nodule, wanted in zip(nodules, which, strict=True) if wanted]
