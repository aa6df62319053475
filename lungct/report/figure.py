"""The figures of a run: training curves, sizes of boxes, the game's bars.

Each takes numbers and a path; none computes a measure. All but the training curves write a PNG and an SVG.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lungct import registry
from lungct.io import atomic
from lungct.report import canvas
from lungct.report.canvas import Axes
from lungct.types import FloatArray

_LEVELS: dict[str, Any] = {"chance": (0, (1, 1)), "ceiling": "-"}


def training_curves(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write loss over epochs and, below it, the validation AP as one PNG.

    Args:
        path: the PNG.
        rows: records of ``metrics.ndjson``: ``epoch``, ``loss``, ``loss_*``; ``val_ap``, ``val_ap50`` where validated.
    """
    validation = [name for name in ("val_ap50", "val_ap") if any(_is_number(row.get(name)) for row in rows)]

    def paint(sheet: Figure) -> None:
        plots = sheet.subplots(2 if validation else 1, 1, sharex=True, squeeze=False)[:, 0]
        _losses(plots[0], rows)
        if validation:
            _validation(plots[1], rows, validation)
        plots[-1].set_xlabel("epoch")
        plots[-1].xaxis.set_major_locator(MaxNLocator(integer=True))

    data = canvas.draw(paint, height_in=5.2 if validation else 3.0, formats=("png",))["png"]
    atomic.write_bytes(path, data, durable=False)


def _losses(plot: Axes, rows: Sequence[Mapping[str, float]]) -> None:
    parts = sorted({name for row in rows for name in row if name.startswith("loss_")})
    for number, name in enumerate(["loss", *parts]):
        epochs, values = _series(rows, name)
        if not epochs:
            continue
        label = "total" if name == "loss" else name.removeprefix("loss_").replace("_", " ")
        width = 2.2 if name == "loss" else 1.3
        plot.plot(epochs, values, label=label, linewidth=width, marker=_marker(epochs), **canvas.style_of(number))
    plot.set_title("Training loss")
    plot.set_ylim(bottom=0)
    if parts and plot.lines:
        plot.set_ylim(0, 1.35 * plot.get_ylim()[1])  # room for the legend above the lines
        plot.legend(loc="upper right", ncols=3)


def _validation(plot: Axes, rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
    labels = {"val_ap50": "AP at IoU .5", "val_ap": "AP, mean over IoU .5-.95"}
    for number, name in enumerate(names):
        epochs, values = _series(rows, name)
        plot.plot(epochs, values, label=labels[name], marker="o", **canvas.style_of(number))
        best = int(np.argmax(values))
        plot.annotate(
            f"{values[best]:.2f}",
            (epochs[best], values[best]),
            textcoords="offset points",
            xytext=(0, 6),
            ha="center",
            fontsize=9,
        )
    plot.set_title("Validation")
    plot.set_ylim(0, 1.05)
    plot.legend(loc="upper left")


def _series(rows: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    found = [(float(row["epoch"]), float(row[name])) for row in rows if _is_number(row.get(name))]
    return [epoch for epoch, _ in found], [value for _, value in found]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _marker(points: Sequence[float]) -> str | None:
    return "o" if len(points) < 15 else None


def size_histogram(path_stem: Path, sizes: Mapping[str, FloatArray], *, unit: str) -> None:
    """Write how many boxes have which size, stacked per split; each value is (N,) sizes in ``unit`` (mm or px)."""
    pooled = np.concatenate([np.asarray(one, float).ravel() for one in sizes.values()] or [np.empty(0)])
    edges = np.histogram_bin_edges(pooled, bins=min(24, max(6, int(math.sqrt(len(pooled)))))).tolist()

    def paint(sheet: Figure) -> None:
        plot = sheet.subplots()
        colours = [canvas.SERIES[number % len(canvas.SERIES)] for number in range(len(sizes))]
        names = [f"{name} ({len(one)})" for name, one in sizes.items()]
        plot.hist(
            list(sizes.values()), bins=edges, stacked=True, label=names, color=colours, edgecolor="white", linewidth=0.5
        )
        plot.set_xlabel(f"nodule box, longest side ({unit})")
        plot.set_ylabel("boxes")
        plot.yaxis.set_major_locator(MaxNLocator(integer=True))
        plot.set_title("Sizes of the true boxes")
        plot.legend(loc="upper right")

    canvas.save_pair(path_stem, paint, height_in=3.2)


def game_bars(path_stem: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the segmentation game: a panel per rule, a bar per method with its 95 % interval.

    A dashed tick is the method's chance level, a solid one its ceiling; controls are hatched and grey.

    Args:
        path_stem: where ``.png`` and ``.svg`` go.
        rows: of the game's ``summary.json``: ``method``, ``rule``, ``mean``, ``ci95``, ``chance``, ``ceiling``.
    """
    rules = list(dict.fromkeys(str(row["rule"]) for row in rows))
    methods = list(dict.fromkeys(str(row["method"]) for row in rows))
    methods.sort(key=lambda name: (name == registry.UPPER_BOUND, name in registry.CONTROLS))
    height_in = 0.8 + max(len(rules), 1) * (0.62 + 0.27 * len(methods))

    def paint(sheet: Figure) -> None:
        plots = sheet.subplots(max(len(rules), 1), 1, sharex=True, squeeze=False)[:, 0]
        for plot, rule in zip(plots, rules, strict=False):
            of_method = {str(row["method"]): row for row in rows if str(row["rule"]) == rule}
            _game_panel(plot, methods, of_method)
            plot.set_title(rule)
        plots[-1].set_xlim(0, 1.02)
        plots[-1].set_xlabel("score")
        sheet.legend(handles=_game_legend(), loc="outside lower center", ncols=2)

    canvas.save_pair(path_stem, paint, height_in=height_in)


def _game_panel(plot: Axes, methods: Sequence[str], of_method: Mapping[str, Mapping[str, Any]]) -> None:
    for place, method in enumerate(methods):
        row = of_method.get(method)
        if row is None or not _is_number(row.get("mean")):
            plot.text(0.01, place, "no score", va="center", color=canvas.QUIET, fontsize=9)
            continue
        control = method in (*registry.CONTROLS, registry.UPPER_BOUND)
        look = {"color": "#d9d9d9", "hatch": "////", "edgecolor": "#9a9a9a"} if control else {"color": canvas.SERIES[0]}
        plot.barh(place, row["mean"], height=0.66, linewidth=0.6, **look)
        interval = row.get("ci95") or []
        if len(interval) == 2 and all(map(_is_number, interval)):
            plot.plot(interval, [place, place], color=canvas.INK, linewidth=1.4, marker="|", markersize=7)
        for name, style in _LEVELS.items():
            if _is_number(row.get(name)):
                plot.vlines(row[name], place - 0.42, place + 0.42, color=canvas.SERIES[1], linestyle=style, linewidth=2)
    plot.set_yticks(range(len(methods)), methods)
    plot.set_ylim(len(methods) - 0.4, -0.6)
    plot.grid(visible=False, axis="y")


def _game_legend() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=canvas.SERIES[0], label="method"),
        Patch(facecolor="#d9d9d9", edgecolor="#9a9a9a", hatch="////", label="control, true mask"),
        *(Line2D([], [], color=canvas.SERIES[1], linestyle=style, label=name) for name, style in _LEVELS.items()),
    ]
