"""One panel of an overlay: a window of a CT slice in grey, with or without heat, boxes and a scale bar on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lungct.types import FloatArray

Colour: TypeAlias = tuple[int, int, int]
XYXY: TypeAlias = tuple[float, float, float, float]

DETECTION: Colour = (0, 229, 255)
TRUTH: Colour = (255, 255, 255)
FRAME: Colour = (150, 150, 150)
INK: Colour = (240, 240, 240)
_HALO: Colour = (0, 0, 0)
_DASH_PX = 7
_SCALE_STEPS_MM = (1, 2, 5, 10, 20, 50, 100, 200)
_OPACITY = 0.6
_GREY_LEVELS = 64


@dataclass(frozen=True)
class View:
    """Which part of a slice a panel shows, and how large.

    Attributes:
        window_xyxy_px: the part, in pixel edges of the slice.
        size_px: width and height of the panel, in its own pixels.
    """

    window_xyxy_px: XYXY
    size_px: tuple[int, int]

    def place(self, box_xyxy_px: Sequence[float]) -> XYXY:
        """A box of the slice in panel pixels."""
        x1, y1, x2, y2 = self.window_xyxy_px
        scale_x, scale_y = self.size_px[0] / (x2 - x1), self.size_px[1] / (y2 - y1)
        left, top, right, bottom = (float(value) for value in box_xyxy_px)
        return (left - x1) * scale_x, (top - y1) * scale_y, (right - x1) * scale_x, (bottom - y1) * scale_y


def whole_slice(shape_yx: tuple[int, int], spacing_mm_xy: tuple[float, float] | None, *, side_px: int) -> View:
    """The whole slice, as large as fits a square of ``side_px``, in its true proportions."""
    spacing_x, spacing_y = spacing_mm_xy or (1.0, 1.0)
    width, height = shape_yx[1] * spacing_x, shape_yx[0] * spacing_y
    scale = side_px / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return View((0.0, 0.0, float(shape_yx[1]), float(shape_yx[0])), size)


def around(
    box_xyxy_px: Sequence[float],
    shape_yx: tuple[int, int],
    spacing_mm_xy: tuple[float, float] | None,
    *,
    side_px: int,
    least_px: float = 40.0,
) -> View:
    """A square around a box, four times as wide as it and at least ``least_px`` slice pixels, kept inside the slice."""
    spacing_x, spacing_y = spacing_mm_xy or (1.0, 1.0)
    x1, y1, x2, y2 = (float(value) for value in box_xyxy_px)
    wanted = max(4 * (x2 - x1) * spacing_x, 4 * (y2 - y1) * spacing_y, least_px * min(spacing_x, spacing_y))
    side = min(wanted, shape_yx[1] * spacing_x, shape_yx[0] * spacing_y)
    left, right = _inside((x1 + x2) / 2, side / spacing_x, shape_yx[1])
    top, bottom = _inside((y1 + y2) / 2, side / spacing_y, shape_yx[0])
    return View((left, top, right, bottom), (side_px, side_px))


def _inside(centre: float, extent: float, limit: int) -> tuple[float, float]:
    extent = min(extent, float(limit))
    low = min(max(centre - extent / 2, 0.0), limit - extent)
    return low, low + extent


def paint(
    image_hu: NDArray[Any], heatmap: FloatArray | None, view: View, *, window_hu: tuple[float, float]
) -> Image.Image:
    """The panel's pixels: windowed grey CT, and where a map is given heat whose opacity grows with its value.

    Args:
        image_hu: (Y, X) HU.
        heatmap: (Y, X) in 0..1; values that are not finite show no heat.
        view: what is shown and how large.
        window_hu: HU drawn black and HU drawn white.
    """
    low, high = window_hu
    grey = np.clip((image_hu.astype(np.float32) - low) / (high - low), 0, 1)
    shown = _resized(grey, view, Image.Resampling.BICUBIC)
    # Steps of 1/63 of the window lie below the noise of any CT and nearly halve the file.
    shown = np.round(shown * (_GREY_LEVELS - 1)) * (255 / (_GREY_LEVELS - 1))
    rgb = np.repeat(shown[..., None], 3, axis=2)
    if heatmap is not None:
        clean = np.nan_to_num(np.asarray(heatmap, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        heat = _resized(np.clip(clean, 0, 1), view, Image.Resampling.BILINEAR)
        rgb = blend(rgb, heat)
    return Image.fromarray(np.round(rgb).astype(np.uint8))


def _resized(values: NDArray[np.float32], view: View, how: Image.Resampling) -> NDArray[np.float32]:
    image = Image.fromarray(np.ascontiguousarray(values))
    out = np.asarray(image.resize(view.size_px, how, box=view.window_xyxy_px), dtype=np.float32)
    return np.clip(out, 0, 1)


def blend(rgb: NDArray[np.floating[Any]], heat: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Heat (Y, X) in 0..1 laid over colours (Y, X, 3) in 0..255; nothing is laid where the heat is 0."""
    steps = np.round(heat * 63).astype(np.intp)
    opacity = (_OPACITY * (steps / 63) ** 1.25)[..., None]
    return rgb * (1 - opacity) + _heat_colours()[steps] * opacity


@cache
def _heat_colours() -> NDArray[np.float64]:
    # The dark end of inferno cannot be told from lung: the ramp starts at its purple.
    ramp = matplotlib.colormaps["inferno"](np.linspace(0.32, 0.94, 64))[:, :3]
    return np.asarray(ramp * 255, dtype=np.float64)


def outline(panel: Image.Image, view: View, box_xyxy_px: Sequence[float], colour: Colour, *, dashed: bool) -> None:
    """Draw a box around its pixels, with a dark halo; the line lies outside, so that a small nodule stays seen."""
    x1, y1, x2, y2 = view.place(box_xyxy_px)
    left, top, right, bottom = round(x1) - 2, round(y1) - 2, round(x2) + 1, round(y2) + 1
    brush = ImageDraw.Draw(panel)
    if not dashed:
        brush.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_HALO, width=4)
        brush.rectangle((left, top, right, bottom), outline=colour, width=2)
        return
    for start, end in _sides(left, top, right, bottom):
        for x_from, y_from, x_to, y_to in _dashes(start, end):
            brush.rectangle((x_from - 1, y_from - 1, x_to + 2, y_to + 2), fill=_HALO)
            brush.rectangle((x_from, y_from, x_to + 1, y_to + 1), fill=colour)


def _sides(left: int, top: int, right: int, bottom: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    right, bottom = right - 1, bottom - 1
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    sides = [(corners[0], corners[1]), (corners[3], corners[2]), (corners[0], corners[3]), (corners[1], corners[2])]
    return [(start, end) for start, end in sides if start <= end]


def _dashes(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    along = 0 if start[1] == end[1] else 1
    length = end[along] - start[along]
    count = max(2, round(length / (2 * _DASH_PX)))
    pieces = []
    for number in range(count):
        # Dashes sit at both corners, so a box of a few pixels still shows its four corners.
        begin = start[along] + round(number * length / (count - 0.5))
        stop = min(end[along], start[along] + round((number + 0.5) * length / (count - 0.5)))
        pieces.append((begin, start[1], stop, start[1]) if along == 0 else (start[0], begin, start[0], stop))
    return pieces


def scale_bar(panel: Image.Image, view: View, spacing_mm_xy: tuple[float, float]) -> None:
    """Draw a bar of a round number of millimetres in the lower right corner."""
    x1, _, x2, _ = view.window_xyxy_px
    px_per_mm = view.size_px[0] / ((x2 - x1) * spacing_mm_xy[0])
    length_mm = max([step for step in _SCALE_STEPS_MM if step * px_per_mm <= 0.35 * view.size_px[0]], default=1)
    right, bottom = panel.width - 12, panel.height - 12
    left = right - round(length_mm * px_per_mm)
    brush = ImageDraw.Draw(panel)
    brush.rectangle((left - 1, bottom - 4, right + 1, bottom + 1), fill=_HALO)
    brush.rectangle((left, bottom - 3, right, bottom), fill=INK)
    text(brush, ((left + right) / 2, bottom - 8), f"{length_mm} mm", anchor="ms")


def text(brush: ImageDraw.ImageDraw, at: tuple[float, float], words: str, *, size: int = 17, **look: Any) -> None:
    """Write words that stay legible on any grey: light with a dark rim."""
    look = {"fill": INK, "stroke_width": 2, "stroke_fill": _HALO, **look}
    brush.text(at, words, font=font(size, bold=bool(look.pop("bold", False))), **look)


@cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it, so that the same letters are drawn on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
