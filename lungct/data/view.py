"""From stored HU slices to network pixels: window, crop, magnify, turn and flip, with boxes carried along exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lungct.data.augmentation import DEFAULT, Augmentation
from lungct.data.look import Look, changed
from lungct.data.turn import Turn, draw_turn, turned
from lungct.types import FloatArray

NODULE_SHARE = 0.75
"""Share of crops that are taken around a nodule, where the slice has one."""
KEPT_AREA = 0.3
"""A box stays in a crop when at least this share of its area does."""
AS_IT_IS = Look()


@dataclass(frozen=True)
class ViewOptions:
    """How slices are shown to a network while it learns.

    Attributes:
        hu_window: HU that become 0 and 1.
        magnify: network pixels per stored pixel.
        crop_px: side of a training crop in network pixels; 0 shows whole slices.
        augmentation: what may happen to them on the way.
    """

    hu_window: tuple[float, float]
    magnify: float = 1.0
    crop_px: int = 0
    augmentation: Augmentation = DEFAULT


@dataclass(frozen=True)
class View:
    """One window on a stored slice and how it is shown; boxes go through :meth:`to_network` and back.

    Attributes:
        corner_xy_px: left upper corner of the window, whole stored pixels.
        window_xy_px: its extent, whole stored pixels.
        factor: network pixels per stored pixel.
        size_xy: extent shown, network pixels; at most ``window_xy_px * factor``.
        flip_x, flip_y: mirrored left to right, top to bottom, last of all.
        turn: what the window goes through before that; None for nothing. Then pixels of the slice from beyond the
            window may be shown.
    """

    corner_xy_px: tuple[int, int]
    window_xy_px: tuple[int, int]
    factor: float
    size_xy: tuple[int, int]
    flip_x: bool = False
    flip_y: bool = False
    turn: Turn | None = None

    def to_network(self, boxes_xyxy_px: Tensor) -> Tensor:
        """(N, 4) boxes of the stored slice to network pixels; not clipped."""
        corner = boxes_xyxy_px.new_tensor(self.corner_xy_px * 2)
        boxes = (boxes_xyxy_px - corner) * self.factor
        return self._flipped(boxes if self.turn is None else self.turn.boxes(boxes, self.size_xy))

    def to_stored(self, boxes_xyxy_px: Tensor) -> Tensor:
        """(N, 4) boxes in network pixels back to the stored slice: the inverse of :meth:`to_network`.

        Raises:
            ValueError: the view is turned; the box of an ellipse does not tell how it lay.
        """
        if self.turn is not None:
            raise ValueError("a turned view has no way back")
        corner = boxes_xyxy_px.new_tensor(self.corner_xy_px * 2)
        return self._flipped(boxes_xyxy_px) / self.factor + corner

    def _flipped(self, boxes: Tensor) -> Tensor:
        x1, y1, x2, y2 = boxes.unbind(-1)
        width, height = self.size_xy
        if self.flip_x:
            x1, x2 = width - x2, width - x1
        if self.flip_y:
            y1, y2 = height - y2, height - y1
        return torch.stack((x1, y1, x2, y2), -1)


def to_unit(image_hu: Tensor, hu_window: tuple[float, float]) -> Tensor:
    """(C, Y, X) HU of any dtype to float32 in 0..1 over the window, clipped."""
    low, high = hu_window
    return image_hu.to(torch.float32, copy=True).sub_(low).div_(high - low).clamp_(0, 1)


def magnified(image: Tensor, factor: float) -> Tensor:
    """(C, Y, X) float to (C, floor(Y f), floor(X f)), bilinear; edges of pixels map exactly by ``factor``."""
    if factor == 1:
        return image
    shrinks = factor < 1
    return F.interpolate(image[None], scale_factor=factor, mode="bilinear", align_corners=False, antialias=shrinks)[0]


def draw_view(
    random: np.random.Generator,
    shape_yx: tuple[int, int],
    boxes_xyxy_px: Tensor,
    options: ViewOptions,
    *,
    around_xyxy_px: Sequence[float] | FloatArray | None = None,
    crop_xy_px: tuple[int, int] | None = None,
) -> View:
    """A random view of a slice: round the place that is given, else round one of its boxes, or anywhere.

    Args:
        crop_xy_px: extent of the crop in network pixels, where it is not the options' square.
    """
    how = options.augmentation
    moved, flip_x, flip_y = random.random(3) < np.array([how.affine_chance, how.flip_x_chance, how.flip_y_chance])
    low, high = np.log(how.scale)
    factor = options.magnify * (float(np.exp(random.uniform(low, high))) if moved else 1.0)
    size_xy = (shape_yx[1], shape_yx[0])
    crop = crop_xy_px or (options.crop_px, options.crop_px)
    center = _center(random, size_xy, boxes_xyxy_px, (crop[0] / factor, crop[1] / factor), around_xyxy_px)
    sides = [min(size, math.ceil(side / factor)) if side else size for size, side in zip(size_xy, crop, strict=True)]
    corner = [int(np.clip(round(c - s / 2), 0, n - s)) for c, s, n in zip(center, sides, size_xy, strict=True)]
    shown = [int(side * factor) for side in sides]
    if any(crop):
        shown = [min(one, most) for one, most in zip(shown, crop, strict=True)]
    turn = draw_turn(random, how, whole=not any(crop))
    return View(
        (corner[0], corner[1]),
        (sides[0], sides[1]),
        factor,
        (shown[0], shown[1]),
        flip_x=bool(flip_x),
        flip_y=bool(flip_y),
        turn=turn if moved else None,
    )


def _center(
    random: np.random.Generator,
    size_xy: tuple[int, int],
    boxes: Tensor,
    side_xy_px: tuple[float, float],
    around: Sequence[float] | FloatArray | None,
) -> tuple[float, float]:
    """Where the crop is centred: off a nodule by up to 40 % of its side, so that nodules are seen everywhere in it."""
    chosen, shift, anywhere = random.random(), random.uniform(-0.4, 0.4, 2) * side_xy_px, random.random(2)
    if around is None and len(boxes) and chosen < NODULE_SHARE:
        around = boxes[int(random.integers(len(boxes)))].tolist()
    if around is not None:
        x1, y1, x2, y2 = (float(one) for one in around)
        return (x1 + x2) / 2 + shift[0], (y1 + y2) / 2 + shift[1]
    return anywhere[0] * size_xy[0], anywhere[1] * size_xy[1]


def show_image(image_hu: Tensor, view: View, hu_window: tuple[float, float], look: Look = AS_IT_IS) -> Tensor:
    """(C, Y, X) HU to the (C, h, w) float32 in 0..1 that the view shows; what lies beyond the slice is 0, air."""
    (x, y), (width, height) = view.corner_xy_px, view.window_xy_px
    if view.turn is not None:
        x, y, width, height = view.turn.reach(view.corner_xy_px, view.factor, view.size_xy, image_hu.shape)
    image = to_unit(image_hu[:, y : y + height, x : x + width], hu_window)
    image = changed(image, look, hu_window[1] - hu_window[0])
    if view.turn is None:
        image = magnified(image, view.factor)[:, : view.size_xy[1], : view.size_xy[0]]
    else:
        factor = view.factor
        if factor < 1:  # sampling alone would leave pixels out
            image, factor = magnified(image, factor), 1.0
        offset = ((view.corner_xy_px[0] - x) * view.factor, (view.corner_xy_px[1] - y) * view.factor)
        image = turned(image, view.turn, factor, offset, view.size_xy)
    flips = [axis for axis, flip in ((1, view.flip_y), (2, view.flip_x)) if flip]
    return image.flip(flips) if flips else image.contiguous()


def show_boxes(boxes_xyxy_px: Tensor, labels: Tensor, view: View) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) and labels (N,) that are left in a view, clipped to it, network pixels; (0, 4) where none is."""
    boxes = view.to_network(boxes_xyxy_px)
    width, height = view.size_xy
    clipped = torch.stack(
        (
            boxes[:, 0].clamp(0, width),
            boxes[:, 1].clamp(0, height),
            boxes[:, 2].clamp(0, width),
            boxes[:, 3].clamp(0, height),
        ),
        -1,
    )
    kept = _area(clipped) >= KEPT_AREA * _area(boxes).clamp(min=1e-6)
    return clipped[kept], labels[kept]


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]).clamp(min=0) * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)
