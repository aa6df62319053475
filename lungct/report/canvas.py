"""One sheet to draw a figure on: the house's type, colours and sizes, and the same PNG and SVG bytes for the same data.

Figures are drawn through matplotlib's objects, without pyplot, so nothing global stays behind and no display is needed.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lungct.io import atomic

Axes: TypeAlias = Any
"""A matplotlib Axes; its own stubs are too narrow for the strict checker to be of use here."""

WIDTH_IN = 4.8
PNG_DPI = 200
INK = "#222222"
QUIET = "#8a8a8a"
GRID = "#dddddd"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe & Ito's colours, told apart by every kind of colour vision; yellow is left out, too pale on white."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
"""Line styles that go with the colours, for grey prints."""

# 4.8 in shown on a phone, 360 px wide, is 75 px/in: 10.5 pt come out at 11 px there, the least that reads well.
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 2.0,
    "lines.markersize": 4.5,
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fontsize": 9.5,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.facecolor": "white",
    "svg.hashsalt": "lungct",
    "svg.fonttype": "path",
}
_NO_PROVENANCE: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


def draw(paint: Callable[[Figure], None], *, height_in: float, formats: tuple[str, ...]) -> dict[str, bytes]:
    """Let ``paint`` draw on a fresh sheet and return its bytes per format (``png``, ``svg``)."""
    with matplotlib.rc_context(_STYLE):
        sheet = Figure(figsize=(WIDTH_IN, height_in), dpi=PNG_DPI, layout="constrained")
        FigureCanvasAgg(sheet)
        paint(sheet)
        sheet.draw_without_rendering()
        sheet.set_layout_engine("none")  # laid out once; savefig would do it twice a format
        return {name: _encoded(sheet, name) for name in formats}


def _encoded(sheet: Figure, name: str) -> bytes:
    stream = io.BytesIO()
    if name == "png":
        FigureCanvasAgg(sheet).print_png(stream, metadata=_NO_PROVENANCE[name])  # type: ignore[no-untyped-call]
    else:
        FigureCanvasSVG(sheet).print_svg(stream, metadata=_NO_PROVENANCE[name])  # type: ignore[no-untyped-call]
    return stream.getvalue()


def save_pair(path_stem: Path, paint: Callable[[Figure], None], *, height_in: float) -> None:
    """Write ``<path_stem>.png`` and ``<path_stem>.svg``."""
    for name, data in draw(paint, height_in=height_in, formats=("png", "svg")).items():
        atomic.write_bytes(path_stem.with_name(f"{path_stem.name}.{name}"), data, durable=False)


def style_of(number: int) -> dict[str, Any]:
    """Colour and dashes of the ``number``-th series; no two of the first 28 agree in both."""
    return {
        "color": SERIES[number % len(SERIES)],
        "linestyle": DASHES[(number % len(SERIES) // 2 + number // len(SERIES)) % len(DASHES)],
    }
