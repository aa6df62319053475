"""Nodule tables whose coordinates are not LPS mm: converted where the user says so, named where the scans tell."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from lungct.ct.boxes import world_box
from lungct.ct.frame import likely_frames, likely_unit, to_lps
from lungct.errors import InputError, UsageError
from lungct.io.volume_file import read_grid
from lungct.types import Grid, Nodule, Scan, Triple

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
    spread = annotated[:: math.ceil(len(annotated) / LOOK_AT) or 1]
    seen = [(scan, grid) for scan in spread if (grid := _grid_of(scan)) is not None]
    _refuse_wrong_frame(seen, frame, table)
    if frame != "lps":
        scans = [_converted(scan, frame, sizes=sizes) for scan in scans]
    now = {scan.case_id: scan for scan in scans}
    _warn_of_units([(now[scan.case_id], grid) for scan, grid in seen], table, sizes=sizes)
    return tuple(scans)


def _file_of(scan: Scan) -> Path | None:
    """The volume file that a scan is read from; None for a series of DICOM files."""
    path = scan.load.args[0] if isinstance(scan.load, partial) else None
    return path if isinstance(path, Path) else None


def _grid_of(scan: Scan) -> Grid | None:
    """None also for a file that cannot be read, which is said when it is loaded."""
    path = _file_of(scan)
    try:
        return None if path is None else read_grid(path)
    except InputError:
        return None


def _refuse_wrong_frame(seen: Sequence[tuple[Scan, Grid]], frame: str, table: Path) -> None:
    centers = [(np.array([nodule.center_lps_mm for nodule in scan.nodules]), grid) for scan, grid in seen]
    total, count, likely = likely_frames(centers, frame)
    outside = f"{total - count} of {total} nodule centres lie outside their scans"
    if likely:
        others = " or ".join(f"{_SAID[name]} ({number} of {total} inside)" for name, number in likely.items())
        problem = f"{outside} as {_SAID[frame]}; they look like {others}"
        raise InputError.of(table, problem, f"run preprocess with --csv-frame {' or '.join(likely)}")
    if count < total / 2:
        logger.warning("%s: %s, in any frame; is the table of other scans?", table.parent, outside)


def _converted(scan: Scan, frame: str, *, sizes: bool) -> Scan:
    grid = _grid_of(scan) if frame == "voxel" else None
    if frame == "voxel" and grid is None:
        if _file_of(scan) is not None:
            return scan
        hint = "the slices of a series have no order of their own"
        raise UsageError("--csv-frame voxel needs volume files, not DICOM series", hint)

    def moved(point: Triple) -> Triple:
        x, y, z = (float(value) for value in to_lps(np.asarray(point), frame, grid))
        return x, y, z

    def resized(one: Nodule) -> Triple:
        if grid is None or not sizes:
            return one.size_mm
        center, half = np.asarray(one.center_lps_mm), np.asarray(one.size_mm) / 2
        return world_box(center - half, center + half, grid)[1]

    return replace(
        scan,
        nodules=tuple(
            replace(one, center_lps_mm=moved(one.center_lps_mm), size_mm=resized(one)) for one in scan.nodules
        ),
        excluded=tuple(replace(one, center_lps_mm=moved(one.center_lps_mm)) for one in scan.excluded),
    )


def _warn_of_units(seen: Sequence[tuple[Scan, Grid]], table: Path, *, sizes: bool) -> None:
    size = np.array([nodule.size_mm for scan, _ in seen for nodule in scan.nodules])
    spacing = np.array([grid.spacing_mm_zyx[::-1] for scan, grid in seen for _ in scan.nodules])
    unit = likely_unit(size, spacing)
    if unit == "cm":
        median = float(np.median(size.max(axis=1)))
        logger.warning("%s: a median size of %.2g mm looks like cm; multiply sizes by 10 if so", table.parent, median)
    elif unit == "voxel" and sizes:
        problem = "the boxes are flat if w, h, d are mm and round if they are voxels"
        hint = "multiply them by the scans' spacing, or add --csv-frame voxel if the coordinates are voxels too"
        logger.warning("%s: %s; %s", table.parent, problem, hint)
