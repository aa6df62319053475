"""The scans and images under audit, whatever wrote them: ``out/``, ``slices/`` or a raw source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lungct.io.atomic import MANIFEST
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, read_truth
from lungct.io.manifest import SCAN_SCHEMA, read_manifest
from lungct.io.npz import read_slice
from lungct.preprocessing.images import SLICES
from lungct.registry import SPLITS
from lungct.sources.source import SourceOptions, read_source
from lungct.types import FloatArray, Grid, Nodule, Scan, SliceImage, Triple, Volume


@dataclass(frozen=True)
class Marking:
    """One annotated box: in pixel edges (x, y) of an image, or in world mm (x, y, z) of a scan.

    Attributes:
        nodule_id: the nodule, the same on all its slices; empty unknown.
        label, malignant, malignancy: what the source says of it; None unknown.
        low, high: corners of the box.
    """

    nodule_id: str
    label: str
    malignant: int | None
    malignancy: float | None
    low: tuple[float, ...]
    high: tuple[float, ...]

    def says(self) -> str:
        """Label and malignancy in words."""
        known = (f"malignant {self.malignant}", self.malignant), (f"malignancy {self.malignancy}", self.malignancy)
        return ", ".join([self.label, *(words for words, value in known if value is not None)])

    def contradicts(self, other: Marking) -> bool:
        """Whether two markings cannot be of one nodule: something that both know differs."""
        pairs = ((self.malignant, other.malignant), (self.malignancy, other.malignancy))
        return self.label != other.label or any(None not in pair and pair[0] != pair[1] for pair in pairs)


@dataclass(frozen=True, eq=False)
class Item:
    """One scan or one 2D image, not yet read.

    Attributes:
        name: unique over the audit: case id, image id, or ``<case>/<z>``; ``2/`` in front for the second data set.
        data_set: number of its data set, from 1.
        plain_name: the name without the data set.
        load: the voxels; of a 2D image a volume of one slice.
        is_scan: a volume, not a 2D image.
        truth_known: False where nobody has looked for nodules.
        input_spacing_mm_zyx: of the raw scan, where a manifest tells it.
    """

    name: str
    data_set: int
    plain_name: str
    case_id: str
    patient_id: str
    split: str
    load: Callable[[], Volume]
    is_scan: bool
    markings: tuple[Marking, ...] = ()
    truth_known: bool = True
    input_spacing_mm_zyx: Triple | None = None

    def labels(self) -> tuple[str, ...] | None:
        """What the markings say, sorted and without their place; None where nothing is known."""
        return tuple(sorted(one.says() for one in self.markings)) if self.truth_known else None


def read_items(path: Path, data_set: int, source: str | None, reading: SourceOptions, *, prefix: str) -> list[Item]:
    """Every scan or image of one data set, voxels unread.

    Args:
        path: what ``preprocess`` or ``select-slices`` wrote, or a raw source.
        data_set: its number.
        source: name of a raw source's layout; None finds it.
        reading: what the files of a raw 2D source do not say.
        prefix: put before every name.

    Raises:
        InputError: no such path, no known layout, a broken table.
    """
    if source is None and (path / SLICES).is_file():
        return _of_truth(read_truth(path / SLICES), "", data_set, prefix)
    splits = [name for name in SPLITS if (path / f"{name}.json").is_file()] if source is None else []
    if splits:
        found = [_of_truth(read_truth(path / f"{name}.json"), name, data_set, prefix) for name in splits]
        return [item for items in found for item in items]
    contents = read_source(path, source, reading)
    spacings = _input_spacings(path)
    scans = [_of_scan(scan, spacings.get(scan.case_id), data_set, prefix) for scan in contents.scans]
    return scans or [_of_image(image, data_set, prefix) for image in contents.images]


def _of_scan(scan: Scan, spacing: Triple | None, data_set: int, prefix: str) -> Item:
    return Item(
        prefix + scan.case_id,
        data_set,
        scan.case_id,
        scan.case_id,
        scan.patient_id,
        scan.split,
        scan.load,
        is_scan=True,
        markings=tuple(_of_nodule(nodule) for nodule in scan.nodules),
        truth_known=scan.truth_known,
        input_spacing_mm_zyx=spacing,
    )


def _of_nodule(nodule: Nodule) -> Marking:
    center, half = np.asarray(nodule.center_lps_mm), np.asarray(nodule.size_mm) / 2
    low, high = tuple((center - half).tolist()), tuple((center + half).tolist())
    return Marking(nodule.nodule_id, nodule.label, nodule.malignant, nodule.malignancy, low, high)


def _of_image(image: SliceImage, data_set: int, prefix: str) -> Item:
    told: Sequence[Mapping[str, Any]] = image.attributes or [{}] * len(image.labels)
    markings = [
        _marking(label, facts, box)
        for label, facts, box in zip(image.labels, told, np.asarray(image.boxes_xyxy_px).tolist(), strict=True)
    ]
    return Item(
        prefix + image.image_id,
        data_set,
        image.image_id,
        image.case_id,
        image.patient_id,
        image.split,
        partial(_image_volume, image, image.spacing_mm_xy),
        is_scan=False,
        markings=tuple(markings),
    )


def _of_truth(truth: CocoTruth, split: str, data_set: int, prefix: str) -> list[Item]:
    return [_of_row(truth, row, split, data_set, prefix) for row in truth.images]


def _of_row(truth: CocoTruth, row: CocoImage, split: str, data_set: int, prefix: str) -> Item:
    name = str(PurePosixPath(row.file_name).with_suffix("")).removeprefix("images/")
    return Item(
        prefix + name,
        data_set,
        name,
        row.case_id,
        row.patient_id,
        split or str(row.lungct.get("split", "")),
        partial(_slice_volume, truth.root / row.file_name, row.spacing_mm_xy),
        is_scan=False,
        markings=tuple(_of_annotation(one, truth.categories) for one in truth.annotations_of[row.id]),
    )


def _of_annotation(annotation: CocoAnnotation, categories: Mapping[int, str]) -> Marking:
    return _marking(categories[annotation.category_id], annotation.attributes, annotation.box_xyxy_px)


def _marking(label: str, facts: Mapping[str, Any], box_xyxy_px: Sequence[float]) -> Marking:
    x1, y1, x2, y2 = box_xyxy_px
    nodule_id, malignant, malignancy = (facts.get(key) for key in ("nodule_id", "malignant", "malignancy"))
    return Marking(str(nodule_id or ""), label, malignant, malignancy, (x1, y1), (x2, y2))


def _input_spacings(path: Path) -> dict[str, Triple]:
    """Case -> spacing of the raw scan, where a manifest of ours tells it."""
    if not (path / MANIFEST).is_file():
        return {}
    found = {}
    for record in read_manifest(path):
        spacing = record.get("qc", {}).get("input_spacing_mm") if record.get("schema") == SCAN_SCHEMA else None
        if spacing:
            x, y, z = (float(value) for value in spacing)
            found[str(record["case_id"])] = (z, y, x)
    return found


def _slice_volume(path: Path, spacing_mm_xy: tuple[float, float] | None) -> Volume:
    stack = read_slice(path)
    return _flat(stack[len(stack) // 2], spacing_mm_xy)


def _image_volume(image: SliceImage, spacing_mm_xy: tuple[float, float] | None) -> Volume:
    return _flat(image.load(), spacing_mm_xy)


def _flat(hu: FloatArray | Any, spacing_mm_xy: tuple[float, float] | None) -> Volume:
    x_mm, y_mm = spacing_mm_xy or (1.0, 1.0)
    return Volume(hu[np.newaxis], Grid((1, *hu.shape), (1.0, y_mm, x_mm), (0.0, 0.0, 0.0)))
