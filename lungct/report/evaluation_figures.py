"""The figures of an evaluation: precision over recall, FROC, AP over IoU, reliability.

Each takes numbers and a path without suffix; none computes a measure. All write a PNG and an SVG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lungct.report import canvas
from lungct.report.canvas import Axes
from lungct.types import FloatArray

FP_TICKS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
FINE_RATES = np.geomspace(FP_TICKS[0] / 2, FP_TICKS[-1], 71)
"""Where a curve that is straight in its rate has corners enough to look so on a log axis."""
_FP_NAMES = ("1/8", "1/4", "1/2", "1", "2", "4", "8")


def precision_recall(path_stem: Path, curves: Mapping[str, tuple[FloatArray, FloatArray]]) -> None:
    """Write precision over recall, a line per name; each value is (recall (N,), precision (N,)), both in 0..1."""

    def paint(sheet: Figure) -> None:
        plot = sheet.subplots()
        for number, (name, (recall, precision)) in enumerate(curves.items()):
            plot.plot(recall, precision, label=name, drawstyle="steps-pre", **canvas.style_of(number))
        _unit_axes(plot, "recall", "precision")
        plot.set_title("Precision over recall")
        if curves:
            plot.legend(loc="best")

    canvas.save_pair(path_stem, paint, height_in=3.6)


def froc(
    path_stem: Path,
    fp_per_image: FloatArray,
    sensitivity: FloatArray,
    *,
    at: Mapping[float, float],
    band: tuple[FloatArray, FloatArray, FloatArray] | None = None,
    unit: str = "slice",
) -> None:
    """Write sensitivity over false positives, on a base-2 axis from 1/8 to 8.

    Args:
        path_stem: where ``.png`` and ``.svg`` go.
        fp_per_image: (N,) false positives per slice or scan, never falling; straight between points, so a
            staircase gives both ends of each step.
        sensitivity: (N,) in 0..1.
        at: false-positive rate -> sensitivity, the operating points that are marked and whose mean is named.
        band: (M,) rates of its own, and lower and upper sensitivity there, of a confidence band.
        unit: what false positives are counted per: ``slice`` or ``scan``.
    """

    def paint(sheet: Figure) -> None:
        plot = sheet.subplots()
        rates, found = extended(np.asarray(fp_per_image, float), np.asarray(sensitivity, float))
        if band is not None:
            across, *edges = (np.asarray(one, float) for one in band)
            (places, low), (_, high) = (extended(across, edge) for edge in edges)
            plot.fill_between(places, low, high, color=canvas.SERIES[0], alpha=0.18, linewidth=0)
        plot.plot(rates, found, color=canvas.SERIES[0])
        plot.plot(list(at), list(at.values()), "o", color=canvas.SERIES[1], clip_on=False, zorder=3)
        _froc_axes(plot, unit)
        plot.set_title(f"FROC, mean of the points {np.mean(list(at.values())):.3f}" if at else "FROC")

    canvas.save_pair(path_stem, paint, height_in=3.6)


def froc_curves(path_stem: Path, curves: Mapping[str, tuple[FloatArray, FloatArray]], *, unit: str = "slice") -> None:
    """Write several FROC curves on one base-2 axis; each value is (false positives per unit (N,), sensitivity (N,))."""

    def paint(sheet: Figure) -> None:
        plot = sheet.subplots()
        for number, (name, (rates, found)) in enumerate(curves.items()):
            plot.plot(*extended(rates, found), label=name, **canvas.style_of(number))
        _froc_axes(plot, unit)
        plot.set_title("FROC")
        plot.legend(loc="best")

    canvas.save_pair(path_stem, paint, height_in=3.6)


def _froc_axes(plot: Axes, unit: str) -> None:
    plot.set_xscale("log", base=2)
    plot.set_xlim(FP_TICKS[0], FP_TICKS[-1])
    plot.xaxis.set_major_locator(FixedLocator(FP_TICKS))
    plot.xaxis.set_minor_locator(NullLocator())
    plot.set_xticklabels(_FP_NAMES)
    plot.set_ylim(0, 1.02)
    plot.set_xlabel(f"false positives per {unit}")
    plot.set_ylabel("sensitivity")


def extended(rates: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The curve read off at the left edge of a log axis, which has no 0, and drawn on level to the right edge.

    Corners are put in at ``FINE_RATES``, for what is straight between two rates is bent on the log axis.
    """
    if not len(rates):
        return np.array([FP_TICKS[0], FP_TICKS[-1]]), np.zeros(2)
    fine = np.setdiff1d(FINE_RATES, rates)
    fine, place = fine[fine < rates[-1]], np.searchsorted(rates, fine[fine < rates[-1]])
    values, rates = np.insert(values, place, np.interp(fine, rates, values)), np.insert(rates, place, fine)
    left, right = FP_TICKS[0] / 2, max(FP_TICKS[-1], float(rates[-1]))
    keep = rates > left
    return np.r_[left, rates[keep], right], np.r_[np.interp(left, rates, values), values[keep], values[-1]]


def ap_over_iou(path_stem: Path, ious: FloatArray, ap: FloatArray, ar: FloatArray) -> None:
    """Write average precision and average recall over the IoU a hit must reach; three (N,) arrays in 0..1."""

    def paint(sheet: Figure) -> None:
        plot = sheet.subplots()
        plot.plot(ious, ap, label="average precision", marker="o", **canvas.style_of(0))
        plot.plot(ious, ar, label="average recall", marker="s", **canvas.style_of(2))
        _unit_axes(plot, "IoU at which a box counts as found", "AP, AR")
        plot.set_title("AP and AR over IoU")
        plot.legend(loc="best")

    canvas.save_pair(path_stem, paint, height_in=3.6)


def reliability(
    path_stem: Path,
    score: Sequence[float | None],
    share: Sequence[float | None],
    count: Sequence[int],
    *,
    ece: float,
) -> None:
    """Write the share of true detections over the score, and below it how many detections have which score.

    Args:
        path_stem: where ``.png`` and ``.svg`` go.
        score, share: mean score and share of true detections per bin, in 0..1; None where the bin is empty.
        count: detections per bin; the bins part 0..1 equally.
        ece: expected calibration error, for the title.
    """
    filled = [(a, b) for a, b in zip(score, share, strict=True) if a is not None and b is not None]
    width = 1 / max(len(count), 1)

    def paint(sheet: Figure) -> None:
        upper, lower = sheet.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], color=canvas.QUIET, linewidth=1, linestyle=(0, (4, 3)), label="score = share")
        upper.plot(*zip(*filled, strict=True), color=canvas.SERIES[0], marker="o", label="detections")
        upper.set_ylim(0, 1.02)
        upper.set_ylabel("share that is true")
        upper.set_title(f"Reliability, ECE {ece:.3f}")
        upper.legend(loc="upper left")
        places = [(number + 0.5) * width for number in range(len(count))]
        lower.bar(places, list(count), width=0.92 * width, color=canvas.SERIES[0])
        lower.set_xlim(0, 1)
        lower.set_xlabel("score")
        lower.set_ylabel("number")
        lower.set_yscale("log")
        lower.set_ylim(bottom=0.7)
        lower.yaxis.set_minor_locator(NullLocator())

    canvas.save_pair(path_stem, paint, height_in=4.4)


def _unit_axes(plot: Axes, x_name: str, y_name: str) -> None:
    plot.set_xlim(0, 1.0)
    plot.set_ylim(0, 1.02)
    plot.set_xlabel(x_name)
    plot.set_ylabel(y_name)
