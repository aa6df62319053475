"""Write a cohort of phantoms as a dataset in the DLCS24 layout: scans, annotations, split, and masks on request."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lungct.errors import UsageError
from lungct.io import boxes_csv
from lungct.io.atomic import MANIFEST, check_replaceable, staged_folder
from lungct.io.manifest import SCAN_SCHEMA, sha256_of, write_manifest
from lungct.io.nifti import write_nifti
from lungct.phantom.sampling import MEDIAN_MM, has_nodules
from lungct.phantom.scan import Phantom, render_phantom
from lungct.registry import SPLITS
from lungct.types import Nodule, Progress, no_progress

ANNOTATIONS = "DLCSD24_Annotations.csv"
SOURCE = "phantom"
SHARES = (0.60, 0.15, 0.25)
"""Of the patients in train, val and test."""
BYTES_PER_VOXEL = 1.25
"""Of a compressed scan, measured; only for the estimate of a dry run."""


@dataclass(frozen=True)
class PhantomOptions:
    """What to write.

    Attributes:
        patients: one scan each; one in eight has no nodule.
        size: pixels along x and y.
        slices: along z.
        median_mm: median diameter that nodules are drawn with.
        masks: also write ``masks/<patient>.nii.gz``, where label i is the patient's i-th nodule.
        seed: a scan depends on it and on the patient's number, and on nothing else.
    """

    patients: int = 8
    size: int = 256
    slices: int = 120
    median_mm: float = MEDIAN_MM
    masks: bool = False
    seed: int = 0

    def plan(self) -> dict[str, Any]:
        """What :func:`write_phantoms` would write: counts, files and an estimate of their bytes."""
        scans = [f"{patient_id(index)}.nii.gz" for index in range(self.patients)]
        masks = [f"masks/{name}" for name in scans] if self.masks else []
        splits = [split_of(index) for index in range(self.patients)]
        return {
            "patients": self.patients,
            "patients_with_nodules": sum(has_nodules(self.seed, index) for index in range(self.patients)),
            "splits": {name: splits.count(name) for name in SPLITS},
            "files": [*scans, *masks, ANNOTATIONS, MANIFEST],
            "bytes_estimate": int(self.patients * self.slices * self.size**2 * BYTES_PER_VOXEL),
        }


def patient_id(index: int) -> str:
    """Name of the patient, which is also the stem of the scan."""
    return f"PHANTOM_{index + 1:04d}"


def split_of(index: int) -> str:
    """Split of a patient: each goes where the share lags most, so any prefix of patients is split about 60/15/25."""
    counts = [0.0, 0.0, 0.0]
    best = 0
    for done in range(1, index + 2):
        lag = [share * done - count for share, count in zip(SHARES, counts, strict=True)]
        best = max(range(3), key=lag.__getitem__)
        counts[best] += 1
    return SPLITS[best]


def write_phantoms(
    out: Path, options: PhantomOptions, *, workers: int = 0, overwrite: bool = False, progress: Progress = no_progress
) -> dict[str, Any]:
    """Write the dataset into a new folder; returns counts. Any number of workers writes the same bytes.

    Raises:
        UsageError: fewer than one patient, or a volume too small to hold a nodule.
        OutputExists: ``out`` holds something and ``overwrite`` is false.
    """
    if options.patients < 1 or options.size < 32 or options.slices < 8:
        raise UsageError(
            f"{options.patients} patients of {options.size} x {options.size} x {options.slices}",
            "needed is at least 1 patient of 32 x 32 x 8",
        )
    check_replaceable(out, overwrite=overwrite, command="phantom")
    nodules: list[Nodule] = []
    records: list[dict[str, Any]] = []
    with staged_folder(out, command="phantom", overwrite=overwrite) as staging:
        for found, record in _each(partial(_write_patient, staging, options), options.patients, workers):
            nodules += found
            records.append(record)
            progress("phantoms", len(records), options.patients)
        boxes_csv.write_nodules(staging / ANNOTATIONS, nodules, extra=False)
        write_manifest(staging, "phantom", asdict(options), records)
    bearing = sum(record["nodules"] > 0 for record in records)
    return {"patients": len(records), "patients_with_nodules": bearing, "nodules": len(nodules)}


def _each(write: Any, count: int, workers: int) -> Iterator[tuple[list[Nodule], dict[str, Any]]]:
    if workers < 1:
        yield from map(write, range(count))
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(write, range(count))


def _write_patient(folder: Path, options: PhantomOptions, index: int) -> tuple[list[Nodule], dict[str, Any]]:
    sizes = {"size": options.size, "slices": options.slices}
    phantom = render_phantom(options.seed, index, median_mm=options.median_mm, **sizes)
    name = patient_id(index)
    path = folder / f"{name}.nii.gz"
    write_nifti(path, phantom.volume, durable=False, reorient=False)
    if options.masks:
        write_nifti(folder / "masks" / path.name, phantom.labels, durable=False, reorient=False)
    return _nodules(name, index, phantom), _record(path, index, phantom)


def _nodules(name: str, index: int, phantom: Phantom) -> list[Nodule]:
    return [
        Nodule(
            nodule_id=f"{name}_{number:02d}",
            patient_id=name,
            case_id=name,
            center_lps_mm=placed.center_lps_mm,
            size_mm=placed.size_mm,
            malignant=placed.draw.malignant,
            split=split_of(index),
            source=SOURCE,
        )
        for number, placed in enumerate(phantom.nodules, 1)
    ]


def _record(path: Path, index: int, phantom: Phantom) -> dict[str, Any]:
    grid, hu = phantom.volume.grid, phantom.volume.hu
    return {
        "schema": SCAN_SCHEMA,
        "case_id": patient_id(index),
        "patient_id": patient_id(index),
        "path": path.name,
        "sha256": sha256_of(path),
        "source": SOURCE,
        "split": split_of(index),
        "truth_known": True,
        "spacing_mm": list(grid.spacing_mm_zyx[::-1]),
        "shape": list(grid.shape_zyx[::-1]),
        "hu_range": [int(hu.min()), int(hu.max())],
        "nodules": len(phantom.nodules),
        "drawn": [
            {"place": one.draw.place, "kind": one.draw.kind, "spiculation": round(one.draw.spiculation, 4)}
            | {"diameter_mm": round(one.draw.diameter_mm, 4), "hu": round(one.draw.hu, 1)}
            for one in phantom.nodules
        ],
    }
