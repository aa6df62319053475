"""``nifti/``: the heat of each scan as a NIfTI on the scan's own grid, its boxes as a label map, and how to open them.

A nodule is a chain of detections on neighbouring slices, found as ``lungct predict`` links them. Its number, from 1 by
falling score, is its label in ``<case_id>_boxes.nii.gz`` and its place along the fourth axis of a 4D volume. Maps that
are flagged hold nothing and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError
from lungct.explain.index import stem_of
from lungct.explain.viewers import SLICER, slicer_script, snap_labels
from lungct.explain.volume import ExplainedNodule, Placing, fused, labelled
from lungct.inference.link import link
from lungct.inference.nodule import FoundNodule
from lungct.io import atomic
from lungct.io.atomic import MANIFEST
from lungct.io.coco import CocoImage, CocoTruth
from lungct.io.manifest import grid_of, read_manifest
from lungct.io.npz import read_heatmaps
from lungct.types import Detections, Grid, Heatmaps, IntArray, Progress, Volume

FOLDER = "nifti"
FORMS = ("fused", "per-nodule")
SPACES = ("scan", "slices")


@dataclass(frozen=True)
class ScanMapOptions:
    """What is written of each scan.

    Attributes:
        form: ``fused``, a 3D volume with the strongest heat of any nodule, or ``per-nodule``, a 4D one.
        space: ``scan``, the grid that the scan had before preprocessing, or ``slices``, that of ``out/scans``.
    """

    form: str = "fused"
    space: str = "scan"


@dataclass(frozen=True)
class ScanGrids:
    """The grid that a scan's slices were cut from, and the one that its volume is written on."""

    slices: Grid
    written: Grid


def read_grids(folder: Path, cases: Sequence[str], space: str) -> dict[str, ScanGrids]:
    """The grids of scans, from the manifest of ``lungct select-slices`` or ``lungct preprocess`` in ``folder``.

    Raises:
        InputError: no manifest there, or it does not tell a case's grids.
    """
    hint = "make the slices with this version of lungct, from what its preprocess wrote or from scans; or no --nifti"
    if not (folder / MANIFEST).is_file():
        raise InputError.of(folder, f"no {MANIFEST}, so the grid of its scans is not known", hint)
    records = {one.get("case_id"): one for one in read_manifest(folder)[1:]}
    found = {}
    for case in cases:
        record = records.get(case, {})
        try:
            slices = grid_of(record["grid"])
            found[case] = ScanGrids(slices, grid_of(record["source_grid"]) if space == "scan" else _as_stored(slices))
        except (KeyError, TypeError, ValueError):
            raise InputError.of(folder / MANIFEST, f"does not tell the grid of scan {case}", hint) from None
    return found


@dataclass(frozen=True)
class ScanMaps:
    """The volumes of all scans of some images.

    Attributes:
        grids: case -> its grids, read before any map is made, so that a run does not fail at its end.
    """

    options: ScanMapOptions
    grids: Mapping[str, ScanGrids]

    @classmethod
    def of(cls, truth: CocoTruth, options: ScanMapOptions) -> ScanMaps:
        """Raises InputError: images that are no slices of scans, or scans of unknown or other grids."""
        places = [(image, _slice_of(image)) for image in truth.images]
        cases = dict.fromkeys(image.case_id for image in truth.images)
        grids = read_grids(truth.root, list(cases), options.space)
        for image, z in places:
            depth = grids[image.case_id].slices.shape_zyx[0]
            if not 0 <= z < depth:
                raise InputError.of(image.file_name, f"is slice {z} of {image.case_id}, which has {depth}")
        return cls(options, grids)

    def write(
        self,
        folders: Mapping[str, Path],
        images: Sequence[CocoImage],
        rows: Mapping[str, Sequence[dict[str, Any]]],
        progress: Progress,
    ) -> None:
        """Write each method's volumes into its folder, and their names into its index rows."""
        of_case: dict[str, list[CocoImage]] = {}
        explained = {row["image_id"] for row in next(iter(rows.values()), ())}
        for image in images:
            if image.id in explained:
                of_case.setdefault(image.case_id, []).append(image)
        for done, (case, mine) in enumerate(of_case.items(), 1):
            for method, folder in folders.items():
                found = write_scan_maps(folder, method, case, mine, self.grids[case], self.options)
                for row in rows[method]:
                    row.update(found.get((str(row["image_id"]), row["detection"]), {}))
            progress("scans as NIfTI", done, len(of_case))


def write_scan_maps(
    folder: Path, method: str, case_id: str, images: Sequence[CocoImage], grids: ScanGrids, options: ScanMapOptions
) -> dict[tuple[str, int], Mapping[str, Any]]:
    """Write one scan's volumes from the NPZ files in ``folder``.

    Args:
        folder: the method's folder.
        images: the scan's images that have maps.

    Returns:
        (image id as a string, detection) -> ``nifti`` and ``nodule``, for the index; without flagged maps.

    Raises:
        InputError: an image that says no slice, or grids that do not fit each other.
    """
    maps = {_slice_of(image): read_heatmaps(folder / f"{stem_of(image.id)}.npz") for image in images}
    kept = {z: np.flatnonzero([not flag for flag in one.flags]) for z, one in maps.items()}
    found = link({z: _detections(one, kept[z]) for z, one in maps.items()}, grids.slices, case_id=case_id)
    if not found:
        return {}
    nodules = [_explained(one, maps, kept) for one in found]
    placing = _placing(grids, case_id)
    volume, stem = f"{FOLDER}/{case_id}_{method}.nii.gz", folder / FOLDER / case_id
    _write(folder / volume, Path(f"{stem}_boxes.nii.gz"), placing, nodules, options.form)
    lines = [f"{one.score:.2f}, slices {one.slices[0]} to {one.slices[-1]}" for one in found]
    atomic.write_bytes(Path(f"{stem}_labels.txt"), snap_labels(lines).encode(), durable=False)
    if options.form == "fused":
        atomic.write_bytes(folder / FOLDER / SLICER, slicer_script(method).encode(), durable=False)
    return {
        (str(maps[z].image_id), int(kept[z][place])): {"nifti": volume, "nodule": label}
        for label, one in enumerate(found, 1)
        for z, place in zip(one.slices, one.members, strict=True)
    }


def _write(heat: Path, boxes: Path, placing: Placing, nodules: Sequence[ExplainedNodule], form: str) -> None:
    from lungct.io.nifti import write_nifti, write_nifti_maps

    grid = placing.scan
    if form == "fused":
        write_nifti_maps(heat, [fused(placing, nodules)], 1, grid, durable=False)
    else:
        write_nifti_maps(heat, map(placing.heat, nodules), len(nodules), grid, durable=False)
    write_nifti(boxes, Volume(labelled(placing, nodules), grid), durable=False, reorient=False)


def _as_stored(grid: Grid) -> Grid:
    """A canonical grid with x and y turned round, as preprocess stores it: towards right, anterior, superior."""
    last = (grid.shape_zyx[2] - 1, grid.shape_zyx[1] - 1, 0)
    x, y, z = (float(one) for one in grid.to_world(last))
    direction = grid.direction_matrix * (-1, -1, 1) + 0.0
    return Grid(grid.shape_zyx, grid.spacing_mm_zyx, (x, y, z), tuple(direction.ravel().tolist()))


def _placing(grids: ScanGrids, case_id: str) -> Placing:
    try:
        return Placing.of(grids.slices, grids.written)
    except ValueError as problem:
        raise InputError(f"{case_id}: {problem}") from None


def _explained(nodule: FoundNodule, maps: Mapping[int, Heatmaps], kept: Mapping[int, IntArray]) -> ExplainedNodule:
    places = [(maps[z], kept[z][member]) for z, member in zip(nodule.slices, nodule.members, strict=True)]
    return ExplainedNodule(
        nodule.slices,
        [one.heatmaps[place].astype(np.float32) for one, place in places],
        np.array([one.boxes_xyxy_px[place] for one, place in places], dtype=np.float64),
    )


def _detections(maps: Heatmaps, kept: IntArray) -> Detections:
    return Detections(maps.image_id, maps.boxes_xyxy_px[kept], maps.scores[kept], maps.labels[kept])


def _slice_of(image: CocoImage) -> int:
    z = image.lungct.get("z_index")
    if not isinstance(z, int):
        raise InputError.of(image.file_name, "does not say which slice of its scan it is (lungct.z_index)")
    return z
