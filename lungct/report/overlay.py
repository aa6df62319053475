"""A heatmap over its CT slice as one legible picture: the slice, the finding enlarged with and without heat, a key."""

from __future__ import annotations

import functools
import io
import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lungct.io import atomic
from lungct.report import panel
from lungct.report.panel import DETECTION, FRAME, TRUTH, View
from lungct.types import FloatArray

SLICE_SIDE_PX = 512
GAP_PX = 12
ZOOM_SIDE_PX = (SLICE_SIDE_PX - GAP_PX) // 2
WIDTH_PX = SLICE_SIDE_PX + ZOOM_SIDE_PX + 3 * GAP_PX
_GROUND = (17, 17, 17)
_HEADER_PX = 46
KEY_PX = 50
_LINE_PX = 25
_BAR_PX = (220, 16)


def draw_overlay(
    path: Path,
    image_hu: NDArray[np.int16],
    heatmap: FloatArray,
    *,
    box_xyxy_px: Sequence[float],
    true_boxes_xyxy_px: FloatArray,
    score: float,
    method: str,
    window_hu: tuple[float, float],
    spacing_mm_xy: tuple[float, float] | None = None,
    caption: str = "",
    detected: bool = True,
) -> None:
    """Write one detection's heatmap over its slice as a PNG; the same bytes for the same input.

    Args:
        path: the PNG.
        image_hu: (Y, X) int16 HU, the slice that was explained.
        heatmap: (Y, X) in 0..1 on the slice's grid.
        box_xyxy_px: the detection, drawn solid, or what else the map is of.
        true_boxes_xyxy_px: (N, 4) true boxes of the slice, drawn dashed.
        score: the detection's score, 0..1.
        method: name of the method that made the map.
        window_hu: HU drawn black and HU drawn white.
        spacing_mm_xy: pixel spacing; without it no scale bar is drawn and pixels are taken as square.
        caption: a line below the key; must not name a patient.
        detected: whether the box is a detection and no missed nodule, of which there is only the true box to draw.
    """
    shape = (int(image_hu.shape[0]), int(image_hu.shape[1]))
    main = panel.whole_slice(shape, spacing_mm_xy, side_px=SLICE_SIDE_PX)
    zoom = panel.around(box_xyxy_px, shape, spacing_mm_xy, side_px=ZOOM_SIDE_PX)
    lines = textwrap.wrap(caption, 78)
    height = _HEADER_PX + SLICE_SIDE_PX + KEY_PX + _LINE_PX * len(lines) + (GAP_PX if lines else 0)
    sheet = Image.new("RGB", (WIDTH_PX, height), _GROUND)
    truths = np.asarray(true_boxes_xyxy_px, dtype=np.float64).reshape(-1, 4)
    for view, heat, at in (
        (main, heatmap, (GAP_PX, _HEADER_PX + (SLICE_SIDE_PX - main.size_px[1]) // 2)),
        (zoom, None, (2 * GAP_PX + SLICE_SIDE_PX, _HEADER_PX)),
        (zoom, heatmap, (2 * GAP_PX + SLICE_SIDE_PX, _HEADER_PX + ZOOM_SIDE_PX + GAP_PX)),
    ):
        picture = panel.paint(image_hu, heat, view, window_hu=window_hu)
        annotate(picture, view, box_xyxy_px if detected else None, truths, spacing_mm_xy=spacing_mm_xy)
        if view is main:
            ImageDraw.Draw(picture).rectangle(main.place(zoom.window_xyxy_px), outline=FRAME)
        sheet.paste(picture, (at[0] + (SLICE_SIDE_PX - view.size_px[0]) // 2 if view is main else at[0], at[1]))
    _header(sheet, method, score)
    draw_key(sheet, _HEADER_PX + SLICE_SIDE_PX + KEY_PX // 2 + 4, truth=len(truths) > 0)
    brush = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        top = _HEADER_PX + SLICE_SIDE_PX + KEY_PX + _LINE_PX * number
        panel.text(brush, (GAP_PX, top), line, anchor="la", stroke_width=0)
    atomic.write_bytes(path, png(sheet), durable=False)


def annotate(
    picture: Image.Image,
    view: View,
    box_xyxy_px: Sequence[float] | None,
    true_boxes_xyxy_px: FloatArray,
    *,
    spacing_mm_xy: tuple[float, float] | None,
) -> None:
    """Draw the detection (solid), the true boxes (dashed) and, where the spacing is known, a scale bar."""
    if box_xyxy_px is not None:
        panel.outline(picture, view, box_xyxy_px, DETECTION, dashed=False)
    for box in true_boxes_xyxy_px:
        panel.outline(picture, view, [float(edge) for edge in box], TRUTH, dashed=True)
    if spacing_mm_xy is not None:
        panel.scale_bar(picture, view, spacing_mm_xy)


def png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG of 256 colours, without any text or time in it.

    The colours of the boxes and of the key are exact, however small a part of the picture they are.
    """
    rgb = np.asarray(picture).astype(np.int32)
    codes = (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]
    seen = np.zeros(1 << 24, dtype=bool)  # a table of all colours, for sorting the pixels takes longer
    seen[codes] = True
    exact = _exact_colours()[seen[_exact_colours()]]
    reduced = picture.quantize(256 - len(exact), method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    index = np.array(reduced)
    palette = (reduced.getpalette() or [])[: 3 * (256 - len(exact))]
    palette += [0] * (3 * (256 - len(exact)) - len(palette))
    place = np.zeros(1 << 24, dtype=np.uint8)
    place[exact] = np.arange(256 - len(exact), 256)
    index = np.where(place[codes] > 0, place[codes], index)
    palette += [int(part) for code in exact for part in (code >> 16, code >> 8 & 255, code & 255)]
    out = Image.fromarray(index)
    out.putpalette(palette)
    return _bytes(out, level=9)


def gray_png(picture: Image.Image, colours: Sequence[tuple[int, int, int]]) -> bytes:
    """A gray picture with a few ``colours``, none of them gray, as the bytes of a PNG, without any text or time in it.

    Anything else becomes the nearest of the grays that are left of 256; no colours have to be looked for, which takes
    most of :func:`png`'s time.
    """
    grays = 256 - len(colours)
    nearest = np.rint(np.arange(256) * ((grays - 1) / 255)).astype(np.uint8)
    index = nearest[np.asarray(picture.convert("L"))]
    rgb = np.asarray(picture)
    coloured = np.flatnonzero((rgb[..., 0] != rgb[..., 1]) | (rgb[..., 1] != rgb[..., 2]))
    pixels = rgb.reshape(-1, 3)[coloured]
    for number, colour in enumerate(colours, grays):
        index.ravel()[coloured[(pixels == colour).all(axis=1)]] = number
    out = Image.fromarray(index)
    out.putpalette(
        [*np.repeat(np.rint(np.linspace(0, 255, grays)).astype(int), 3).tolist(), *itertools.chain(*colours)]
    )
    return _bytes(out, level=4)


def _bytes(picture: Image.Image, level: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=level)
    return stream.getvalue()


@functools.cache
def _exact_colours() -> NDArray[np.int64]:
    """Sorted 0xRRGGBB of the boxes and of the colour bar."""
    every = np.vstack((DETECTION, TRUTH, _ramp(_BAR_PX[0])))
    return np.unique(every @ np.array([1 << 16, 1 << 8, 1]))


def _header(sheet: Image.Image, method: str, score: float) -> None:
    brush = ImageDraw.Draw(sheet)
    look: dict[str, Any] = {"size": 22, "stroke_width": 0}
    panel.text(brush, (GAP_PX, _HEADER_PX / 2), method, anchor="lm", bold=True, **look)
    panel.text(brush, (WIDTH_PX - GAP_PX, _HEADER_PX / 2), f"score {score:.2f}", anchor="rm", **look)


def draw_key(sheet: Image.Image, middle: int, *, truth: bool) -> None:
    """Draw what the boxes and the heat's colours stand for, across the sheet at height ``middle``."""
    brush = ImageDraw.Draw(sheet)
    x = GAP_PX + 2
    for label, colour, dashed in (("detection", DETECTION, False), ("true nodule", TRUTH, True))[: 2 if truth else 1]:
        panel.outline(sheet, _SHEET_VIEW, (x + 2, middle - 7, x + 28, middle + 7), colour, dashed=dashed)
        panel.text(brush, (x + 40, middle), label, anchor="lm", stroke_width=0)
        x += 175
    _colour_bar(sheet, sheet.width - GAP_PX - 300, middle)


_SHEET_VIEW = View((0.0, 0.0, 1.0, 1.0), (1, 1))
"""The sheet's own pixels, for the key."""


def _colour_bar(sheet: Image.Image, left: int, middle: int) -> None:
    """The heat's colours as they look on mid grey, 0 to 1."""
    width, height = _BAR_PX
    ramp = np.broadcast_to(_ramp(width), (height, width, 3))
    brush = ImageDraw.Draw(sheet)
    start = left + 300 - width - 10
    sheet.paste(Image.fromarray(np.ascontiguousarray(ramp)), (start, middle - 12))
    for value, words in ((0.0, "0"), (0.5, "0.5"), (1.0, "1")):
        panel.text(brush, (start + value * width, middle + 6), words, size=15, anchor="ma", stroke_width=0)
    panel.text(brush, (start - 10, middle - 4), "heat", anchor="rm", stroke_width=0)


def _ramp(width: int) -> NDArray[np.uint8]:
    """(width, 3) the heat's colours on mid grey, from 0 to 1."""
    grey = np.full((width, 3), 105.0)
    return np.round(panel.blend(grey, np.linspace(0, 1, width))).astype(np.uint8)
