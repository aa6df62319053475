"""The sheet of a scan's nodules: one tile each, boxes on it, in the same bytes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from lungct.report.nodule_sheet import Tile, write_nodule_sheet
from lungct.report.overlay import gray_png
from lungct.report.panel import DETECTION


def drawn(path: Path, count: int, box: tuple[float, float, float, float] = (20, 30, 28, 36)) -> np.ndarray:
    hu = np.full((80, 100), -800, np.int16)
    hu[30:36, 20:28] = 0
    tiles = [Tile(hu, box, f"{number}   score 0.91   7.5 mm", "slice 4 of the scan") for number in range(count)]
    write_nodule_sheet(path, tiles, title="case_1: found", spacing_mm_xy=(0.7, 0.7), window_hu=(-1350, 150))
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_a_tile_each_with_its_box_twice(tmp_path: Path) -> None:
    one, three = drawn(tmp_path / "one.png", 1), drawn(tmp_path / "three.png", 3)
    marked = [(picture == DETECTION).all(axis=2).sum() for picture in (one, three)]
    assert marked[0] > 200
    assert marked[1] == 3 * marked[0]
    assert three.shape[0] > 1.7 * one.shape[0]
    assert three.shape[1] > 1.9 * one.shape[1]
    drawn(tmp_path / "again.png", 3)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "three.png").read_bytes()


def test_the_box_is_where_the_nodule_is(tmp_path: Path) -> None:
    picture = drawn(tmp_path / "one.png", 1)
    framed = (picture == DETECTION).all(axis=2)
    # Whole slice on the left: 300 px for 100 pixels of the slice, from row 50 + 30 on.
    rows, columns = np.nonzero(framed[:, :310])
    scale = 300 / 100
    assert abs((columns.min() + columns.max()) / 2 - (10 + 24 * scale)) <= 2
    assert abs((rows.min() + rows.max()) / 2 - (50 + 30 + 33 * scale)) <= 2


def test_nothing_found(tmp_path: Path) -> None:
    picture = drawn(tmp_path / "none.png", 0)
    assert not (picture == DETECTION).all(axis=2).any()
    assert (picture > 200).any(), "it says so"


def test_grays_and_the_colour_come_back_from_the_png() -> None:
    gray = np.repeat(np.tile(np.arange(256, dtype=np.uint8), (4, 1))[..., None], 3, axis=2)
    gray[1, 10:20] = DETECTION
    back = np.asarray(Image.open(io.BytesIO(gray_png(Image.fromarray(gray), (DETECTION,)))).convert("RGB")).astype(int)
    assert (back[1, 10:20] == DETECTION).all()
    back[1, 10:20] = gray[1, 10:20]
    assert np.abs(back - gray).max() <= 1
