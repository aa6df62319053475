"""The nodules of a scan that was read from DICOM, as DICOM objects beside its other outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lungct.errors import InputError, UsageError
from lungct.inference.label_map import Body, bodies, label_planes
from lungct.inference.nodule import FoundNodule
from lungct.inference.scan_view import Grids
from lungct.io.dicom_objects import Marked, check_installed, read_sources, write_report, write_segmentation
from lungct.io.dicom_stack import Stack, arrange
from lungct.io.dicom_voxels import read_series
from lungct.sources.hidden import loading
from lungct.types import FloatArray, Grid, Scan

FOLDER = "dicom"


def check_dicom(scans: Sequence[Scan]) -> None:
    """Refuse, before any work is done, what no DICOM objects can be made of.

    Raises:
        UsageError: a scan that was not read from DICOM.
        EnvironmentError_: highdicom is not installed.
    """
    for scan in scans:
        if loading(scan.load)[0] is not read_series:
            raise UsageError(
                f"--dicom refers to the slices of a DICOM series, and {scan.case_id} is none", "leave it out"
            )
    check_installed()


def write_dicom(
    folder: Path, scan: Scan, nodules: Sequence[FoundNodule], grids: Grids, *, shape: str, by: str
) -> list[str]:
    """Write ``dicom/<case_id>_seg.dcm`` and ``_sr.dcm``; returns their names, none where nothing was found.

    Raises:
        InputError: the slices of a tilted gantry, on whose frames the nodules' voxels do not lie.
    """
    if not nodules:
        return []
    stack = _stack_of(scan)
    found = bodies(nodules, grids.model, grids.own, shape)
    planes = label_planes(found, grids.own)
    number_at = {int(z): number for number, z in enumerate(stack.z_of_slice.tolist())}
    masks = {number_at[z]: plane for z, plane in enumerate(planes) if z in number_at and plane.any()}
    if not masks:
        return []
    sources = read_sources([stack.slices[number].path for number in masks])
    names = [f"{FOLDER}/{scan.case_id}_{kind}.dcm" for kind in ("seg", "sr")]
    scores = [one.by(by) for one in nodules]
    write_segmentation(folder / names[0], sources, np.stack(list(masks.values())), scores)
    marked = [
        Marked(_axes(body, grids.own), one.diameter_mm, score, one.side)
        for one, body, score in zip(nodules, found, scores, strict=True)
    ]
    write_report(folder / names[1], sources, marked)
    return names


def _stack_of(scan: Scan) -> Stack:
    _, given, more, hidden = loading(scan.load)
    with hidden:
        stack = arrange(*given, **more)
    if stack.shift_px_xy is not None:
        hint = "leave out --dicom"
        raise InputError.of(scan.case_id, "its gantry was tilted, and no Segmentation lies on its frames", hint)
    return stack


def _axes(body: Body, grid: Grid) -> FloatArray:
    """(6, 3) world ends of the three axes of a body's ellipsoid."""
    ends = [body.center + sign * body.half * (np.arange(3) == axis) for axis in range(3) for sign in (-1, 1)]
    return grid.to_world(np.asarray(ends))
