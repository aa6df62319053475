"""Where the cells of a feature map lie on the image: bilinear resampling as two small matrices per axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungct.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """The sizes that one image passes through, each (rows, columns).

    Attributes:
        slice_yx: the stored slice.
        input_yx: what the detector is given, the slice magnified.
        resized_yx: the same after the detector's own resizing; what its boxes are measured in.
        padded_yx: after padding at the bottom and right; what its feature maps cover.
    """

    slice_yx: tuple[int, int]
    input_yx: tuple[int, int]
    resized_yx: tuple[int, int]
    padded_yx: tuple[int, int]

    @property
    def slice_to_network_xyxy(self) -> FloatArray:
        """(4,) factors that take a box in slice pixels to the detector's own pixels."""
        y, x = (there / here for there, here in zip(self.resized_yx, self.slice_yx, strict=True))
        return np.array([x, y, x, y])

    @property
    def network_to_input_xyxy(self) -> FloatArray:
        """(4,) factors that take a box in the detector's own pixels to those of its input."""
        y, x = (there / here for there, here in zip(self.input_yx, self.resized_yx, strict=True))
        return np.array([x, y, x, y])

    def to_slice(self, cells: FloatArray) -> FloatArray:
        """(..., h, w) values of feature cells -> (..., Y, X) float32 on the stored slice."""
        return self._resample(cells, self.slice_yx)

    def pixels_to_slice(self, values: Tensor) -> Tensor:
        """(D, H, W) float32 on the detector's input -> (D, Y, X) on the stored slice."""
        if self.input_yx == self.slice_yx or not len(values):
            return values if len(values) else values.new_zeros(0, *self.slice_yx)
        from torch.nn import functional as F

        return F.interpolate(values[:, None], size=self.slice_yx, mode="bilinear", antialias=True)[:, 0]

    def matrices_to_input(self, map_hw: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        """(H, h) and (W, w) float32 that take a map to the detector's input as ``rows @ map @ columns.T``."""
        return self._matrices(map_hw, self.input_yx)

    def _resample(self, cells: FloatArray, wanted_yx: tuple[int, int]) -> FloatArray:
        rows, columns = self._matrices((cells.shape[-2], cells.shape[-1]), wanted_yx)
        values: FloatArray = rows @ cells.astype(np.float32) @ columns.T
        return values

    def _matrices(self, map_hw: tuple[int, int], wanted_yx: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        rows, columns = (
            interpolation(wanted_yx[axis], self.resized_yx[axis], self.padded_yx[axis] / map_hw[axis], map_hw[axis])
            for axis in (0, 1)
        )
        return rows, columns


def interpolation(pixels: int, extent_px: float, stride_px: float, cells: int) -> FloatArray:
    """(pixels, cells) float32 weights of linear interpolation along one axis; each row sums to 1.

    Cell i of a chain of convolutions with odd kernels and symmetric padding sees a window centred on network pixel
    i x stride, not on the middle (i + .5) x stride of the block it replaces; RoIAlign reads it there too. Stretching a
    map over the image, as is usual, therefore moves it by (stride - 1) / 2 pixels: at stride 16 more than a small
    nodule is wide.

    Args:
        pixels: number of pixels wanted.
        extent_px: how many network pixels those cover.
        stride_px: network pixels from cell to cell.
        cells: number of cells of the map.
    """
    network_px = (np.arange(pixels) + 0.5) * extent_px / pixels - 0.5
    position = np.clip(network_px / stride_px, 0, cells - 1)
    left = np.minimum(position.astype(np.int64), max(cells - 2, 0))
    part = position - left
    weights = np.zeros((pixels, cells), dtype=np.float32)
    here = np.arange(pixels)
    weights[here, left] = 1 - part
    weights[here, np.minimum(left + 1, cells - 1)] += part
    return weights
