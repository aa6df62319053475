"""What a lung mask of one 512 x 512 x 300 scan costs, beside the straightforward one, and how true it is: run it.

The scan is a phantom in memory and the mask is brought to 0.703 x 0.703 x 1.25 mm. The straightforward way works on the
full grid: threshold, 3D pieces, closing and holes by scipy. Imports are not counted. Dice is against real masks where
LUNGCT_TEST_DATA names them.
"""
# ruff: noqa: T201

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import measured
import numpy as np

SPACING_ZYX = (1.0, 0.75, 0.75)
METHODS = ("default", "threshold", "watershed")
FULL = "scipy, full grid"


def straightforward(hu: np.ndarray) -> np.ndarray:
    """Threshold, the two largest pieces that touch no side, closed by a ball of 5 voxels, holes filled."""
    from scipy import ndimage

    pieces, count = ndimage.label(hu < -400)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    for side in (pieces[:, 0], pieces[:, -1], pieces[:, :, 0], pieces[:, :, -1]):
        sizes[np.unique(side)] = 0
    sizes[0] = 0
    mask = np.isin(pieces, np.argsort(sizes)[-2:])
    return ndimage.binary_fill_holes(ndimage.binary_closing(mask, iterations=5))


def one_run(way: str, folder: Path) -> None:
    """The process of one run: load the phantom, then measure."""
    from scipy import ndimage  # noqa: F401

    from lungct.ct.geometry import resampled_grid
    from lungct.ct.lung_mask import lung_mask
    from lungct.types import Grid, Volume

    hu = np.load(folder / "phantom.npy")
    volume = Volume(hu, Grid(hu.shape, SPACING_ZYX, (0.0, 0.0, 0.0)))
    grid = resampled_grid(volume.grid, (1.25, 0.703125, 0.703125))

    def work() -> dict[str, float]:
        mask = straightforward(hu) if way == FULL else lung_mask(volume, grid, way).hu
        voxel_mm3 = np.prod(SPACING_ZYX if way == FULL else grid.spacing_mm_zyx)
        return {"litres": float(np.count_nonzero(mask) * voxel_mm3 / 1e6)}

    measured.report_self(work)


def print_dice(folder: Path) -> None:
    """Each method's Dice on the scan's own grid."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "ct"))
    from real_lungs import dice, real_lungs

    from lungct.ct.lung_mask import lung_mask

    print(f"{'Dice':<28}" + "".join(f"{method:>12}" for method in METHODS))
    for name, (scan, truth) in real_lungs(folder).items():
        values = [dice(lung_mask(scan, scan.grid, method).hu > 0, truth > 0) for method in METHODS]
        print(f"{name:<28}" + "".join(f"{value:12.4f}" for value in values))


def main() -> None:
    """Render the phantom, measure every way, print; then Dice."""
    from lungct.phantom.scan import render_phantom

    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "phantom.npy", render_phantom(0, 3, size=512, slices=300).volume.hu)
        figures = measured.in_turn(Path(__file__), [*METHODS, FULL], folder)
    print(measured.table(figures, "default"))
    print("litres: " + ", ".join(f"{way} {one.said['litres']:.2f}" for way, one in figures.items()))
    if os.environ.get("LUNGCT_TEST_DATA"):
        print_dice(Path(os.environ["LUNGCT_TEST_DATA"]))


if __name__ == "__main__":
    one_run(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) == 3 else main()
