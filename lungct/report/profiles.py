"""The page of a scan's mass profiles: for each nodule the mass of every slice it spans, and which slices were kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lungct.io import atomic
from lungct.report import canvas
from lungct.report.canvas import Axes
from lungct.types import BoolArray, FloatArray

COLUMNS = 2
PANEL_IN = 1.7
LEGEND_IN = 0.5


@dataclass(frozen=True, eq=False)
class DrawnProfile:
    """One nodule's panel.

    Attributes:
        title: above it.
        z_first: index of the first slice that the nodule spans.
        mass: (N,) of each slice, 0..1.
        kept: (N,) whether the slice was written.
        least: mass that the rule asks for, drawn as a line; None draws none.
    """

    title: str
    z_first: int
    mass: FloatArray
    kept: BoolArray
    least: float | None = None


def mass_profiles(path: Path, profiles: Sequence[DrawnProfile]) -> None:
    """Write one PNG with a panel for each nodule; kept slices are filled, the others hollow."""
    rows = -(-len(profiles) // COLUMNS)

    line = any(one.least is not None for one in profiles)

    def paint(sheet: Figure) -> None:
        panels = sheet.subplots(rows, COLUMNS, squeeze=False).ravel()
        for panel, one in zip(panels, profiles, strict=False):
            _panel(panel, one)
        for panel in panels[len(profiles) :]:
            panel.set_axis_off()
        sheet.supxlabel("slice", fontsize="medium")
        sheet.supylabel("mass", fontsize="medium")
        sheet.legend(handles=_legend(line=line), loc="outside upper center", ncols=3)

    data = canvas.draw(paint, height_in=LEGEND_IN + PANEL_IN * rows, formats=("png",))["png"]
    atomic.write_bytes(path, data, durable=False)


def _panel(panel: Axes, one: DrawnProfile) -> None:
    z = one.z_first + np.arange(len(one.mass))
    colour = canvas.SERIES[0]
    panel.plot(z, one.mass, color=colour, linewidth=1.2)
    panel.plot(z[~one.kept], one.mass[~one.kept], "o", markeredgecolor=colour, markerfacecolor="white")
    panel.plot(z[one.kept], one.mass[one.kept], "o", color=colour)
    if one.least is not None:
        panel.axhline(one.least, color=canvas.SERIES[1], linestyle=canvas.DASHES[1], linewidth=1.4)
    panel.set_title(one.title, fontsize=9.5)
    panel.set_ylim(0, 1.05)
    panel.set_yticks((0, 0.5, 1))
    panel.set_xlim(z[0] - 0.8, z[-1] + 0.8)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))


def _legend(*, line: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "color": canvas.SERIES[0]}
    least = {"label": "least mass", "color": canvas.SERIES[1], "linestyle": canvas.DASHES[1], "linewidth": 1.4}
    return [
        Line2D([], [], label="kept", **dot),
        Line2D([], [], label="left out", markerfacecolor="white", **dot),
        *([Line2D([], [], **least)] if line else ()),
    ]
