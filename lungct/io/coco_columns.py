"""Records of a COCO results array as columns, many at a time; records with anything odd are left to the reader."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lungct.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class ResultColumns:
    """N detections: ``image`` (N,) place of the image, ``box_xyxy_px`` (N, 4), ``category`` (N,), ``score`` (N,)."""

    image: IntArray
    box_xyxy_px: FloatArray
    category: IntArray
    score: FloatArray

    @classmethod
    def joined(cls, parts: Sequence[ResultColumns]) -> ResultColumns:
        """The detections of all parts, in order."""
        if not parts:
            return cls(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
        columns = zip(*((one.image, one.box_xyxy_px, one.category, one.score) for one in parts), strict=True)
        return cls(*map(np.concatenate, columns))

    def by_image(self, images: int) -> tuple[ResultColumns, IntArray]:
        """The detections by image and falling score, equal ones as they stood, and (I + 1,) where each image begins."""
        order = np.lexsort((-self.score, self.image))
        ordered = ResultColumns(self.image[order], self.box_xyxy_px[order], self.category[order], self.score[order])
        return ordered, np.searchsorted(ordered.image, np.arange(images + 1))


def result_columns(
    rows: Sequence[Any], places: Mapping[Any, int], extents_px: IntArray, categories: Container[int]
) -> ResultColumns | None:
    """The columns of N records, None where at least one of them needs a second look.

    Args:
        rows: parsed JSON values.
        places: image id -> place.
        extents_px: (I, 2) width and height of the image at each place.
        categories: known category ids.
    """
    try:
        image = np.asarray([places.get(row["image_id"], -1) for row in rows], dtype=np.int64)
        labels = [row["category_id"] for row in rows]
        box = np.asarray([row["bbox"] for row in rows], dtype=np.float64)
        score = np.asarray([row["score"] for row in rows], dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    plain = set(map(type, labels)) == {int} and all(one in categories for one in set(labels))
    if not plain or (box.shape, score.shape) != ((len(rows), 4), (len(rows),)) or (image < 0).any():
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # a broken box may be of any size
        box[:, 2:] += box[:, :2]
        columns = ResultColumns(image, box, np.asarray(labels, dtype=np.int64), score)
        return columns if _sound(columns, extents_px[image]) else None


def _sound(columns: ResultColumns, extent_px: IntArray) -> bool:
    """Whether scores are in 0..1 and no box is broken or lies mostly outside its image."""
    low, high, score = columns.box_xyxy_px[:, :2], columns.box_xyxy_px[:, 2:], columns.score
    if not (np.isfinite(columns.box_xyxy_px).all() and (high >= low).all() and ((score >= 0) & (score <= 1)).all()):
        return False
    inside = np.minimum(high, extent_px) - np.maximum(low, 0)
    return bool((inside >= 0).all() and (inside.prod(axis=1) >= 0.5 * (high - low).prod(axis=1)).all())
