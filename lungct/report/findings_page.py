"""One page of an audit's worst findings: up to two pictures of each, and in words what was found."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lungct.io import atomic
from lungct.report import canvas
from lungct.report.canvas import Axes
from lungct.types import Triple

PICTURES = 2
ROW_IN = 1.62
WRAP = 26
SIDE_PX = 240


@dataclass(frozen=True, eq=False)
class Picture:
    """One plane of a scan or image.

    Attributes:
        hu: (V, H) HU, first row on top.
        aspect: height of a pixel over its width.
        caption: above it.
        boxes_px: (x1, y1, x2, y2) in pixel edges, drawn on it.
    """

    hu: NDArray[Any]
    aspect: float
    caption: str
    boxes_px: Sequence[Sequence[float]] = ()


@dataclass(frozen=True, eq=False)
class Row:
    """One finding: its title, lines of text, and pictures."""

    title: str
    lines: Sequence[str]
    pictures: Sequence[Picture]


def axial(
    hu: NDArray[Any], z: int, spacing_mm_zyx: Triple, caption: str, boxes_px: Sequence[Sequence[float]] = ()
) -> Picture:
    """Slice ``z`` of a (Z, Y, X) volume in LPS-canonical order: the patient's right on the left, front on top."""
    return Picture(hu[z], spacing_mm_zyx[1] / spacing_mm_zyx[2], caption, boxes_px)


def coronal(hu: NDArray[Any], spacing_mm_zyx: Triple, caption: str) -> Picture:
    """The middle coronal plane of a (Z, Y, X) volume in LPS-canonical order, head on top."""
    return Picture(hu[::-1, hu.shape[1] // 2], spacing_mm_zyx[0] / spacing_mm_zyx[2], caption)


def findings_page(path: Path, rows: Sequence[Row], *, title: str, window_hu: tuple[float, float]) -> None:
    """Write the page as PNG, the same bytes for the same rows; without rows it says that nothing was found."""

    def paint(sheet: Figure) -> None:
        sheet.suptitle(title, x=0.02, ha="left", fontsize=11, fontweight="bold")
        plots = sheet.subplots(max(len(rows), 1), PICTURES + 1, squeeze=False, width_ratios=[1, 1, 1.25])
        for plot in plots.ravel():
            plot.set_axis_off()
        if not rows:
            _words(plots[0][0], "Nothing was found.", [])
        for line, row in zip(plots, rows, strict=False):
            for plot, picture in zip(line, row.pictures[:PICTURES], strict=False):
                _show(plot, picture, window_hu)
            _words(line[-1], row.title, row.lines)

    data = canvas.draw(paint, height_in=0.5 + ROW_IN * max(len(rows), 1), formats=("png",))["png"]
    atomic.write_bytes(path, data, durable=False)


def _show(plot: Axes, picture: Picture, window_hu: tuple[float, float]) -> None:
    height, width = picture.hu.shape
    step, (low, high) = max(1, min(height, width) // SIDE_PX), window_hu
    look = {"cmap": "gray", "vmin": low, "vmax": high, "aspect": picture.aspect, "interpolation": "nearest"}
    shown = np.asarray(picture.hu[::step, ::step], dtype=np.float32)
    plot.imshow(shown, extent=(0, width, height, 0), **look)
    for x1, y1, x2, y2 in picture.boxes_px:
        frame = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=canvas.SERIES[4], linewidth=0.9)
        plot.add_patch(frame)
    plot.set_title(textwrap.shorten(picture.caption, WRAP, placeholder="..."), fontsize=7, fontweight="normal")


def _words(plot: Axes, title: str, lines: Sequence[str]) -> None:
    wrapped = [part for line in lines for part in textwrap.wrap(line, WRAP)]
    plot.text(0, 1.0, textwrap.fill(title, WRAP - 3), va="top", fontsize=8.5, fontweight="bold", parse_math=False)
    lowered = 0.04 + 0.13 * len(textwrap.wrap(title, WRAP - 3))
    plot.text(0, 1.0 - lowered, "\n".join(wrapped), va="top", fontsize=7.5, parse_math=False)
