"""Mosaic: parts of four slices side by side as one training image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

EDGES = (0.3, 0.7)
"""Where the four meet, as shares of the extent."""

Part = tuple[Tensor, Tensor, Tensor]
"""Image (C, h, w), boxes (N, 4), labels (N,)."""


def mosaic(random: np.random.Generator, size_xy: tuple[int, int], part: Callable[[tuple[int, int]], Part]) -> Part:
    """An image of ``size_xy`` out of four parts, 0 where a part is smaller than its place; their boxes are in it.

    Args:
        part: gives a part that is at most as large as it is told, (x, y).

    Source: Bochkovskiy 2020 (YOLOv4); its parts are whole pictures made small, these are crops at their own scale, for
    a nodule made small is gone.
    """
    width, height = size_xy
    x, y = (int(side * random.uniform(*EDGES)) for side in size_xy)
    places = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
    parts = [part((right - left, bottom - top)) for left, top, right, bottom in places]
    canvas = parts[0][0].new_zeros((len(parts[0][0]), height, width))
    boxes = []
    for (left, top, _, _), (image, some, _) in zip(places, parts, strict=True):
        canvas[:, top : top + image.shape[1], left : left + image.shape[2]] = image
        boxes.append(some + some.new_tensor([left, top, left, top]))
    return canvas, torch.cat(boxes), torch.cat([labels for _, _, labels in parts])
