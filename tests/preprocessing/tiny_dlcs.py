"""A tiny DLCS24 folder: balls of known place in boxes of lung, one scan without nodules, one oblique and flipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lungct.io.boxes_csv import write_nodules
from lungct.io.nifti import write_nifti
from lungct.types import Grid, Nodule, Volume

SPACING_ZYX = (2.0, 1.5, 1.5)
SHAPE = (30, 40, 40)


def grid_of(degrees: float) -> Grid:
    angle = np.radians(degrees)
    direction = (np.cos(angle), 0.0, np.sin(angle), 0.0, 1.0, 0.0, -np.sin(angle), 0.0, np.cos(angle))
    return Grid(SHAPE, SPACING_ZYX, (-30.0, -25.0, 100.0), direction)


def scan(grid: Grid, nodules: list[Nodule], seed: int) -> Volume:
    """Two lungs in a body, in them ellipsoids of 50 HU, noise so that no two scans are alike."""
    hu = np.full(SHAPE, -1000.0)
    hu[:, 3:37, 3:37] = 30
    hu[2:28, 8:32, 6:18] = -850
    hu[2:28, 8:32, 22:34] = -850
    z, y, x = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    world = grid.to_world(np.stack([x, y, z], axis=-1))
    for nodule in nodules:
        inside = (((world - nodule.center_lps_mm) / (np.asarray(nodule.size_mm) / 2)) ** 2).sum(axis=-1) <= 1
        hu[inside] = 50
    hu += np.random.default_rng(seed).normal(0, 5, SHAPE)
    return Volume(np.rint(hu).astype(np.int16), grid)


def nodule(case: str, index_xyz: tuple[float, float, float], grid: Grid, split: str = "") -> Nodule:
    x, y, z = grid.to_world(index_xyz)
    return Nodule(f"{case}_{index_xyz[2]:.0f}", case, case, (x, y, z), (9.0, 9.0, 10.0), 1, split=split)


def write_dlcs(folder: Path, *, patients: int = 4, split: str = "") -> None:
    """``CASE_1`` straight with two nodules that share slices, ``CASE_2`` oblique, the last one without nodules."""
    rows = []
    for number in range(1, patients + 1):
        case, grid = f"CASE_{number}", grid_of(12 if number == 2 else 0)
        mine = [] if number == patients else [nodule(case, (12, 20, 14), grid, split)]
        if number == 1:
            mine.append(nodule(case, (28, 18, 16), grid, split))
        folder.mkdir(parents=True, exist_ok=True)
        write_nifti(folder / f"{case}.nii.gz", scan(grid, mine, number))
        rows += mine
    write_nodules(folder / "DLCSD24_Annotations.csv", rows, extra=False)
