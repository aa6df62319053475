"""Figures: there, of the right size, the same bytes each time, and drawn from what was given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from lungct.evaluation.judged import draw_froc
from lungct.report import canvas, evaluation_figures, figure

RATES = np.array([0.1, 0.5, 3.0])
FOUND = np.array([0.2, 0.6, 0.8])
ROWS = [{"epoch": epoch, "loss": 1 / epoch, "loss_box": 0.5 / epoch} for epoch in range(1, 6)]
GAME = [
    {"method": "eigencam", "rule": "fixed", "mean": 0.3, "ci95": [0.2, 0.4], "chance": 0.1, "ceiling": 0.9},
    {"method": "gaussian", "rule": "fixed", "mean": None, "ci95": None, "chance": None, "ceiling": None},
]
PAIRS: dict[str, Callable[[Path], None]] = {
    "precision_recall": lambda stem: evaluation_figures.precision_recall(stem, {"IoU .5": (FOUND, 1 - FOUND)}),
    "froc": lambda stem: evaluation_figures.froc(
        stem, RATES, FOUND, at={0.5: 0.6}, band=(RATES, FOUND - 0.1, FOUND + 0.1), unit="scan"
    ),
    "ap_over_iou": lambda stem: evaluation_figures.ap_over_iou(stem, FOUND, 1 - FOUND, 1 - FOUND / 2),
    "size_histogram": lambda stem: figure.size_histogram(stem, {"train": FOUND, "val": np.empty(0)}, unit="mm"),
    "game_bars": lambda stem: figure.game_bars(stem, GAME),
}
NOTHING: dict[str, Callable[[Path], None]] = {
    "froc_curves": lambda stem: evaluation_figures.froc_curves(stem, {"a": (RATES, FOUND), "b": (RATES, FOUND / 2)}),
    "reliability": lambda stem: evaluation_figures.reliability(
        stem, [None, 0.4, 0.9], [None, 0.2, 0.8], [0, 7, 30], ece=0.11
    ),
    "no_curve": lambda stem: evaluation_figures.precision_recall(stem, {}),
    "no_detection": lambda stem: evaluation_figures.froc(stem, np.empty(0), np.empty(0), at={}),
    "no_game": lambda stem: figure.game_bars(stem, []),
}


@pytest.mark.parametrize("name", PAIRS)
def test_png_and_svg_are_the_same_bytes_each_time(name: str, tmp_path: Path) -> None:
    for number in "12":
        PAIRS[name](tmp_path / number / name)
    for suffix in ("png", "svg"):
        first, second = ((tmp_path / number / f"{name}.{suffix}").read_bytes() for number in "12")
        assert first == second
    assert b"<dc:date>" not in first
    assert b"<dc:creator>" not in first
    with Image.open(tmp_path / "1" / f"{name}.png") as drawn:
        assert drawn.width == round(canvas.WIDTH_IN * canvas.PNG_DPI)
        assert "Software" not in drawn.info


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_to_draw_is_an_empty_figure(name: str, tmp_path: Path) -> None:
    NOTHING[name](tmp_path / name)
    assert (tmp_path / f"{name}.png").is_file()


@pytest.mark.parametrize("validated", [True, False])
def test_training_curves_grow_with_validation(validated: bool, tmp_path: Path) -> None:
    rows = [*ROWS, {"epoch": 5, "val_ap": 0.2, "val_ap50": 0.4}] if validated else ROWS
    figure.training_curves(tmp_path / "curves.png", rows)
    with Image.open(tmp_path / "curves.png") as drawn:
        assert drawn.height == (1040 if validated else 600)


@pytest.mark.parametrize("broken", [{"loss": float("nan")}, {"val_ap50": float("nan")}, {"loss": None}])
def test_a_value_that_is_no_number_is_left_out(broken: dict[str, float], tmp_path: Path) -> None:
    rows = [*ROWS, {"epoch": 4, "val_ap50": 0.4}]
    figure.training_curves(tmp_path / "a.png", [*rows, {"epoch": 5, **broken}])
    figure.training_curves(tmp_path / "b.png", rows)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_froc_curve_reaches_both_edges_of_the_axis() -> None:
    rates, values = evaluation_figures.extended(RATES, FOUND)
    assert rates[0] < evaluation_figures.FP_TICKS[0]
    assert rates[-1] >= evaluation_figures.FP_TICKS[-1]
    np.testing.assert_allclose(np.interp(RATES, rates, values), FOUND)
    assert values[-1] == FOUND[-1]


def test_froc_curve_from_zero_is_read_off_at_the_left_edge() -> None:
    rates, values = evaluation_figures.extended(np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.2, 1.0]))
    assert rates[0] == 0.0625
    assert values[0] == pytest.approx(0.2 + 0.8 * 0.0625)


def test_a_stem_with_a_dot_keeps_it(tmp_path: Path) -> None:
    evaluation_figures.ap_over_iou(tmp_path / "iou.5", FOUND, FOUND, FOUND)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["iou.5.png", "iou.5.svg"]


def test_no_two_series_look_alike() -> None:
    looks = [str(sorted(canvas.style_of(number).items())) for number in range(28)]
    assert len(set(looks)) == 28


def test_drawing_leaves_no_global_state(tmp_path: Path) -> None:
    import sys

    import matplotlib

    before = matplotlib.rcParams["font.size"]
    had_pyplot = "matplotlib.pyplot" in sys.modules  # another test's library may have loaded it
    evaluation_figures.ap_over_iou(tmp_path / "iou", FOUND, FOUND, FOUND)
    assert matplotlib.rcParams["font.size"] == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def _drawn(part: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Axes:
    sheets: list[Figure] = []

    def kept(_: Path, paint: Callable[[Figure], None], **__: float) -> None:
        sheets.append(Figure())
        paint(sheets[-1])

    monkeypatch.setattr(canvas, "save_pair", kept)
    draw_froc(Path("froc"), part)
    return sheets[0].axes[0]


def test_the_froc_band_and_curve_are_those_of_the_table_between_the_corners_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of few detections: the curve has no corner between 0 and 8, the band many, and the axis is logarithmic."""
    rates = np.array([0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
    low, high = np.array([0.0, 0.0, 0.0, 0.1, 0.3, 0.3, 0.35, 0.4]), np.linspace(0.6, 1, 8)
    band = {"fp_per_image": rates.tolist(), "low": low.tolist(), "high": high.tolist()}
    curve = {"fp_per_image": [0.0, 0.0, 8.0], "sensitivity": [0.0, 0.2, 1.0], "at": {"1": 0.3}, "unit": "scan"}
    axes = _drawn({**curve, "band": band}, monkeypatch)
    edge = axes.collections[0].get_paths()[0].vertices
    for rate, lower, upper in zip(rates[1:], low[1:], high[1:], strict=True):
        at = edge[np.isclose(edge[:, 0], rate), 1]
        assert (at.min(), at.max()) == pytest.approx((lower, upper))
    across, found = np.asarray(axes.lines[0].get_data(), dtype=float)
    for rate in (0.125, 0.3, 1.0, 3.0):
        assert np.interp(np.log2(rate), np.log2(across), found) == pytest.approx(0.2 + 0.1 * rate, abs=1e-3)
