"""What selecting the slices of one scan costs, and the memory of both stages on longer scans: run it.

The scans are phantoms of 512 x 512; selecting writes every slice of their nodules and two negatives. Reading and the
decompression in it are the floor. Imports are not counted.
"""
# ruff: noqa: T201

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import measured

SLICES = (300, 600)
SELECT, READ, PREPROCESS, NIBABEL = "select-slices", "reading the scan", "preprocess", "nibabel get_fdata"


def write_data(folder: Path, slices: int) -> None:
    """A scan as a DLCS24 folder, and preprocessed at its own spacing."""
    from lungct.phantom.dataset import PhantomOptions, write_phantoms
    from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
    from lungct.preprocessing.scans import VolumeOptions

    write_phantoms(folder / "dlcs", PhantomOptions(patients=1, size=512, slices=slices))
    preprocess(folder / "dlcs", folder / "out", PreprocessOptions(volume=VolumeOptions(None)))


def one_run(way: str, folder: Path) -> None:
    """The process of one run: import, then measure."""
    import nibabel
    import SimpleITK  # noqa: F401
    from scipy import ndimage  # noqa: F401

    from lungct.io.nifti import read_nifti
    from lungct.preprocessing.preprocess import preprocess
    from lungct.preprocessing.select_slices import select_slices

    scan = next(folder.glob("out/scans/*.nii.gz"))

    def work() -> dict[str, int]:
        with tempfile.TemporaryDirectory() as out:
            if way == SELECT:
                return {"slices": sum(select_slices(folder / "out", Path(out) / "slices").images.values())}
            if way == PREPROCESS:
                preprocess(folder / "dlcs", Path(out) / "out")
            elif way == READ:
                read_nifti(scan)
            else:
                nibabel.load(scan).get_fdata()
        return {}

    measured.report_self(work)


def main() -> None:
    """For each length write a scan, measure every way in turn, print."""
    for slices in SLICES:
        with tempfile.TemporaryDirectory() as folder:
            write_data(Path(folder), slices)
            figures = measured.in_turn(Path(__file__), [SELECT, READ, PREPROCESS, NIBABEL], folder)
        print(f"512 x 512 x {slices}, {figures[SELECT].said['slices']} slices selected")
        print(measured.table(figures, SELECT), flush=True)


if __name__ == "__main__":
    one_run(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) == 3 else main()
