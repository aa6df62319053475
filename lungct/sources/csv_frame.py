"""Nodule tables whose coordinates are not LPS mm: converted where the user says so, named where the scans tell."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from lungct.ct.frame import likely_frames, likely_unit, to_lps, voxels_to_mm
from lungct.errors import InputError, UsageError
from lungct.io.volume_file import read_grid
from lungct.types import FloatArray, Grid, Nodule, Scan, Triple

logger = logging.getLogger("lungct")
LOOK_AT = 64
_SAID = {"lps": "LPS mm", "ras": "RAS mm", "voxel": "voxels"}


def placed(scans: Sequence[Scan], frame: str, table: Path, *, sizes: bool) -> tuple[Scan, ...]:
    """The scans with their nodules and excluded findings in LPS mm, given in ``frame`` by the rows of ``table``.

    Up to 64 scans, evenly spread, are held against the table by their headers. With ``sizes`` the table has box sizes
    along x, y, z, which are in voxels where the coordinates are; without, it has diameters in mm.

    Raises:
        InputError: most centres lie outside their scans, and nearly all inside by another frame.
        UsageError: voxel coordinates of DICOM series, whose slices have no order of their own.
    """
    annotated = [scan for scan in scans if scan.nodules]
    known = {scan.case_id: grid for scan in annotated[:: -(-len(annotated) // LOOK_AT) or 1] if (grid := _grid_of(scan))}
    checked = [scan for scan in annotated if scan.case_id in known]
    _refuse_wrong_frame([(_centers(scan), known[scan.case_id]) for scan in checked], frame, table)
    found = tuple(scans) if frame == "lps" else tuple(_converted(scan, frame, sizes=sizes) for scan in scans)
    _warn_of_units([scan for scan in found if scan.case_id in known], known, table, sizes=sizes)
    return found


def _grid_of(scan: Scan) -> Grid | None:
    """None for series of DICOM files, and for files that cannot be read, which is said when they are loaded."""
    path = scan.load.args[0] if isinstance(scan.load, partial) and scan.load.args else None
    if not isinstance(path, Path):
        return None
    try:
        return read_grid(path)
    except InputError:
        return None


def _centers(scan: Scan) -> FloatArray:
    return np.array([nodule.center_lps_mm for nodule in scan.nodules])


def _refuse_wrong_frame(looked_at: list[tuple[FloatArray, Grid]], frame: str, table: Path) -> None:
    total, count, likely = likely_frames(looked_at, frame)
    if likely:
        others = " or ".join(f"{_SAID[name]} ({number} of {total} inside)" for name, number in likely.items())
        problem = f"{total - count} of {total} nodule centres lie outside their scans; they look like {others}"
        raise InputError.of(table, f"{problem}, not {_SAID[frame]}", f"add --csv-frame {' or '.join(likely)}")
    if count < total / 2:
        hint = "is the table of other scans?"
        logger.warning("%s: %d of %d nodule centres lie outside their scans; %s", table, total - count, total, hint)


def _converted(scan: Scan, frame: str, *, sizes: bool) -> Scan:
    grid = _grid_of(scan) if frame == "voxel" else None
    if frame == "voxel" and grid is None:
        if isinstance(scan.load, partial) and scan.load.args and isinstance(scan.load.args[0], Path):
            return scan
        raise UsageError("--csv-frame voxel needs volume files; slices of a DICOM series have no order of their own")

    def moved(point: Triple) -> Triple:
        x, y, z = to_lps(np.asarray(point), frame, grid) if grid else (-point[0], -point[1], point[2])
        return float(x), float(y), float(z)

    def resized(nodule: Nodule) -> Triple:
        return voxels_to_mm(nodule.size_mm, grid) if grid and sizes else nodule.size_mm

    return replace(
        scan,
        nodules=tuple(replace(n, center_lps_mm=moved(n.center_lps_mm), size_mm=resized(n)) for n in scan.nodules),
        excluded=tuple(replace(one, center_lps_mm=moved(one.center_lps_mm)) for one in scan.excluded),
    )


def _warn_of_units(scans: Sequence[Scan], known: dict[str, Grid], table: Path, *, sizes: bool) -> None:
    size = np.array([nodule.size_mm for scan in scans for nodule in scan.nodules])
    spacing = np.array([known[scan.case_id].spacing_mm_zyx[::-1] for scan in scans for _ in scan.nodules])
    unit = likely_unit(size, spacing)
    if unit == "cm":
        median = float(np.median(size.max(axis=1)))
        problem = f"the nodules' median size is {median:.2g} mm, which looks like cm"
        logger.warning("%s: %s; multiply them by 10 if so", table, problem)
    elif unit == "voxel" and sizes:
        problem = "the nodules are flat if w, h, d are mm and round if they are voxels"
        hint = "multiply them by the scans' spacing, or with coordinates in voxels too add --csv-frame voxel"
        logger.warning("%s: %s; %s", table, problem, hint)
