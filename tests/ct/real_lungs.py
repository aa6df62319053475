"""Real scans with lung masks that others drew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from lungct.ct.geometry import to_canonical
from lungct.io.volume_file import read_volume
from lungct.types import Volume

LOBES_RIGHT, LOBES_LEFT = (12, 13, 14), (10, 11)


def real_lungs(folder: Path) -> dict[str, tuple[Volume, NDArray[np.uint8]]]:
    """Name -> LPS-canonical scan, and its labels: 1 right, 2 left, 3 lung of a side that the file does not tell."""
    small = folder / "small_volumes"
    elastix = _labels(small / "3DCT_lung_baseline_mask.mha") > 0
    whole = _labels(small / "wholeLung-64.nrrd") > 0
    thirds = _labels(small / "lm-64.nrrd") % 256
    sides = np.where(np.isin(thirds, (12, 13, 14)), 1, np.where(np.isin(thirds, (9, 10, 11)), 2, 3))
    organs = to_canonical(read_volume(small / "example_seg.nii.gz")).hu
    lobes = np.where(np.isin(organs, LOBES_RIGHT), 1, np.where(np.isin(organs, LOBES_LEFT), 2, 0))
    return {
        "elastix": (_scan(small / "3DCT_lung_baseline.mha"), elastix.astype(np.uint8) * 3),
        "ACIL": (_scan(small / "ct-64.nrrd"), np.where(whole, sides, 0).astype(np.uint8)),
        "TotalSegmentator": (_scan(small / "example_ct_sm.nii.gz"), lobes.astype(np.uint8)),
    }


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Twice the overlap over the sum."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def _scan(path: Path) -> Volume:
    return to_canonical(read_volume(path))


def _labels(path: Path) -> NDArray[np.integer]:
    return SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "LPS"))
