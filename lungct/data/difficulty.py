"""How hard slices are to learn from: faint and small nodules are, by system 1's formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.ct.boxes import Footprint
from lungct.ct.select import profile
from lungct.io.coco import CocoImage, CocoTruth
from lungct.types import FloatArray

OUTLIERS = (5.0, 95.0)
"""Percentiles between which mass and area are scaled to 0..1, lest one huge nodule make all others equally small."""


def difficulties(truth: CocoTruth, read: Callable[[CocoImage], NDArray[Any]]) -> FloatArray:
    """(N,) of each image, 0 easiest to 1: that of its hardest nodule, 0 where it holds none.

    difficulty = 1 - (huNorm + areaNorm) / 2. huNorm is the nodule's mass on the middle channel as slice selection
    has it, see :func:`lungct.ct.select.profile`, areaNorm the area of its box in mm2, in pixels where the files do not
    say; both scaled to 0..1 between the 5th and 95th percentile of the split.

    Args:
        read: gives the (C, Y, X) HU of an image.

    Source: the curriculum of a 2.5D nodule detector on NLST and DLCS24, which does not say how it scaled.
    """
    in_mm = all(image.spacing_mm_xy for image in truth.images)
    of_image, mass, area = [], [], []
    for number, image in enumerate(truth.images):
        boxes = truth.annotations_of[image.id]
        image_hu = read(image) if boxes else None
        for one in boxes:
            place = None if one.iscrowd else _place(one.box_xyxy_px, image)
            if place is None or image_hu is None:
                continue
            x1, y1, x2, y2 = one.box_xyxy_px
            step_x, step_y = (image.spacing_mm_xy if in_mm else None) or (1.0, 1.0)
            of_image.append(number)
            mass.append(float(profile(image_hu[len(image_hu) // 2][None], place).mass[0]))
            area.append((x2 - x1) * step_x * (y2 - y1) * step_y)
    hardest = np.zeros(len(truth.images))
    ease = _scaled(np.asarray(mass)) + _scaled(np.asarray(area))
    np.maximum.at(hardest, np.asarray(of_image, dtype=np.intp), 1 - 0.5 * ease)
    return hardest


def _place(box_xyxy_px: tuple[float, float, float, float], image: CocoImage) -> Footprint | None:
    x1, y1, x2, y2 = box_xyxy_px
    inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(image.width)), min(y2, float(image.height)))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        return None
    half = ((x2 - x1) / 2, (y2 - y1) / 2, 0.5)
    return Footprint("", 0, 0, ((x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5, 0.0), half, inside)


def _scaled(values: FloatArray) -> FloatArray:
    """To 0..1 between the percentiles; all 1 where the values do not differ."""
    if not len(values):
        return values
    low, high = np.percentile(values, OUTLIERS)
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.ones_like(values)
