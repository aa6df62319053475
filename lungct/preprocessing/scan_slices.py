"""One scan -> the slice files that the nodules' rule and the negatives ask for, with every box on them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.ct.boxes import Footprint, footprint, is_cut
from lungct.ct.geometry import to_canonical
from lungct.ct.hu import clip_hu
from lungct.ct.select import Profile, Rule, least_mass, profile, select
from lungct.ct.stack import stack
from lungct.errors import UsageError
from lungct.io.case_lists import slice_name
from lungct.io.manifest import grid_facts, sha256_of
from lungct.preprocessing.cases import Ledger, Record
from lungct.preprocessing.input_key import scan_key
from lungct.preprocessing.negatives import Surroundings, draw_negatives, hard_negatives
from lungct.preprocessing.slice_files import write_slice_files
from lungct.types import Grid, Scan

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
        hard_negatives: list of further slices to add where they are as far from nodules, see
            :func:`lungct.io.case_lists.read_case_slices`.
        exclude: list of cases, images and slices to leave out, see :func:`lungct.io.case_lists.read_names`.
        png: name of the HU window of a PNG beside each slice file; None writes none.
        profiles: draw each scan's mass profiles and what was kept.
    """

    rule: Rule = field(default_factory=Rule)
    context: int = 3
    negatives: int = 2
    seed: int = 0
    hard_negatives: Path | None = None
    exclude: Path | None = None
    png: str | None = None
    profiles: bool = False

    def __post_init__(self) -> None:
        if self.context < 1 or self.context % 2 == 0:
            raise UsageError(f"--context is {self.context}, expected an odd number of channels: 1, 3, 5")

    def record(self) -> dict[str, Any]:
        """JSON-ready, for the manifest: of the lists what is in them, not where they lie."""
        lists = {"hard_negatives": self.hard_negatives, "exclude": self.exclude}
        return {**asdict(self), **{name: path and f"sha256:{sha256_of(path)}" for name, path in lists.items()}}


@dataclass(frozen=True)
class ScanTask:
    """A scan and what the lists say of its slices."""

    scan: Scan
    hard_negatives: tuple[int, ...] = ()
    excluded: tuple[int, ...] = ()


@dataclass(frozen=True)
class ScanWork:
    """Writes the slices of a scan; its record holds all that COCO needs."""

    ledger: Ledger
    options: SelectOptions
    hu_clip: tuple[int, int]
    resume: bool

    def __call__(self, task: ScanTask) -> Record:
        scan = task.scan
        key = f"{scan_key(scan)} {self.hu_clip}"
        found = self.ledger.finished(scan.case_id, key) if self.resume else None
        if found is not None:
            return found
        read = scan.load()
        volume = to_canonical(read)
        grid, hu = volume.grid, clip_hu(volume.hu, self.hu_clip)
        places = {nodule.nodule_id: footprint(nodule, grid) for nodule in scan.nodules}
        hit = [place for place in places.values() if place is not None]
        profiles = {place.nodule_id: profile(hu, place) for place in hit}
        where = Surroundings(scan, hu, grid, hit)
        drawn = draw_negatives(where, self.options.negatives, self.options.seed, task.excluded)
        hard = set(hard_negatives(where, task.hard_negatives)).difference(task.excluded)
        chosen = _positives(hit, profiles, self.options.rule).difference(task.excluded) | hard.union(drawn)
        images = [_image(scan, z, grid) for z in sorted(chosen)]
        files = self._write(hu, images)
        if self.options.profiles and hit:
            files.append(self._draw(scan, hit, profiles, chosen))
        record: Record = {
            "case_id": scan.case_id,
            "digest": _digest(hu),
            "size_xy": [hu.shape[2], hu.shape[1]],
            "grid": _grid_facts(grid),
            "volume_grid": grid_facts(grid),
            "source_grid": grid_facts(scan.source_grid or read.grid),
            "images": images,
            "boxes": [_box(place, image) for image in images for place in hit if place.spans(image["z_index"])],
            "negatives": len(hard.union(drawn)),
            "hard_negatives": len(hard),
            "hard_listed": len(set(task.hard_negatives).difference(task.excluded)),
            "missed": [nodule_id for nodule_id, place in places.items() if place is None],
            "cut": [place.nodule_id for place in hit if is_cut(place, grid)],
            "files": files,
        }
        self.ledger.store(scan.case_id, key, record, files)
        return record

    def _write(self, hu: NDArray[np.int16], images: Sequence[Mapping[str, Any]]) -> list[str]:
        files = []
        for image in images:
            stacked = stack(hu, image["z_index"], self.options.context)
            files += write_slice_files(self.ledger.staging, image["file_name"], stacked, self.options.png)
        return files

    def _draw(
        self, scan: Scan, places: Sequence[Footprint], profiles: Mapping[str, Profile], chosen: Collection[int]
    ) -> str:
        from lungct.report.profiles import DrawnProfile, mass_profiles

        file_name = f"profiles/{scan.case_id}.png"
        drawn = []
        for place in places:
            found = profiles[place.nodule_id]
            kept = np.isin(np.arange(place.z_first, place.z_last + 1), list(chosen))
            least = least_mass(found, self.options.rule)
            drawn.append(DrawnProfile(place.nodule_id, place.z_first, found.mass, kept, least))
        mass_profiles(self.ledger.staging / file_name, drawn)
        return file_name


def _positives(places: Sequence[Footprint], profiles: Mapping[str, Profile], rule: Rule) -> set[int]:
    kept = set()
    for place in places:
        kept.update((place.z_first + np.flatnonzero(select(profiles[place.nodule_id], rule))).tolist())
    return kept


def _image(scan: Scan, z: int, grid: Grid) -> dict[str, Any]:
    _, height, width = grid.shape_zyx
    middle = grid.to_world(((width - 1) / 2, (height - 1) / 2, float(z)))
    return {
        "file_name": f"images/{slice_name(scan.case_id, z)}.npz",
        "z_index": z,
        "z_mm": round(float(middle[2]), DIGITS),
    }


def _box(place: Footprint, image: Mapping[str, Any]) -> dict[str, Any]:
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
    return hashlib.blake2b(np.ascontiguousarray(hu[::8]).ravel().data, digest_size=16).hexdigest()


def report_missed(where: Path, records: Sequence[Record]) -> None:
    """Warn of nodules whose box misses their scan."""
    for record in records:
        for nodule_id in record["missed"]:
            logger.warning("%s: %s: the box of nodule %s misses the scan", where, record["case_id"], nodule_id)
