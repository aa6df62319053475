"""The page of findings: what is drawn is there, in the right place, and in the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lungct.report.findings_page import Picture, Row, axial, coronal, findings_page


def drawn(path: Path, rows: list[Row]) -> np.ndarray:
    findings_page(path, rows, title="Audit", window_hu=(-1000, 500))
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_pictures_boxes_and_words(tmp_path: Path) -> None:
    hu = np.full((40, 40), -1000)
    hu[:20] = 500
    bare = drawn(tmp_path / "a.png", [Row("title", ["words"], [Picture(hu, 1.0, "left")])])
    picture = bare[:, : bare.shape[1] // 3]
    black, white = (np.argwhere((picture == value).all(axis=2))[:, 0] for value in (0, 255))
    assert len(black) > 20_000
    assert np.median(white) < np.median(black), "the first row is on top"
    boxed = drawn(tmp_path / "b.png", [Row("title", ["words"], [Picture(hu, 1.0, "left", [(5, 25, 12, 32)])])])
    assert 50 < (bare != boxed).any(axis=2).sum() < 5000
    again = drawn(tmp_path / "c.png", [Row("title", ["words"], [Picture(hu, 1.0, "left")])])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "c.png").read_bytes()
    assert (again == bare).all()


def test_a_row_each_and_a_page_without_any(tmp_path: Path) -> None:
    row = Row("title", ["words that go on " * 9, "$not math"], [Picture(np.zeros((9, 9)), 1.0, "a")] * 2)
    one, three = drawn(tmp_path / "a.png", [row]), drawn(tmp_path / "b.png", [row] * 3)
    assert three.shape[0] > 2 * one.shape[0]
    assert three.shape[1] == one.shape[1]
    empty = drawn(tmp_path / "c.png", [])
    assert (empty < 128).any(), "it says that nothing was found"


def test_planes_of_a_volume() -> None:
    hu = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    assert (axial(hu, 1, (3.0, 2.0, 1.0), "").hu == hu[1]).all()
    assert axial(hu, 1, (3.0, 2.0, 1.0), "").aspect == 2
    head_on_top = coronal(hu, (3.0, 2.0, 1.0), "")
    assert (head_on_top.hu[0] == hu[2, 2]).all()
    assert head_on_top.aspect == 3
