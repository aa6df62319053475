"""One scan -> the slice files that the nodules' rule and the negatives ask for, with every box on them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.ct.boxes import Footprint, footprint
from lungct.ct.geometry import to_canonical
from lungct.ct.hu import clip_hu
from lungct.ct.lung import lung_slices
from lungct.ct.select import Rule, profile, select
from lungct.ct.stack import stack
from lungct.errors import UsageError
from lungct.io.npz import write_slice
from lungct.preprocessing.cases import Ledger, Record
from lungct.preprocessing.input_key import scan_key
from lungct.registry import NEGATIVE_DISTANCE_MM
from lungct.types import BoolArray, Grid, Scan

logger = logging.getLogger("lungct")
SELECTION_SCHEMA = "lungct.selection/1"
DIGITS = 6


@dataclass(frozen=True)
class SelectOptions:
    """Which slices to write and how.

    Attributes:
        rule: which slices of a nodule are kept.
        context: channels of a slice file, odd: the slice and its neighbours.
        negatives: lung slices per scan at least 10 mm from any nodule.
        seed: of the choice of negatives and of the splits.
    """

    rule: Rule = field(default_factory=Rule)
    context: int = 3
    negatives: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.context < 1 or self.context % 2 == 0:
            raise UsageError(f"--context is {self.context}, expected an odd number of channels: 1, 3, 5")


@dataclass(frozen=True)
class ScanWork:
    """Writes the slices of a scan; its record holds all that COCO needs."""

    ledger: Ledger
    options: SelectOptions
    hu_clip: tuple[int, int]
    resume: bool

    def __call__(self, scan: Scan) -> Record:
        key = f"{scan_key(scan)} {self.hu_clip}"
        found = self.ledger.finished(scan.case_id, key) if self.resume else None
        if found is not None:
            return found
        volume = to_canonical(scan.load())
        hu = clip_hu(volume.hu, self.hu_clip)
        places = {n.nodule_id: footprint(n, volume.grid) for n in scan.nodules}
        hit = [place for place in places.values() if place is not None]
        positives = _positive_slices(hu, hit, self.options.rule)
        negatives = self._negatives(scan, hu, volume.grid, hit)
        images = [self._image(scan, z, volume.grid) for z in sorted({*positives, *negatives})]
        for image in images:
            write_slice(self.ledger.staging / image["file_name"], stack(hu, image["z_index"], self.options.context))
        record: Record = {
            "case_id": scan.case_id,
            "digest": _digest(hu),
            "size_xy": [hu.shape[2], hu.shape[1]],
            "grid": _grid_facts(volume.grid),
            "images": images,
            "boxes": [_box(place, image) for image in images for place in hit if place.spans(image["z_index"])],
            "negatives": len(negatives),
            "missed": [nodule_id for nodule_id, place in places.items() if place is None],
        }
        self.ledger.store(scan.case_id, key, record, [image["file_name"] for image in images])
        return record

    def _image(self, scan: Scan, z: int, grid: Grid) -> dict[str, Any]:
        _, height, width = grid.shape_zyx
        middle = grid.to_world(((width - 1) / 2, (height - 1) / 2, float(z)))
        return {
            "file_name": f"images/{scan.case_id}/{z:04d}.npz",
            "z_index": z,
            "z_mm": round(float(middle[2]), DIGITS),
        }

    def _negatives(self, scan: Scan, hu: NDArray[np.int16], grid: Grid, places: Sequence[Footprint]) -> list[int]:
        """Slices drawn by seed and case id; none of a scan whose nodules nobody has looked for."""
        if not self.options.negatives or not scan.truth_known:
            return []
        eligible = np.flatnonzero(lung_slices(hu, grid) & _far(places, grid))
        key = int.from_bytes(hashlib.blake2b(scan.case_id.encode(), digest_size=8).digest(), "big")
        drawn = np.random.default_rng([self.options.seed, key]).permutation(eligible)[: self.options.negatives]
        return sorted(int(z) for z in drawn)


def _positive_slices(hu: NDArray[np.int16], places: Sequence[Footprint], rule: Rule) -> set[int]:
    kept = set()
    for place in places:
        kept.update((place.z_first + np.flatnonzero(select(profile(hu, place), rule))).tolist())
    return kept


def _far(places: Sequence[Footprint], grid: Grid) -> BoolArray:
    """(Z,) whether a slice plane is at least 10 mm from the box of every nodule."""
    z = np.arange(grid.shape_zyx[0])
    far = np.ones(len(z), dtype=bool)
    for place in places:
        gap_mm = (np.abs(z - place.center_index[2]) - place.half_index[2]) * grid.spacing_mm_zyx[0]
        far &= gap_mm >= NEGATIVE_DISTANCE_MM
    return far


def _box(place: Footprint, image: dict[str, Any]) -> dict[str, Any]:
    return {
        "file_name": image["file_name"],
        "nodule_id": place.nodule_id,
        "box_xyxy_px": [round(value, DIGITS) for value in place.box_xyxy_px],
    }


def _grid_facts(grid: Grid) -> dict[str, list[float]]:
    """Rounded: a NIfTI header holds float32, whose last digits differ between a straight and a turned path."""
    return {
        "spacing_mm": [round(value, DIGITS) for value in grid.spacing_mm_zyx[::-1]],
        "origin_mm": [round(value, DIGITS) for value in grid.origin_lps_mm],
        "direction": [round(value, DIGITS) + 0.0 for value in grid.direction],
    }


def _digest(hu: NDArray[np.int16]) -> str:
    """Of every eighth slice, which tells scans apart as surely as all of them."""
    return hashlib.blake2b(np.ascontiguousarray(hu[::8]).tobytes(), digest_size=16).hexdigest()


def report_missed(where: Path, records: Sequence[Record]) -> None:
    """Warn of nodules whose box misses their scan."""
    for record in records:
        for nodule_id in record["missed"]:
            logger.warning("%s: %s: the box of nodule %s misses the scan", where, record["case_id"], nodule_id)
