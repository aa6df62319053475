"""One patient's maps on one sheet: a detection per row, a method per column, the bare CT first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lungct.io import atomic
from lungct.report import overlay, panel
from lungct.report.overlay import GAP_PX
from lungct.types import FloatArray

FOLDER = "contact_sheets"
"""Where the sheets lie beside the folders of the methods."""
CELL_PX = 200
LABEL_PX = 158
HEADER_PX = 40
_GROUND = (17, 17, 17)
_FAINT = (150, 150, 150)


@dataclass(frozen=True, eq=False)
class Cell:
    """One map: (Y, X) in 0..1, and why it means nothing, where it does."""

    heatmap: FloatArray
    flag: str = ""


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One detection.

    Attributes:
        lines: what is written beside it; must not name a patient.
        image_hu: (Y, X) int16 HU of its slice.
        cells: its map by each method, None where a method has none.
        detected: whether its box is a detection and no missed nodule, of which there is only the true box to draw.
    """

    lines: Sequence[str]
    image_hu: NDArray[np.int16]
    box_xyxy_px: Sequence[float]
    true_boxes_xyxy_px: FloatArray
    spacing_mm_xy: tuple[float, float] | None
    cells: Sequence[Cell | None]
    detected: bool = True


def draw_sheet(
    path: Path, methods: Sequence[str], rows: Sequence[SheetRow], *, window_hu: tuple[float, float], note: str = ""
) -> None:
    """Write the sheet as a PNG; the same bytes for the same input.

    Args:
        window_hu: HU drawn black and HU drawn white.
        note: a line below, such as how many detections are not shown.
    """
    width = LABEL_PX + (1 + len(methods)) * (CELL_PX + GAP_PX)
    height = HEADER_PX + len(rows) * (CELL_PX + GAP_PX) + overlay.KEY_PX + (25 if note else 0)
    sheet = Image.new("RGB", (max(width, 640), height), _GROUND)
    brush = ImageDraw.Draw(sheet)
    for column, name in enumerate(("CT", *methods)):
        at = (LABEL_PX + column * (CELL_PX + GAP_PX) + CELL_PX / 2, HEADER_PX / 2)
        panel.text(brush, at, name, anchor="mm", bold=True, stroke_width=0)
    for number, row in enumerate(rows):
        top = HEADER_PX + number * (CELL_PX + GAP_PX)
        for place, line in enumerate(row.lines):
            panel.text(brush, (GAP_PX, top + 4 + 22 * place), line, size=15, anchor="la", stroke_width=0)
        for column, cell in enumerate((Cell(np.zeros(0)), *row.cells)):
            at = (LABEL_PX + column * (CELL_PX + GAP_PX), top)
            sheet.paste(_cell(row, cell, bare=column == 0, window_hu=window_hu), at)
    below = HEADER_PX + len(rows) * (CELL_PX + GAP_PX)
    truth = any(len(row.true_boxes_xyxy_px) for row in rows)
    overlay.draw_key(sheet, below + overlay.KEY_PX // 2 - 4, truth=truth)
    if note:
        panel.text(brush, (GAP_PX, below + overlay.KEY_PX), note, size=15, anchor="la", stroke_width=0)
    atomic.write_bytes(path, overlay.png(sheet), durable=False)


def _cell(row: SheetRow, cell: Cell | None, *, bare: bool, window_hu: tuple[float, float]) -> Image.Image:
    if cell is None:
        empty = Image.new("RGB", (CELL_PX, CELL_PX), (30, 30, 30))
        look: dict[str, Any] = {"anchor": "mm", "fill": _FAINT, "stroke_width": 0}
        panel.text(ImageDraw.Draw(empty), (CELL_PX / 2, CELL_PX / 2), "no map", **look)
        return empty
    shape = (int(row.image_hu.shape[0]), int(row.image_hu.shape[1]))
    view = panel.around(row.box_xyxy_px, shape, row.spacing_mm_xy, side_px=CELL_PX, least_px=64.0)
    picture = panel.paint(row.image_hu, None if bare else cell.heatmap, view, window_hu=window_hu)
    spacing = row.spacing_mm_xy if bare else None
    box = row.box_xyxy_px if row.detected else None
    overlay.annotate(picture, view, box, row.true_boxes_xyxy_px, spacing_mm_xy=spacing)
    if cell.flag:
        panel.text(ImageDraw.Draw(picture), (CELL_PX / 2, CELL_PX - 8), f"{cell.flag}: means nothing", anchor="ms")
    return picture
