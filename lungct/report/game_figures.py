"""The figures of the segmentation game beside its bars: ranks, spread, size, curves.

Each takes numbers and a path; none computes a measure. All write a PNG and an SVG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lungct import registry
from lungct.report import canvas
from lungct.report.canvas import Axes
from lungct.types import FloatArray

MOST_TICKS = 12
"""Ranks that have room for a number each."""


def critical_difference(path_stem: Path, tests: Sequence[Mapping[str, Any]]) -> None:
    """Write Nemenyi's diagram: a panel per rule, methods at their mean rank, 1 the best and on the left.

    Bars join methods within one critical difference, whose length is drawn above.

    Args:
        tests: of the summary's ``friedman``: ``rule``, ``mean_ranks``, ``critical_difference``, ``groups``.
    """
    heights = [0.75 + 0.155 * len(one["mean_ranks"]) + 0.07 * len(one["groups"]) for one in tests]

    def paint(sheet: Figure) -> None:
        plots = sheet.subplots(len(tests), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for plot, one in zip(plots, tests, strict=True):
            _ranks_panel(plot, one)

    canvas.save_pair(path_stem, paint, height_in=sum(heights))


def _ranks_panel(plot: Axes, one: Mapping[str, Any]) -> None:
    ranks = {str(name): float(rank) for name, rank in one["mean_ranks"].items()}
    count, distance = len(ranks), float(one["critical_difference"])
    plot.set_axis_off()
    plot.set_xlim(1 - 0.62 * count, count + 0.62 * count)
    rows = (count + 1) // 2
    bottom = -(0.9 * len(one["groups"]) * 0.45 + rows + 0.6)
    plot.set_ylim(bottom, 2.3)
    plot.plot([1, count], [0, 0], color=canvas.INK, linewidth=1.2)
    for tick in range(1, count + 1):
        plot.plot([tick, tick], [0, 0.2], color=canvas.INK, linewidth=1.0)
        if count <= MOST_TICKS or tick % 2:
            plot.text(tick, 0.28, str(tick), ha="center", va="bottom", fontsize=8)
    shown = min(distance, count - 1)
    plot.plot([1, 1 + shown], [1.55, 1.55], color=canvas.SERIES[1], linewidth=2.2)
    words = f"CD {distance:.2f}" + (" (longer than the scale)" if distance > count - 1 else "")
    plot.text(1 + shown + 0.1, 1.55, words, va="center", fontsize=8, color=canvas.SERIES[1])
    top = -0.35
    for group in one["groups"]:
        edges = [ranks[str(group[0])], ranks[str(group[-1])]]
        plot.plot([edges[0] - 0.05, edges[1] + 0.05], [top, top], color=canvas.INK, linewidth=3, solid_capstyle="butt")
        top -= 0.4
    for place, (name, rank) in enumerate(ranks.items()):
        left = place < rows
        row = place if left else count - 1 - place
        y, edge = top - 0.55 - row, 0.9 if left else count + 0.1
        colour = canvas.QUIET if name in registry.CONTROLS else canvas.INK
        plot.plot([rank, rank, edge], [0, y, y], color=colour, linewidth=0.8)
        at = edge - 0.08 if left else edge + 0.08
        plot.text(at, y, name, ha="right" if left else "left", va="center", fontsize=8.5, color=colour)
    plot.set_title(f"{one['rule']} (p {_p(one['p'])}, W {one['kendall_w']:.2f})", fontsize=9.5)


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0")


def score_boxes(path_stem: Path, spread: Mapping[str, Mapping[str, FloatArray]]) -> None:
    """Write a box plot per rule: the (P,) normalised scores of the patients by method; 0 is chance, 1 the ceiling.

    The box is from the first to the third quartile with the median in it, the whiskers reach 1.5 box lengths, and
    points are patients beyond.
    """
    rules = list(spread)
    methods = list(dict.fromkeys(name for one in spread.values() for name in one))
    height_in = max(len(rules), 1) * (0.55 + 0.22 * len(methods)) + 0.3

    def paint(sheet: Figure) -> None:
        plots = sheet.subplots(len(rules), 1, sharex=True, squeeze=False)[:, 0]
        for plot, rule in zip(plots, rules, strict=True):
            values = [spread[rule].get(name, np.empty(0)) for name in methods]
            parts = plot.boxplot(values, orientation="horizontal", widths=0.62, patch_artist=True, **_BOX)
            for patch, name in zip(parts["boxes"], methods, strict=True):
                control = name in (*registry.CONTROLS, registry.UPPER_BOUND)
                patch.set(facecolor="#d9d9d9" if control else "#9ecae8", edgecolor=canvas.QUIET)
            for level in (0, 1):
                plot.axvline(level, color=canvas.SERIES[1], linewidth=1, linestyle=canvas.DASHES[2 * (1 - level)])
            plot.set_yticks(range(1, len(methods) + 1), methods, fontsize=8.5)
            plot.invert_yaxis()
            plot.grid(visible=False, axis="y")
            plot.set_title(rule)
        lowest = min((float(one.min()) for rule in spread.values() for one in rule.values() if len(one)), default=0.0)
        plots[-1].set_xlim(max(-1.5, min(-0.1, lowest - 0.05)), 1.08)
        plots[-1].set_xlabel("normalised score of a patient")

    canvas.save_pair(path_stem, paint, height_in=height_in)


_BOX: dict[str, Any] = {
    "medianprops": {"color": canvas.INK, "linewidth": 1.6},
    "whiskerprops": {"color": canvas.QUIET, "linewidth": 1.0},
    "capprops": {"color": canvas.QUIET, "linewidth": 1.0},
    "flierprops": {"marker": "o", "markersize": 2.5, "markerfacecolor": canvas.QUIET, "markeredgecolor": "none"},
}


def scores_over_size(
    path_stem: Path, points: Mapping[str, tuple[FloatArray, FloatArray]], *, rule: str, edges_mm: Sequence[float]
) -> None:
    """Write the normalised score over the nodule's diameter: each detection a point, a line through class means.

    Args:
        points: method -> ((N,) diameters in mm, (N,) normalised scores).
        rule: which rule the scores are of.
        edges_mm: where the classes begin whose means the line joins.
    """

    def paint(sheet: Figure) -> None:
        plot = sheet.subplots()
        for number, (name, (diameter, score)) in enumerate(points.items()):
            look = canvas.style_of(number)
            plot.plot(diameter, score, ".", color=look["color"], alpha=0.3, markersize=4)
            means = [
                (float(diameter[mine].mean()), float(score[mine].mean()))
                for low, high in zip((0.0, *edges_mm), (*edges_mm, np.inf), strict=True)
                if (mine := (diameter >= low) & (diameter < high)).any()
            ]
            plot.plot(*zip(*means, strict=True), marker="o", label=name, **look)
        plot.axhline(0, color=canvas.QUIET, linewidth=1)
        plot.set_xlabel("diameter (mm)")
        plot.set_ylabel(f"{rule}, normalised")
        plot.set_title("Score over the nodule's size")
        sheet.legend(loc="outside lower center", ncols=3)

    canvas.save_pair(path_stem, paint, height_in=4.2)


def faithfulness_curves(path_stem: Path, curves: Mapping[str, Mapping[str, FloatArray]]) -> None:
    """Write the detection's score while pixels are deleted or inserted: kind -> method -> (K,) mean scores at 0..1."""

    def paint(sheet: Figure) -> None:
        plots = sheet.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
        for plot, (kind, of_method) in zip(plots, curves.items(), strict=True):
            for number, (name, scores) in enumerate(of_method.items()):
                control = name in (*registry.CONTROLS, registry.UPPER_BOUND)
                width = 1.2 if control else 2.0
                share = np.linspace(0, 1, len(scores))
                plot.plot(share, scores, label=name, **{**canvas.style_of(number), "linewidth": width})
            plot.set_title(kind)
            plot.set_ylim(0, 1.05)
            plot.set_ylabel("score")
        plots[-1].set_xlabel("changed pixels, hottest first, over the box's area")
        handles, labels = plots[0].get_legend_handles_labels()
        sheet.legend(handles, labels, loc="outside lower center", ncols=3)

    canvas.save_pair(path_stem, paint, height_in=1.2 + 2.4 * len(curves))


def rules_over_size(
    path_stem: Path, panels: Mapping[str, Mapping[str, tuple[FloatArray, FloatArray]]], *, displaced: float
) -> None:
    """Write what rules give to a map displaced by so many diameters: panel -> rule -> ((K,) mm, (K,) normalised)."""

    def paint(sheet: Figure) -> None:
        plots = sheet.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for plot, (title, lines) in zip(plots, panels.items(), strict=True):
            for number, (rule, (diameter, score)) in enumerate(lines.items()):
                plot.plot(diameter, score, label=rule, **canvas.style_of(number))
            plot.set_title(f"{title}, map {displaced:g} diameters off")
            plot.set_ylim(-0.1, 1.05)
            plot.set_ylabel("normalised score")
            plot.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
        plots[-1].set_xlabel("nodule's diameter (mm)")

    canvas.save_pair(path_stem, paint, height_in=3.0 * len(panels))
