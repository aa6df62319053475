"""COCO truth and results files <-> types; extra facts travel in keys that strict readers ignore.

Boxes are ``[x, y, w, h]`` in pixel edges on disk and ``xyxy`` in memory. Image ids may be integers or strings, as other
people's files have them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError
from lungct.io import atomic, json_rows
from lungct.io.coco_columns import ResultColumns, result_columns
from lungct.types import Detections, FloatArray

SCHEMA = "lungct.slices/1"
BROKEN = (LookupError, TypeError, ValueError, OverflowError, AttributeError)
"""What reading a record of another shape raises."""


@dataclass(frozen=True)
class CocoImage:
    """One slice image; ``lungct`` holds our flat facts (case_id, patient_id, z_index, z_mm, spacing_mm, ...)."""

    id: int | str
    file_name: str
    width: int
    height: int
    lungct: Mapping[str, Any] = field(default_factory=dict)

    @property
    def patient_id(self) -> str:
        """What statistics are clustered by; the image itself where the file does not say."""
        return str(self.lungct.get("patient_id", self.id))

    @property
    def case_id(self) -> str:
        """The scan the slice is of; the image itself where the file does not say."""
        return str(self.lungct.get("case_id", self.id))

    @property
    def spacing_mm_xy(self) -> tuple[float, float] | None:
        """In-plane pixel spacing, None where the file does not say."""
        spacing = self.lungct.get("spacing_mm")
        return (float(spacing[0]), float(spacing[1])) if spacing else None


@dataclass(frozen=True)
class CocoAnnotation:
    """One true box; ``box_xyxy_px`` in pixel edges; ``segmentation`` as the file has it, polygons or run lengths."""

    id: int | str
    image_id: int | str
    category_id: int
    box_xyxy_px: tuple[float, float, float, float]
    iscrowd: int = 0
    area: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    segmentation: Any = field(default=(), compare=False)

    @property
    def area_px(self) -> float:
        """The file's own area where it has one, else the box's."""
        x1, y1, x2, y2 = self.box_xyxy_px
        return self.area if self.area is not None else (x2 - x1) * (y2 - y1)


@dataclass(frozen=True)
class CocoTruth:
    """One split: categories (id -> name), images, annotations, and the folder that ``file_name`` is relative to."""

    categories: Mapping[int, str]
    images: Sequence[CocoImage]
    annotations: Sequence[CocoAnnotation]
    root: Path = Path()
    info: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def image_of(self) -> Mapping[int | str, CocoImage]:
        """Image id -> image."""
        return {image.id: image for image in self.images}

    @cached_property
    def annotations_of(self) -> Mapping[int | str, list[CocoAnnotation]]:
        """Image id -> its annotations; an empty list for an image without any."""
        found: dict[int | str, list[CocoAnnotation]] = {image.id: [] for image in self.images}
        for annotation in self.annotations:
            found[annotation.image_id].append(annotation)
        return found

    def boxes_of(self, image_id: int | str) -> FloatArray:
        """(N, 4) float64 true boxes of an image, xyxy px; (0, 4) where it has none."""
        boxes = [annotation.box_xyxy_px for annotation in self.annotations_of[image_id]]
        return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def read_truth(path: Path) -> CocoTruth:
    """Read a COCO ground truth, ours or anybody's.

    Raises:
        InputError: not JSON, not COCO, an annotation of an unknown image or category, a repeated id, a broken box.
    """
    document = _read_json(path)
    if not isinstance(document, dict) or "images" not in document:
        raise InputError.of(path, "not a COCO ground truth (an object with images, annotations, categories)")
    try:
        truth = _truth_of(document, path.parent)
    except BROKEN as problem:
        raise InputError.of(path, f"broken COCO record: {_plain(problem)}") from None
    _check(truth, path)
    return truth


def _truth_of(document: dict[str, Any], root: Path) -> CocoTruth:
    images = [
        CocoImage(
            _id(row["id"]), str(row["file_name"]), _extent(row, "width"), _extent(row, "height"), _facts(row, "lungct")
        )
        for row in document["images"]
    ]
    _ = [image.spacing_mm_xy for image in images]  # complains of a broken one here
    annotations = [_annotation(row, number) for number, row in enumerate(document.get("annotations", []), 1)]
    categories = {int(row["id"]): str(row["name"]) for row in document.get("categories", [])}
    return CocoTruth(categories, images, annotations, root, _facts(document, "info"))


def _annotation(row: dict[str, Any], number: int) -> CocoAnnotation:
    try:
        return CocoAnnotation(
            _id(row.get("id", number)),
            _id(row["image_id"]),
            int(row["category_id"]),
            _xyxy(row["bbox"]),
            int(row.get("iscrowd", 0)),
            None if row.get("area") is None else float(row["area"]),
            _facts(row, "attributes"),
            row.get("segmentation") or (),
        )
    except BROKEN as problem:
        name = row.get("id", number) if isinstance(row, dict) else number
        raise ValueError(f"annotation {name}: {_plain(problem)}") from None


def _plain(problem: Exception) -> str:
    """What is wrong with a record, in words."""
    if isinstance(problem, KeyError):
        return f"no {problem.args[0]}"
    return str(problem) if isinstance(problem, ValueError) else f"{type(problem).__name__}: {problem}"


def _id(value: Any) -> int | str:
    if not isinstance(value, (int, str)):
        raise ValueError(f"id {value!r} is neither a whole number nor a string")
    return value


def _extent(row: dict[str, Any], name: str) -> int:
    if int(row[name]) < 1:
        raise ValueError(f"{name} {row[name]} is not positive")
    return int(row[name])


def _facts(row: dict[str, Any], name: str) -> dict[str, Any]:
    found = row.get(name) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{name} is not an object")
    return found


def _xyxy(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(value) for value in bbox)
    except (TypeError, ValueError):
        raise ValueError(f"bbox {bbox!r} is not [x, y, w, h] with w, h >= 0") from None
    if not all(map(math.isfinite, (x, y, width, height))) or width < 0 or height < 0:
        raise ValueError(f"bbox {list(bbox)} is not [x, y, w, h] with w, h >= 0")
    return x, y, x + width, y + height


def _check(truth: CocoTruth, path: Path) -> None:
    ids = {image.id for image in truth.images}
    if len(ids) != len(truth.images):
        raise InputError.of(path, "two images share an id")
    for annotation in truth.annotations:
        if annotation.image_id not in ids:
            raise InputError.of(path, f"annotation {annotation.id} is of an unknown image {annotation.image_id!r}")
        if annotation.category_id not in truth.categories:
            raise InputError.of(path, f"annotation {annotation.id} has an unknown category {annotation.category_id}")


def write_truth(path: Path, truth: CocoTruth) -> None:
    """Write a split as COCO, every field that a strict reader asks for in it; deterministic bytes."""
    document = {
        "info": {"description": "lungct slices", "version": "1", "schema": SCHEMA, **truth.info},
        "licenses": [],
        "categories": [
            {"id": identifier, "name": name, "supercategory": "lesion"} for identifier, name in truth.categories.items()
        ],
        "images": [
            {"id": i.id, "file_name": i.file_name, "width": i.width, "height": i.height, "lungct": dict(i.lungct)}
            for i in truth.images
        ],
        "annotations": [_annotation_row(annotation) for annotation in truth.annotations],
    }
    atomic.write_json(path, document)


def _annotation_row(annotation: CocoAnnotation) -> dict[str, Any]:
    x1, y1, x2, y2 = annotation.box_xyxy_px
    return {
        "id": annotation.id,
        "image_id": annotation.image_id,
        "category_id": annotation.category_id,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": annotation.area_px,
        "iscrowd": annotation.iscrowd,
        "segmentation": annotation.segmentation or [],
        "attributes": dict(annotation.attributes),
    }


def read_detections(path: Path, truth: CocoTruth, dtype: type[np.floating[Any]] = np.float32) -> list[Detections]:
    """Read a COCO results array against its truth: one entry per image of the truth, in its order, empty ones too.

    ``dtype`` float64 keeps every digit of the file, which decides between scores that are all but equal.

    Raises:
        InputError: not a results array, a record without its fields, an unknown image id, a number that is not finite,
            a score outside 0..1, a category the truth does not name, a box mostly outside its image.
    """
    places = {image.id: place for place, image in enumerate(truth.images)}
    extents_px = np.asarray([(image.width, image.height) for image in truth.images], dtype=np.int64).reshape(-1, 2)
    parts, done = [], 0
    for rows in _results(path):
        columns = result_columns(rows, places, extents_px, truth.categories)
        if columns is None:  # the slower way, which says what is wrong with which record
            records = [_record(path, number, row, places, truth) for number, row in enumerate(rows, done)]
            columns = ResultColumns(*(np.asarray(column) for column in zip(*records, strict=True)))
        parts.append(columns)
        done += len(rows)
    return _per_image(ResultColumns.joined(parts), truth, dtype)


def _results(path: Path) -> Iterator[list[Any]]:
    """The records of a results array, a piece at a time."""
    text = _read_text(path)
    try:
        yield from (rows for rows in json_rows.pieces(text) if rows)
    except (json.JSONDecodeError, RecursionError) as problem:
        raise _no_json(path, problem) from None
    except ValueError:
        expected = "expected [{image_id, category_id, bbox, score}, ...]"
        raise InputError.of(path, "not a COCO results array", expected) from None


def _record(
    path: Path, number: int, row: Any, places: Mapping[int | str, int], truth: CocoTruth
) -> tuple[int, tuple[float, ...], int, float]:
    """Place of the image, box, category and score of one record."""
    try:
        image_id, label, score = row["image_id"], int(row["category_id"]), float(row["score"])
        box = _xyxy(row["bbox"])
        place = places.get(image_id)
    except KeyError as problem:
        raise InputError.of(path, f"record {number} has no {problem.args[0]}") from None
    except (TypeError, ValueError, OverflowError) as problem:
        raise InputError.of(path, f"record {number} is broken: {problem}") from None
    if place is None:
        problem_text = f"record {number} is of image {image_id!r}, which the truth does not hold"
        raise InputError.of(path, problem_text, _id_hint(image_id, places))
    if label not in truth.categories:
        names = ", ".join(f"{identifier} {name}" for identifier, name in truth.categories.items())
        raise InputError.of(path, f"record {number} has category {label}, the truth has {names or 'none'}")
    if not 0 <= score <= 1:
        raise InputError.of(path, f"record {number} has score {score}, expected 0..1")
    image = truth.images[place]
    if _outside(box, image):
        shown = f"bbox {list(row['bbox'])} lies mostly outside its {image.width}x{image.height} image"
        hint = "expected [x, y, w, h] in pixels; is it [x1, y1, x2, y2]?"
        raise InputError.of(path, f"record {number}: {shown}", hint)
    return place, box, label, score


def _id_hint(image_id: object, known: Iterable[int | str]) -> str:
    twin = next((one for one in known if str(one) == str(image_id)), None)
    if twin is not None:
        return f"the truth's is {twin!r}, a {'string' if isinstance(twin, str) else 'number'}; write ids as it does"
    return "were the detections made on another split?"


def _outside(box_xyxy_px: tuple[float, ...], image: CocoImage) -> bool:
    """Whether more than half of a box lies outside its image; a detector that does not clip stays well below that."""
    x1, y1, x2, y2 = box_xyxy_px
    across = min(x2, image.width) - max(x1, 0.0)
    down = min(y2, image.height) - max(y1, 0.0)
    return across < 0 or down < 0 or across * down < 0.5 * (x2 - x1) * (y2 - y1)


def _per_image(found: ResultColumns, truth: CocoTruth, dtype: type[np.floating[Any]]) -> list[Detections]:
    ordered, starts = found.by_image(len(truth.images))
    boxes, scores = ordered.box_xyxy_px.astype(dtype, copy=False), ordered.score.astype(dtype, copy=False)
    return [
        Detections(image.id, boxes[first:last], scores[first:last], ordered.category[first:last])
        for image, first, last in zip(truth.images, starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]


def write_detections(path: Path, detections: Iterable[Detections], *, overwrite: bool = True) -> None:
    """Write the rows of :func:`detection_rows` as a COCO results array."""
    atomic.write_json(path, detection_rows(detections), overwrite=overwrite)


def detection_rows(detections: Iterable[Detections]) -> list[dict[str, Any]]:
    """COCO results; numbers rounded to 1e-4 px and 1e-6 score so that files are small and stable."""
    return [
        {
            "image_id": one.image_id,
            "category_id": int(label),
            "bbox": [round(float(v), 4) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
            "score": round(float(score), 6),
        }
        for one in detections
        for box, score, label in zip(one.boxes_xyxy_px, one.scores, one.labels, strict=True)
    ]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except (json.JSONDecodeError, RecursionError) as problem:
        raise _no_json(path, problem) from None


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise _no_json(path, problem) from None


def _no_json(path: Path, problem: Exception) -> InputError:
    return InputError.of(path, f"not readable as JSON ({problem})")
