"""What a map should point at: one true nodule among those of its image, as a box, an ellipse or a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from lungct.types import BoolArray, FloatArray, IntArray

MINKOWSKI_P = 6.0


@dataclass(frozen=True, eq=False)
class Target:
    """The true nodules of one image, seen from the one that a detection found.

    Attributes:
        shape_yx: of the image.
        box_xyxy_px: (4,) the nodule's box.
        boxes_xyxy_px: (N, 4) every true box of the image, in the file's order.
        shape: what a nodule's pixels are: those of its ``box``, of the ``ellipse`` in it, or of its ``mask``.
        masks: N (Y, X) masks in the order of the boxes, for ``mask``.
        spacing_mm_xy: pixel spacing, None unknown.
        ignored: (Y, X) pixels of crowd regions, None where there are none. What of them is no nodule's is left out of
            the image: a map gains and loses nothing there. Flat pixels are numbered among those that are left.
    """

    shape_yx: tuple[int, int]
    box_xyxy_px: FloatArray
    boxes_xyxy_px: FloatArray
    shape: str = "box"
    masks: Sequence[BoolArray] = ()
    spacing_mm_xy: tuple[float, float] | None = None
    ignored: BoolArray | None = None

    @cached_property
    def counted(self) -> BoolArray | None:
        """(Y X,) pixels that are not ignored, None for all."""
        return None if self.ignored is None else (~self.ignored | self._inside_any).reshape(-1)

    @cached_property
    def pixels(self) -> int:
        """n, the pixels of the image."""
        return self.shape_yx[0] * self.shape_yx[1] if self.counted is None else int(self.counted.sum())

    def _flat(self, plane: NDArray[Any]) -> NDArray[Any]:
        flat = plane.reshape(-1)
        return flat if self.counted is None else flat[self.counted]

    @cached_property
    def own(self) -> int:
        """Place of the nodule among the boxes."""
        return int(np.flatnonzero((self.boxes_xyxy_px == self.box_xyxy_px).all(axis=1))[0])

    def _mask_of(self, number: int) -> BoolArray:
        if self.shape == "mask":
            return self.masks[number]
        return pixels_of(self.shape_yx, self.boxes_xyxy_px[number], ellipse=self.shape == "ellipse")

    @cached_property
    def inside(self) -> BoolArray:
        """(Y, X) pixels of the nodule."""
        return self._mask_of(self.own)

    @cached_property
    def inside_flat(self) -> IntArray:
        """(a,) flat pixels of the nodule."""
        return np.flatnonzero(self.inside_of_flat)

    @cached_property
    def inside_of_flat(self) -> BoolArray:
        """(n,) which flat pixels are the nodule's."""
        return self._flat(self.inside)

    @property
    def area(self) -> int:
        """a, how many pixels the nodule has."""
        return len(self.inside_flat)

    @cached_property
    def _inside_any(self) -> BoolArray:
        if len(self.boxes_xyxy_px) == 1:
            return self.inside
        found: BoolArray = np.any([self._mask_of(number) for number in range(len(self.boxes_xyxy_px))], axis=0)
        return found

    @cached_property
    def inside_any_flat(self) -> IntArray:
        """Flat pixels of any true nodule of the image."""
        return np.flatnonzero(self._flat(self._inside_any))

    @cached_property
    def others_flat(self) -> IntArray:
        """Flat pixels of the other true nodules of the image that are not of this one, too."""
        return np.setdiff1d(self.inside_any_flat, self.inside_flat, assume_unique=True)

    @cached_property
    def distance_px(self) -> FloatArray:
        """(n,) float64 distance of each pixel's centre to the nodule, 0 inside.

        To a box it is the published Minkowski distance, p = 6; to an ellipse or a mask the Euclidean distance to the
        centre of its nearest pixel.
        """
        if self.shape == "box":
            return self._flat(box_distance_px(self.shape_yx, self.box_xyxy_px))
        return self._flat(distance_transform_edt(~self.inside))

    @cached_property
    def mean_distance_px(self) -> float:
        """Of all pixels of the image."""
        return float(self.distance_px.mean())

    def nearest_px(self, count: int) -> float:
        """Mean distance of the ``count`` nearest pixels."""
        if count not in self._nearest:
            near = self.distance_px[self.distance_px <= 2 * self.diameter_px]  # most of an image lies far away
            near = near if len(near) >= count else self.distance_px
            self._nearest[count] = float(np.partition(near, count - 1)[:count].mean())
        return self._nearest[count]

    @cached_property
    def _nearest(self) -> dict[int, float]:
        return {}

    @cached_property
    def nearness(self) -> tuple[FloatArray, float]:
        """(n,) exp(-distance / diameter) of each pixel, and its mean."""
        near = np.exp(-self.distance_px / self.diameter_px)
        return near, float(near.mean())

    @property
    def diagonal_px(self) -> float:
        """Of the image."""
        return float(np.hypot(*self.shape_yx))

    @cached_property
    def diameter_px(self) -> float:
        """Longest side of the box, at least a pixel."""
        x1, y1, x2, y2 = (float(value) for value in self.box_xyxy_px)
        return max(x2 - x1, y2 - y1, 1.0)

    @cached_property
    def off_centre_levels_mm(self) -> tuple[float, float]:
        """Mean and least of ``off_centre_mm``."""
        off = self.off_centre_mm
        return (float("nan"), float("nan")) if off is None else (float(off.mean()), float(off.min()))

    @cached_property
    def off_centre_mm(self) -> FloatArray | None:
        """(n,) float64 mm of each pixel's centre from the nodule's; None where the spacing is unknown.

        The centre is that of the box, and of a mask its centroid.
        """
        if self.spacing_mm_xy is None:
            return None
        x1, y1, x2, y2 = (float(value) for value in self.box_xyxy_px)
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        if self.shape == "mask":
            y, x = (float(axis.mean()) + 0.5 for axis in np.nonzero(self.inside))
        down, across = (np.arange(size) + 0.5 for size in self.shape_yx)
        off_y, off_x = (down - y) * self.spacing_mm_xy[1], (across - x) * self.spacing_mm_xy[0]
        return self._flat(np.sqrt(np.add.outer(off_y**2, off_x**2)))


def pixels_of(shape_yx: tuple[int, int], box_xyxy_px: FloatArray, *, ellipse: bool = False) -> BoolArray:
    """(Y, X) pixels whose centre lies in the box or in the ellipse inscribed in it.

    What is too small for that has the pixel that its own centre is in.
    """
    x1, y1, x2, y2 = (float(value) for value in box_xyxy_px)
    rows, columns = (np.arange(size) + 0.5 for size in shape_yx)
    mask: BoolArray
    if ellipse:
        down = ((rows - (y1 + y2) / 2) / max((y2 - y1) / 2, 1e-9)) ** 2
        across = ((columns - (x1 + x2) / 2) / max((x2 - x1) / 2, 1e-9)) ** 2
        mask = np.add.outer(down, across) <= 1
    else:
        mask = np.outer((rows >= y1) & (rows < y2), (columns >= x1) & (columns < x2))
    if not mask.any():
        row, column = int((y1 + y2) / 2), int((x1 + x2) / 2)
        mask[min(max(row, 0), shape_yx[0] - 1), min(max(column, 0), shape_yx[1] - 1)] = True
    return mask


def box_distance_px(shape_yx: tuple[int, int], box_xyxy_px: FloatArray) -> FloatArray:
    """(Y, X) float64 (dx^p + dy^p)^(1/p) from each pixel's centre to the box, p = 6, 0 inside."""
    x1, y1, x2, y2 = (float(value) for value in box_xyxy_px)
    rows, columns = (np.arange(size) + 0.5 for size in shape_yx)
    down = np.maximum(np.maximum(y1 - rows, rows - y2), 0) ** MINKOWSKI_P
    across = np.maximum(np.maximum(x1 - columns, columns - x2), 0) ** MINKOWSKI_P
    distance: FloatArray = np.add.outer(down, across) ** (1 / MINKOWSKI_P)
    return distance
