"""What is written of one scan beside the tables, its label volume and contact sheet; and the sides of its nodules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lungct.ct.axial import axial
from lungct.inference.label_map import bodies, write_labels
from lungct.inference.nodule import FoundNodule
from lungct.inference.scan_view import Grids, own_slices
from lungct.inference.sides import sides_of
from lungct.io.boxes_csv import NIFTI_SUFFIX
from lungct.io.volume_file import volume_planes
from lungct.registry import HU_WINDOWS
from lungct.report.nodule_sheet import Tile, write_nodule_sheet
from lungct.sources.planes import scan_planes
from lungct.types import Planes, Scan, Volume

SHOWN = 40
"""Nodules on a sheet, the best."""


def with_sides(nodules: Sequence[FoundNodule], scan: Scan, lungs: Path, method: str | None) -> list[FoundNodule]:
    """Nodules that know their side, by the scan's mask in the folder ``lungs``, else by one that is made now."""
    path = lungs / f"{scan.case_id}{NIFTI_SUFFIX}"
    centers = [one.center_lps_mm for one in nodules]
    if not nodules:
        return []
    if path.is_file():
        with volume_planes(path) as mask:
            sides = sides_of(centers, mask)
    elif method is not None:
        made = _lungs(scan, method)
        sides = sides_of(centers, Planes(made.grid, made.hu.__getitem__))
    else:
        return list(nodules)
    return [replace(one, side=side) for one, side in zip(nodules, sides, strict=True)]


def _lungs(scan: Scan, method: str) -> Volume:
    from lungct.ct.lung_mask import lungs_of_planes

    with scan_planes(scan) as planes:
        return lungs_of_planes(axial(planes), method)


def write_scan_labels(folder: Path, scan: Scan, nodules: Sequence[FoundNodule], grids: Grids, shape: str) -> str:
    """Write ``labels/<case_id>.nii.gz``, on the scan's own grid; returns that name."""
    name = f"labels/{scan.case_id}{NIFTI_SUFFIX}"
    write_labels(folder / name, nodules, grids.model, grids.own, shape)
    return name


def write_sheet(folder: Path, scan: Scan, nodules: Sequence[FoundNodule], grids: Grids, by: str) -> str:
    """Write ``sheets/<case_id>.png``; returns that name."""
    name = f"sheets/{scan.case_id}.png"
    shown = nodules[:SHOWN]
    placed = bodies(shown, grids.model, grids.canonical, "box")
    depth = grids.canonical.shape_zyx[0]
    middle = [int(np.clip(round(float(one.center[2])), 0, depth - 1)) for one in placed]
    slices = own_slices(scan, set(middle))
    tiles = []
    for number, (one, body, z) in enumerate(zip(shown, placed, middle, strict=True), 1):
        low, high = (body.center - body.half)[:2] + 0.5, (body.center + body.half)[:2] + 0.5
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        tiles.append(
            Tile(slices[z], box, f"{number}   score {one.by(by):.2f}   {one.diameter_mm:.1f} mm", _words(one, z))
        )
    title = f"{scan.case_id}: {len(nodules)} found"
    if len(nodules) > SHOWN:
        title += f", the best {SHOWN} shown"
    spacing = grids.canonical.spacing_mm_zyx
    write_nodule_sheet(
        folder / name, tiles, title=title, spacing_mm_xy=(spacing[2], spacing[1]), window_hu=HU_WINDOWS["lung"]
    )
    return name


def _words(nodule: FoundNodule, z: int) -> str:
    x_mm, y_mm, z_mm = nodule.center_lps_mm
    count = len(nodule.slices)
    where = f"slice {z} of the scan, {count} slice{'s' * (count > 1)} linked, LPS {x_mm:.0f} {y_mm:.0f} {z_mm:.0f} mm"
    return f"{where}, {nodule.side} lung" if nodule.side else where
