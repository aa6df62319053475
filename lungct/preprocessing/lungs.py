"""The lungs of a scan beside it: ``lungs/<case_id>.nii.gz``, and the scan cut down to them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungct.ct.geometry import cropped, half_extents_index
from lungct.ct.lung_mask import lung_mask
from lungct.ct.pieces import box_of
from lungct.io.boxes_csv import NIFTI_SUFFIX
from lungct.io.manifest import sha256_of
from lungct.io.nifti import write_nifti
from lungct.preprocessing.cases import Record
from lungct.types import Grid, Nodule, Volume

logger = logging.getLogger("lungct")


@dataclass(frozen=True)
class LungOptions:
    """What is done with the lungs.

    Attributes:
        mask: method of ``LUNG_MASKS`` whose mask is written; None writes none.
        crop_margin_mm: the scan is cut to the lungs' box and so much on every side; None keeps it whole. The box is
            that of the lungs alone: were it to grow for annotated nodules, the input would tell where they are.
    """

    mask: str | None = None
    crop_margin_mm: float | None = None

    @property
    def wanted(self) -> bool:
        """Whether the lungs have to be found at all."""
        return self.mask is not None or self.crop_margin_mm is not None


@dataclass(frozen=True, eq=False)
class Lungs:
    """A scan's lungs on the grid of what is written.

    Attributes:
        mask: (Z, Y, X) uint8, 1 right, 2 left; None where nobody asked.
        whole: the grid before cutting.
    """

    mask: Volume | None
    whole: Grid


def with_lungs(canonical: Volume, volume: Volume, options: LungOptions) -> tuple[Volume, Lungs]:
    """Find the lungs and cut the scan to them, as the options say.

    Args:
        canonical: the scan as read, its axes in LPS order.
        volume: the scan to be written, of the same directions.
    """
    if not options.wanted:
        return volume, Lungs(None, volume.grid)
    mask = lung_mask(canonical, volume.grid, options.mask or "default")
    box = box_of(mask.hu > 0)
    if options.crop_margin_mm is None or box is None:
        return volume, Lungs(mask, volume.grid)
    margin = np.ceil(options.crop_margin_mm / np.asarray(volume.grid.spacing_mm_zyx)).astype(int)
    around = [slice(max(0, one.start - more), one.stop + more) for one, more in zip(box, margin.tolist(), strict=True)]
    return cropped(volume, around), Lungs(cropped(mask, around), volume.grid)


def write_lungs(staging: Path, case_id: str, lungs: Lungs, options: LungOptions, nodules: Sequence[Nodule]) -> Record:
    """Write the mask if it is wanted; returns what the scan's record says of the lungs."""
    if lungs.mask is None:
        return {}
    grid = lungs.mask.grid
    voxel_ml = float(np.prod(grid.spacing_mm_zyx)) / 1000
    count = np.bincount(lungs.mask.hu.ravel(), minlength=3)
    said: Record = {"right_ml": round(count[1] * voxel_ml, 1), "left_ml": round(count[2] * voxel_ml, 1)}
    if options.mask is not None:
        path = f"lungs/{case_id}{NIFTI_SUFFIX}"
        write_nifti(staging / path, lungs.mask, durable=False)
        said |= {"method": options.mask, "path": path, "sha256": sha256_of(staging / path)}
    if options.crop_margin_mm is not None:
        cut = [one.nodule_id for one in nodules if _within(one, lungs.whole) and not _within(one, grid)]
        said |= {"shape_before_crop": list(lungs.whole.shape_zyx[::-1]), "nodules_cut": cut}
    return {"lungs": said}


def warn_of_lungs(record: Record) -> None:
    """Say what the search for the lungs leaves to be wished."""
    said = record.get("lungs")
    if said is None:
        return
    if said["right_ml"] + said["left_ml"] == 0:
        kept = ", so it is not cut" if "nodules_cut" in said else ""
        logger.warning("%s: no lungs found%s", record["case_id"], kept)
    for nodule_id in said.get("nodules_cut", ()):
        logger.warning("%s: nodule %s reaches out of the crop to the lungs", record["case_id"], nodule_id)


def _within(nodule: Nodule, grid: Grid) -> bool:
    """Whether all of a nodule's box lies on the grid."""
    center, half = grid.to_index(nodule.center_lps_mm), half_extents_index(nodule.size_mm, grid)
    return bool(np.all(center - half >= -0.5) and np.all(center + half <= np.asarray(grid.shape_zyx[::-1]) - 0.5))
