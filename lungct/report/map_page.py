"""A page of heatmaps side by side, each around its detection: the best and the worst of every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lungct import registry
from lungct.io import atomic
from lungct.report import panel
from lungct.report.overlay import GAP_PX, annotate, png
from lungct.types import FloatArray

TILE_PX = 240
_WORDS_PX = 26
_HEADER_PX = 46
_GROUND = (17, 17, 17)
_GREY_HU = -300


@dataclass(frozen=True, eq=False)
class Tile:
    """One map.

    Attributes:
        image_hu: (Y, X) int16 slice, None where there is none; then the heat lies on grey.
        heatmap: (Y, X) in 0..1.
        box_xyxy_px: (4,) the detection, drawn solid.
        true_boxes_xyxy_px: (N, 4), drawn dashed.
        words: what is said below; must not name a patient.
    """

    image_hu: NDArray[np.int16] | None
    heatmap: FloatArray
    box_xyxy_px: FloatArray
    true_boxes_xyxy_px: FloatArray
    spacing_mm_xy: tuple[float, float] | None
    words: str


def map_page(path: Path, rows: Sequence[Sequence[Tile]], *, title: str) -> None:
    """Write rows of tiles as one PNG; the same bytes for the same input."""
    columns = max(map(len, rows))
    width = columns * (TILE_PX + GAP_PX) + GAP_PX
    height = _HEADER_PX + len(rows) * (TILE_PX + _WORDS_PX) + GAP_PX
    sheet = Image.new("RGB", (width, height), _GROUND)
    brush = ImageDraw.Draw(sheet)
    look: dict[str, Any] = {"size": 20, "stroke_width": 0}
    panel.text(brush, (GAP_PX, _HEADER_PX / 2), title, anchor="lm", bold=True, **look)
    for down, row in enumerate(rows):
        for across, tile in enumerate(row):
            left, top = GAP_PX + across * (TILE_PX + GAP_PX), _HEADER_PX + down * (TILE_PX + _WORDS_PX)
            sheet.paste(_painted(tile), (left, top))
            panel.text(brush, (left, top + TILE_PX + 4), tile.words, size=15, anchor="la", stroke_width=0)
    atomic.write_bytes(path, png(sheet), durable=False)


def _painted(tile: Tile) -> Image.Image:
    shape = (tile.heatmap.shape[0], tile.heatmap.shape[1])
    box = [float(edge) for edge in tile.box_xyxy_px]
    view = panel.around(box, shape, tile.spacing_mm_xy, side_px=TILE_PX, least_px=64.0)
    image_hu = np.full(shape, _GREY_HU, np.int16) if tile.image_hu is None else tile.image_hu
    low, high = registry.HU_WINDOWS["system4"]
    picture = panel.paint(image_hu, tile.heatmap, view, window_hu=(low, high))
    annotate(picture, view, box, tile.true_boxes_xyxy_px, spacing_mm_xy=tile.spacing_mm_xy)
    return picture
