"""A 2D source -> ``images/<image_id>.npz`` (1, Y, X) int16 HU and ``slices.json``, one COCO file over all of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lungct.ct.enhance import Enhancement, enhance
from lungct.ct.hu import clip_hu
from lungct.ct.resample import resized
from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, write_truth
from lungct.io.manifest import sha256_of
from lungct.io.npz import write_slice
from lungct.preprocessing.cases import Ledger, Outcome, Record, Running, run_cases
from lungct.preprocessing.input_key import image_key
from lungct.types import FloatArray, SliceImage

logger = logging.getLogger("lungct")
IMAGE_SCHEMA = "lungct.image/1"
SLICES = "slices.json"
NODULE = "nodule"


@dataclass(frozen=True)
class _Work:
    ledger: Ledger
    hu_clip: tuple[int, int]
    enhancement: Enhancement
    size_xy: tuple[int, int] | None
    resume: bool

    def __call__(self, image: SliceImage) -> Record:
        key = image_key(image)
        found = self.ledger.finished(image.image_id, key) if self.resume else None
        if found is not None:
            return found
        hu = clip_hu(image.load(), self.hu_clip)
        height, width = hu.shape
        size_xy = self.size_xy or (width, height)
        if size_xy != (width, height):
            hu = resized(hu, size_xy)
        if not self.enhancement.does_nothing:
            hu = enhance(hu, self.hu_clip, self.enhancement)
        file_name = f"images/{image.image_id}.npz"
        write_slice(self.ledger.staging / file_name, hu[np.newaxis])
        record: Record = {
            "schema": IMAGE_SCHEMA,
            "image_id": image.image_id,
            "case_id": image.case_id,
            "patient_id": image.patient_id,
            "path": file_name,
            "sha256": sha256_of(self.ledger.staging / file_name),
            "split": image.split,
            "spacing_mm": _spacing_mm(image.spacing_mm_xy, (width / size_xy[0], height / size_xy[1])),
            "shape": [hu.shape[1], hu.shape[0]],
            "hu_range": [int(hu.min()), int(hu.max())],
            "boxes": len(image.boxes_xyxy_px),
            "input_shape": [width, height],
        }
        self.ledger.store(image.image_id, key, record, [file_name])
        return record


def write_images(
    ledger: Ledger,
    images: Sequence[SliceImage],
    hu_clip: tuple[int, int],
    running: Running,
    *,
    enhancement: Enhancement = Enhancement(),
    size_xy: tuple[int, int] | None = None,
) -> tuple[Outcome, int]:
    """Write every image of the run's shard and ``slices.json``; returns the manifest records and the number of boxes.

    The categories are those of all images.
    """
    by_name = {image.image_id: image for image in running.shard.part(images)}
    outcome = run_cases("images", _Work(ledger, hu_clip, enhancement, size_xy, running.resume), by_name, running)
    categories = category_names(label for image in images for label in image.labels)
    truth = _truth(outcome.records, by_name, categories, hu_clip)
    lost = sum(record["boxes"] for record in outcome.records) - len(truth.annotations)
    if lost:
        logger.warning("%d boxes lie outside their image and are left out", lost)
    write_truth(ledger.staging / SLICES, truth)
    return outcome, len(truth.annotations)


def _truth(
    records: Sequence[Record], images: dict[str, SliceImage], categories: dict[str, int], hu_clip: tuple[int, int]
) -> CocoTruth:
    kept = [(record, images[record["image_id"]]) for record in records]
    annotations: list[CocoAnnotation] = []
    rows = []
    for number, (record, image) in enumerate(kept, 1):
        rows.append(_image_row(number, record, hu_clip))
        scale_xy = np.asarray(record["shape"]) / record["input_shape"]
        annotations += _annotations(image, scale_xy, rows[-1], categories, first_id=len(annotations) + 1)
    return CocoTruth({number: name for name, number in categories.items()}, rows, annotations)


def category_names(labels: Any) -> dict[str, int]:
    """Label -> COCO category id; a source with one label or none has the single category ``nodule``."""
    names = sorted(set(labels))
    return {name: number for number, name in enumerate(names, 1)} if len(names) > 1 else {NODULE: 1}


def _image_row(number: int, record: Record, hu_clip: tuple[int, int]) -> CocoImage:
    facts = {key: record[key] for key in ("image_id", "case_id", "patient_id", "spacing_mm")}
    facts["hu_clip"] = list(hu_clip)
    if record["split"]:
        facts["split"] = record["split"]
    width, height = record["shape"]
    return CocoImage(number, record["path"], width, height, facts)


def _spacing_mm(old: tuple[float, float] | None, shrunk_xy: tuple[float, float]) -> list[float] | None:
    return None if old is None else [mm * by for mm, by in zip(old, shrunk_xy, strict=True)]


def _annotations(
    image: SliceImage, scale_xy: FloatArray, row: CocoImage, categories: dict[str, int], first_id: int
) -> list[CocoAnnotation]:
    found: list[CocoAnnotation] = []
    for index, box in enumerate(np.asarray(image.boxes_xyxy_px, dtype=np.float64) * np.tile(scale_xy, 2)):
        clipped = np.clip(box, 0, [row.width, row.height, row.width, row.height])
        if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
            continue
        label = image.labels[index]
        attributes = {
            "nodule_id": f"{image.image_id}-{index + 1}",
            "label": label,
            **(image.attributes[index] if image.attributes else {}),
        }
        category = categories.get(label, 1)
        x1, y1, x2, y2 = (float(value) for value in clipped)
        found.append(CocoAnnotation(first_id + len(found), row.id, category, (x1, y1, x2, y2), attributes=attributes))
    return found
