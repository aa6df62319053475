"""Cut-and-paste: nodules of other training patients laid into a slice's lungs, with their boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from lungct.ct.lung_slice import lungs_of_slice
from lungct.data.view import magnified
from lungct.io.coco import CocoImage, CocoTruth
from lungct.types import FloatArray

TRIES = 8
LEAST_MARGIN_PX, MARGIN = 2.0, 0.25
"""Round a nodule lies a seam as wide as a quarter of it and at least 2 px, in which it fades into its new place."""
STEP = 2
"""The lungs are looked for on every second pixel."""
CACHED_SLICES = 8000
"""Of so many slices they are kept, as distances to their edge: 64 KB for 512 x 512."""


@dataclass(frozen=True, eq=False)
class Cutting:
    """A nodule cut out of its slice.

    Attributes:
        hu: (C, h, w) float32.
        box_xyxy_px: of the nodule, from the cutting's corner.
        label: of its class.
    """

    hu: Tensor
    box_xyxy_px: tuple[float, float, float, float]
    label: int


class Paster:
    """Pastes between the slices of one split.

    Args:
        read: gives the (C, Y, X) int16 HU of an image.
        boxes, labels: of each image, those that are learned.
    """

    def __init__(
        self,
        truth: CocoTruth,
        read: Callable[[CocoImage], NDArray[Any]],
        boxes: list[Tensor],
        labels: list[Tensor],
    ) -> None:
        self.truth, self._read = truth, read
        self._boxes, self._labels = boxes, labels
        self._donors = [(number, which) for number, some in enumerate(boxes) for which in range(len(some))]
        self._depths: dict[int, NDArray[np.uint8]] = {}

    def __call__(
        self, random: np.random.Generator, number: int, image_hu: NDArray[np.int16], most: int
    ) -> tuple[NDArray[np.int16], Tensor, Tensor]:
        """A copy of an image with 1 to ``most`` nodules more, fewer where they find no place; and all its boxes."""
        image = self.truth.images[number]
        depth = self._depth(number, image_hu)
        taken = [one.box_xyxy_px for one in self.truth.annotations_of[image.id]]
        image_hu, boxes, labels = image_hu.copy(), self._boxes[number], self._labels[number]
        for _ in range(int(random.integers(1, most + 1))):
            cutting = self._cutting(random, image, len(image_hu))
            at = None if cutting is None else _place(random, depth, cutting, taken)
            if cutting is None or at is None:
                continue
            box = _lay(image_hu, cutting, at)
            taken = [*taken, box]
            boxes = torch.cat((boxes, boxes.new_tensor([box])))
            labels = torch.cat((labels, labels.new_tensor([cutting.label])))
        return image_hu, boxes, labels

    def _depth(self, number: int, image_hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        """(Y / 2, X / 2) of every second pixel: half the side, px, of the square of lung round it; 0 outside."""
        found = self._depths.get(number)
        if found is None:
            lungs = np.pad(lungs_of_slice(image_hu[len(image_hu) // 2, ::STEP, ::STEP]), 1)
            far = ndimage.distance_transform_cdt(lungs, metric="chessboard")[1:-1, 1:-1]
            found = np.clip(STEP * far - STEP + 1, 0, 255).astype(np.uint8)
            if len(self._depths) < CACHED_SLICES:
                self._depths[number] = found
        return found

    def _cutting(self, random: np.random.Generator, image: CocoImage, channels: int) -> Cutting | None:
        """A nodule of another patient, as large in mm as it was; None where no such one was met."""
        for _ in range(TRIES if self._donors else 0):
            number, which = self._donors[int(random.integers(len(self._donors)))]
            donor = self.truth.images[number]
            if donor.patient_id == image.patient_id:
                continue
            hu = self._read(donor)
            if len(hu) != channels:
                continue
            box = tuple(self._boxes[number][which].tolist())
            found = _cut(hu, box, int(self._labels[number][which]))
            spacings = donor.spacing_mm_xy, image.spacing_mm_xy
            ratio = spacings[0][0] / spacings[1][0] if spacings[0] and spacings[1] else 1.0
            return _mirrored(random, _scaled(found, ratio))
        return None


def _cut(hu: NDArray[np.int16], box: tuple[float, ...], label: int) -> Cutting:
    x1, y1, x2, y2 = box
    margin = _margin(box)
    left, top = max(int(x1 - margin), 0), max(int(y1 - margin), 0)
    right, bottom = int(np.ceil(x2 + margin)), int(np.ceil(y2 + margin))
    patch = torch.from_numpy(hu[:, top:bottom, left:right].astype(np.float32))
    return Cutting(patch, (x1 - left, y1 - top, x2 - left, y2 - top), label)


def _margin(box: tuple[float, ...]) -> float:
    return max(LEAST_MARGIN_PX, MARGIN * max(box[2] - box[0], box[3] - box[1]))


def _scaled(one: Cutting, ratio: float) -> Cutting:
    if abs(ratio - 1) < 0.02:
        return one
    x1, y1, x2, y2 = (value * ratio for value in one.box_xyxy_px)
    return Cutting(magnified(one.hu, ratio), (x1, y1, x2, y2), one.label)


def _mirrored(random: np.random.Generator, one: Cutting) -> Cutting:
    """Left for right, top for bottom, rows for columns, each or not."""
    hu, (x1, y1, x2, y2) = one.hu, one.box_xyxy_px
    across, down, swap = (random.random(3) < 0.5).tolist()
    if across:
        hu, x1, x2 = hu.flip(2), hu.shape[2] - x2, hu.shape[2] - x1
    if down:
        hu, y1, y2 = hu.flip(1), hu.shape[1] - y2, hu.shape[1] - y1
    if swap:
        hu, x1, y1, x2, y2 = hu.transpose(1, 2), y1, x1, y2, x2
    return Cutting(hu, (x1, y1, x2, y2), one.label)


def _place(
    random: np.random.Generator,
    depth: NDArray[np.uint8],
    one: Cutting,
    taken: list[tuple[float, float, float, float]],
) -> tuple[int, int] | None:
    """A place for the cutting's corner, nodule and seam inside the lungs and clear of every box; None for nowhere."""
    x1, y1, x2, y2 = one.box_xyxy_px
    radius, margin = max(x2 - x1, y2 - y1) / 2, _margin(one.box_xyxy_px)
    deep = np.flatnonzero(depth >= min(radius + margin, 255))
    for _ in range(TRIES if len(deep) else 0):
        row, column = divmod(int(deep[int(random.integers(len(deep)))]), depth.shape[1])
        x, y = round(STEP * column + 0.5 - (x1 + x2) / 2), round(STEP * row + 0.5 - (y1 + y2) / 2)
        box = (x + x1 - margin, y + y1 - margin, x + x2 + margin, y + y2 + margin)
        if all(box[0] >= u2 or box[2] <= u1 or box[1] >= v2 or box[3] <= v1 for u1, v1, u2, v2 in taken):
            return x, y
    return None


def _lay(image_hu: NDArray[np.int16], one: Cutting, at: tuple[int, int]) -> tuple[float, float, float, float]:
    """Blend the cutting into an image, in place; returns the nodule's box there."""
    (x, y), (x1, y1, x2, y2) = at, one.box_xyxy_px
    height, width = image_hu.shape[1:]
    top, left = max(-y, 0), max(-x, 0)
    patch = one.hu.numpy()[:, top : height - y, left : width - x]
    weight = _weight(one)[top : height - y, left : width - x]
    into = image_hu[:, y + top : y + top + patch.shape[1], x + left : x + left + patch.shape[2]]
    into[:] = np.rint(into + weight * (patch - into))
    return x + x1, y + y1, x + x2, y + y2


def _weight(one: Cutting) -> FloatArray:
    """(h, w) 1 within the ellipse of the nodule's box, falling to 0 at one that is wider by the margin."""
    x1, y1, x2, y2 = one.box_xyxy_px
    x = np.arange(one.hu.shape[2]) + 0.5 - (x1 + x2) / 2
    y = np.arange(one.hu.shape[1])[:, None] + 0.5 - (y1 + y2) / 2
    margin, half_x, half_y = _margin(one.box_xyxy_px), (x2 - x1) / 2, (y2 - y1) / 2
    inner = np.hypot(x / half_x, y / half_y) - 1
    outer = 1 - np.hypot(x / (half_x + margin), y / (half_y + margin))
    part = np.clip(outer / np.maximum(outer + inner, 1e-9), 0, 1)
    part[inner <= 0] = 1
    return np.asarray(part * part * (3 - 2 * part))
