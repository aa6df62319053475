"""All nodules found in one scan on one sheet: of each its middle slice, and its surroundings enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lungct.io import atomic
from lungct.report import panel
from lungct.report.overlay import gray_png
from lungct.report.panel import DETECTION, FRAME

SIDE_PX = 300
GAP_PX = 10
PER_ROW = 2
_WORDS_PX = 54
_HEADER_PX = 50
_GROUND = (17, 17, 17)
_TILE_PX = (2 * SIDE_PX + GAP_PX, SIDE_PX + _WORDS_PX)


@dataclass(frozen=True, eq=False)
class Tile:
    """One nodule.

    Attributes:
        image_hu: (Y, X) HU of the slice through its middle, the patient's right on the left, front on top.
        box_xyxy_px: in pixel edges of that slice.
        title, words: a line in bold and a line below it; must not name a patient.
    """

    image_hu: NDArray[Any]
    box_xyxy_px: tuple[float, float, float, float]
    title: str
    words: str


def write_nodule_sheet(
    path: Path,
    tiles: Sequence[Tile],
    *,
    title: str,
    spacing_mm_xy: tuple[float, float],
    window_hu: tuple[float, float],
) -> None:
    """Write the sheet as PNG, the same bytes for the same input; without tiles it says that nothing was found."""
    rows = max(1, -(-len(tiles) // PER_ROW))
    across = PER_ROW if len(tiles) > 1 else 1
    width = across * (_TILE_PX[0] + 2 * GAP_PX) + GAP_PX
    height = _HEADER_PX + rows * (_TILE_PX[1] + GAP_PX) if tiles else _HEADER_PX * 2
    sheet = Image.new("RGB", (width, height), _GROUND)
    brush = ImageDraw.Draw(sheet)
    panel.text(brush, (GAP_PX, _HEADER_PX / 2), title, size=20, bold=True, anchor="lm", stroke_width=0)
    if not tiles:
        panel.text(brush, (GAP_PX, _HEADER_PX * 1.4), "No nodule was found.", anchor="lm", stroke_width=0)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, PER_ROW)
        at = (GAP_PX + column * (_TILE_PX[0] + 2 * GAP_PX), _HEADER_PX + row * (_TILE_PX[1] + GAP_PX))
        sheet.paste(_drawn(tile, spacing_mm_xy, window_hu), at)
    atomic.write_bytes(path, gray_png(sheet, (DETECTION,)), durable=False)


def _drawn(tile: Tile, spacing_mm_xy: tuple[float, float], window_hu: tuple[float, float]) -> Image.Image:
    picture = Image.new("RGB", _TILE_PX, _GROUND)
    shape = (int(tile.image_hu.shape[0]), int(tile.image_hu.shape[1]))
    image = np.nan_to_num(tile.image_hu.astype(np.float32), nan=window_hu[0])
    whole = panel.whole_slice(shape, spacing_mm_xy, side_px=SIDE_PX)
    zoom = panel.around(tile.box_xyxy_px, shape, spacing_mm_xy, side_px=SIDE_PX)
    for view, left in ((whole, (SIDE_PX - whole.size_px[0]) // 2), (zoom, SIDE_PX + GAP_PX)):
        part = panel.paint(image, None, view, window_hu=window_hu)
        panel.outline(part, view, tile.box_xyxy_px, DETECTION, dashed=False)
        if view is whole:
            ImageDraw.Draw(part).rectangle(whole.place(zoom.window_xyxy_px), outline=FRAME)
        else:
            panel.scale_bar(part, view, spacing_mm_xy)
        picture.paste(part, (left, (SIDE_PX - view.size_px[1]) // 2))
    brush = ImageDraw.Draw(picture)
    panel.text(brush, (0, SIDE_PX + 14), tile.title, bold=True, anchor="lm", stroke_width=0)
    panel.text(brush, (0, SIDE_PX + 38), tile.words, size=15, anchor="lm", stroke_width=0)
    return picture
