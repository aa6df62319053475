"""Turn, shear and shift of what is shown, about its middle: one interpolation, and boxes of nodules, not of boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lungct.data.augmentation import Augmentation


@dataclass(frozen=True)
class Turn:
    """A point at (x, y) from the middle goes to ``matrix (x, y) + shift``.

    Attributes:
        matrix: rows of a 2 x 2 matrix.
        shift: as a share of the extent shown.
    """

    matrix: tuple[tuple[float, float], tuple[float, float]]
    shift: tuple[float, float] = (0.0, 0.0)

    def boxes(self, boxes_xyxy_px: Tensor, size_xy: tuple[int, int]) -> Tensor:
        """(N, 4) boxes after the turn: each that of the turned ellipse that its box holds.

        The box of the four turned corners, which torchvision's transforms give, is up to 1.4 times too wide for a
        nodule, 1.22 times at 15 degrees.
        """
        matrix = boxes_xyxy_px.new_tensor(self.matrix)
        middle = boxes_xyxy_px.new_tensor(size_xy) / 2
        center = (boxes_xyxy_px[:, :2] + boxes_xyxy_px[:, 2:]) / 2 - middle
        half = (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]) / 2
        center = center @ matrix.T + middle * (1 + 2 * middle.new_tensor(self.shift))
        half = (half**2 @ (matrix**2).T).sqrt()
        return torch.cat((center - half, center + half), 1)

    def reach(
        self, corner_xy_px: tuple[int, int], factor: float, size_xy: tuple[int, int], shape: Sequence[int]
    ) -> tuple[int, int, int, int]:
        """The part of a (C, Y, X) slice that is seen: x, y, width, height in whole stored pixels, one to spare."""
        width, height = size_xy
        corners = np.array([(0.0, 0.0), (width, 0.0), (0.0, height), (width, height)])
        middle = np.array(size_xy) / 2
        seen = (corners - middle - np.array(self.shift) * size_xy) @ np.linalg.inv(np.array(self.matrix)).T + middle
        seen = seen / factor + corner_xy_px
        limit = (shape[2], shape[1])
        low = [int(np.clip(math.floor(one) - 1, 0, most - 1)) for one, most in zip(seen.min(0), limit, strict=True)]
        high = [
            int(np.clip(math.ceil(one) + 1, at + 1, most))
            for one, most, at in zip(seen.max(0), limit, low, strict=True)
        ]
        return low[0], low[1], high[0] - low[0], high[1] - low[1]


def draw_turn(random: np.random.Generator, how: Augmentation, *, whole: bool) -> Turn | None:
    """A random turn, None where the numbers leave nothing to it; only whole slices are shifted, crops are anyway."""
    angle, shear, *shift = random.uniform(-1, 1, 4) * (math.radians(how.rotate_deg), how.shear, how.shift, how.shift)
    if not how.rotate_deg and not how.shear and not (whole and how.shift):
        return None
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = ((cos, cos * shear - sin), (sin, sin * shear + cos))
    return Turn(matrix, (float(shift[0]), float(shift[1])) if whole else (0.0, 0.0))


def turned(
    image: Tensor, turn: Turn, factor: float, offset_xy: tuple[float, float], size_xy: tuple[int, int]
) -> Tensor:
    """(C, Y, X) float to (C, h, w), bilinear, 0 beyond the image.

    Args:
        factor: network pixels per pixel of the image.
        offset_xy: where what is shown would begin without the turn, network pixels from the image's corner.
        size_xy: extent shown, network pixels.
    """
    size, extent = np.array(size_xy, dtype=np.float64), np.array([image.shape[2], image.shape[1]]) * factor
    back = np.linalg.inv(np.array(turn.matrix))
    linear = back * size / extent[:, None]
    middle = (size / 2 - back @ (np.array(turn.shift) * size) + offset_xy) * 2 / extent - 1
    columns, rows = (torch.from_numpy(((np.arange(n) + 0.5) * 2 / n - 1).astype(np.float32)) for n in size_xy)
    grid = torch.empty(1, size_xy[1], size_xy[0], 2)
    for axis in (0, 1):
        across, down = float(linear[axis, 0]), float(linear[axis, 1])
        torch.add((rows * down + float(middle[axis]))[:, None], columns * across, out=grid[0, ..., axis])
    return F.grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
