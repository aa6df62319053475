"""Overlays: boxes lie where the boxes are, heat peaks where the map peaks, nothing else changes the CT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lungct.report import overlay, panel
from lungct.report.contact_sheet import Cell, SheetRow, draw_sheet
from lungct.report.overlay import draw_overlay

from .synthetic_run import SIDE, gaussian, slice_hu

BOX = (26.0, 46.0, 34.0, 54.0)
WINDOW = (-1000, 500)
NO_BOX = np.empty((0, 4))


def drawn(path: Path, heat: NDArray[Any], **changes: Any) -> NDArray[np.uint8]:
    """The overlay's pixels (Y, X, 3)."""
    wanted: dict[str, Any] = {
        "box_xyxy_px": BOX,
        "true_boxes_xyxy_px": np.array([BOX]) + 3,
        "score": 0.9,
        "method": "eigencam",
        "window_hu": WINDOW,
        "spacing_mm_xy": (0.7, 0.7),
    }
    draw_overlay(path, slice_hu((30, 50), 4, 0), heat, **{**wanted, **changes})
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_size_bytes_and_determinism(tmp_path: Path) -> None:
    heat = gaussian(BOX, 10).astype(np.float16)
    pixels = drawn(tmp_path / "a.png", heat)
    drawn(tmp_path / "b.png", heat)
    assert pixels.shape[1] == overlay.WIDTH_PX
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").stat().st_size < 250_000
    with Image.open(tmp_path / "a.png") as picture:
        assert not {"Software", "date:create", "Title"} & set(picture.info)


@pytest.mark.parametrize("colour", [panel.DETECTION, panel.TRUTH])
def test_box_colours_surround_their_boxes_and_nothing_else(colour: tuple[int, int, int]) -> None:
    view = panel.View((0.0, 0.0, SIDE, SIDE), (4 * SIDE, 4 * SIDE))
    picture = panel.paint(np.full((SIDE, SIDE), -700, np.int16), None, view, window_hu=WINDOW)
    panel.outline(picture, view, BOX, colour, dashed=colour == panel.TRUTH)
    y, x = np.nonzero((np.asarray(picture) == colour).all(axis=2))
    # The line's inner edge is the box's edge: the box's own pixels stay seen.
    assert (x.min(), y.min()) == (4 * 26 - 2, 4 * 46 - 2)
    assert (x.max(), y.max()) == (4 * 34 + 1, 4 * 54 + 1)
    inside = (x >= 4 * 26) & (x < 4 * 34) & (y >= 4 * 46) & (y < 4 * 54)
    assert not inside.any()


def test_a_dashed_box_has_gaps_and_all_corners() -> None:
    view = panel.View((0.0, 0.0, SIDE, SIDE), (4 * SIDE, 4 * SIDE))
    picture = panel.paint(np.full((SIDE, SIDE), -700, np.int16), None, view, window_hu=WINDOW)
    panel.outline(picture, view, BOX, panel.TRUTH, dashed=True)
    white = (np.asarray(picture) == panel.TRUTH).all(axis=2)
    top = white[4 * 46 - 2, 4 * 26 - 2 : 4 * 34 + 2]
    assert top[0]
    assert top[-1]
    assert 0.3 < top.mean() < 0.8


def test_heat_peaks_where_the_map_peaks_and_is_clear_at_zero() -> None:
    image = np.full((SIDE, SIDE), -800, np.int16)
    view = panel.whole_slice((SIDE, SIDE), None, side_px=2 * SIDE)
    bare = np.asarray(panel.paint(image, None, view, window_hu=WINDOW)).astype(int)
    warm = np.asarray(panel.paint(image, gaussian(BOX, 3), view, window_hu=WINDOW)).astype(int)
    change = np.abs(warm - bare).sum(axis=2)
    y, x = np.unravel_index(change.argmax(), change.shape)
    assert abs(x - 2 * 30) <= 2
    assert abs(y - 2 * 50) <= 2
    assert (change[:, SIDE + 40 :] == 0).all()


def test_low_heat_leaves_the_ct_readable_and_heat_is_ordered() -> None:
    grey = np.full((1, 64, 3), 60.0)
    ramp = panel.blend(grey, np.linspace(0, 1, 64)[None])[0]
    assert np.abs(ramp[6] - 60).max() < 12
    luminance = ramp @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance) > -0.5).all()
    assert luminance[-1] - luminance[0] > 60


def test_a_map_without_numbers_shows_no_heat(tmp_path: Path) -> None:
    missing = drawn(tmp_path / "nan.png", np.full((SIDE, SIDE), np.nan))
    zero = drawn(tmp_path / "zero.png", np.zeros((SIDE, SIDE)))
    assert (missing == zero).all()


def test_without_spacing_there_is_no_scale_bar(tmp_path: Path) -> None:
    heat = np.zeros((SIDE, SIDE))
    corner = np.s_[overlay.SLICE_SIDE_PX + 10 : overlay.SLICE_SIDE_PX + 44, 300 : overlay.SLICE_SIDE_PX]
    with_bar = drawn(tmp_path / "a.png", heat)[corner]
    without = drawn(tmp_path / "b.png", heat, spacing_mm_xy=None)[corner]
    assert (with_bar > 230).all(axis=2).sum() > 200
    assert (without > 230).all(axis=2).sum() == 0


def test_scale_bar_is_as_long_as_it_says() -> None:
    view = panel.View((0.0, 0.0, 100.0, 100.0), (300, 300))
    picture = Image.new("RGB", (300, 300), (200, 0, 0))
    panel.scale_bar(picture, view, (0.5, 0.5))
    row = (np.asarray(picture)[288 - 2] == panel.INK).all(axis=1)
    # 100 px of .5 mm are 50 mm over 300 panel px: 10 mm are 60 px; 20 mm would be more than 35 % of the panel.
    assert row.sum() == 61


def test_anisotropic_pixels_keep_their_proportions() -> None:
    assert panel.whole_slice((100, 100), (0.5, 1.0), side_px=200).size_px == (100, 200)
    zoom = panel.around((40, 40, 50, 50), (100, 100), (0.5, 1.0), side_px=100)
    x1, y1, x2, y2 = zoom.window_xyxy_px
    assert (x2 - x1) * 0.5 == pytest.approx((y2 - y1) * 1.0)


@pytest.mark.parametrize("box", [(-3.0, -3.0, 4.0, 4.0), (115.0, 0.0, 123.0, 6.0), (0.0, 0.0, 120.0, 120.0)])
def test_the_enlarged_part_stays_inside_the_slice(box: tuple[float, ...], tmp_path: Path) -> None:
    x1, y1, x2, y2 = panel.around(box, (SIDE, SIDE), None, side_px=100).window_xyxy_px
    assert x1 >= 0
    assert y1 >= 0
    assert x2 <= SIDE
    assert y2 <= SIDE
    drawn(tmp_path / "edge.png", np.zeros((SIDE, SIDE)), box_xyxy_px=box, true_boxes_xyxy_px=NO_BOX)


def test_caption_makes_room_for_itself(tmp_path: Path) -> None:
    plain = drawn(tmp_path / "a.png", np.zeros((SIDE, SIDE)))
    said = drawn(tmp_path / "b.png", np.zeros((SIDE, SIDE)), caption="true positive " * 12)
    assert len(said) > len(plain) + 40


def test_the_key_of_a_tall_sheet_has_every_step_of_the_heat(tmp_path: Path) -> None:
    """256 colours are few for twelve rows of CT, and the bar is a small part of the sheet."""
    rows = [
        SheetRow(["score 0.9"], slice_hu((30, 50), 4, seed), BOX, NO_BOX, (0.7, 0.7), [Cell(gaussian(BOX, 10))] * 3)
        for seed in range(12)
    ]
    draw_sheet(tmp_path / "sheet.png", ["a", "b", "c"], rows, window_hu=WINDOW)
    with Image.open(tmp_path / "sheet.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    below = pixels[-overlay.KEY_PX :].reshape(-1, 3)
    steps = panel.blend(np.full((64, 3), 105.0), np.linspace(0, 1, 64)).round()
    assert all((below == step).all(axis=1).any() for step in steps)


def test_a_missed_nodule_has_no_detection_to_draw(tmp_path: Path) -> None:
    heat = gaussian(BOX, 10)
    missed = drawn(tmp_path / "a.png", heat, detected=False)[: -overlay.KEY_PX]
    found = drawn(tmp_path / "b.png", heat)[: -overlay.KEY_PX]
    assert not (missed == panel.DETECTION).all(axis=2).any()
    assert (found == panel.DETECTION).all(axis=2).any()
    assert (missed == panel.TRUTH).all(axis=2).any()
