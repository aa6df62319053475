"""The page of mass profiles: the same bytes each time, a panel a nodule, drawn from what was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from lungct.report.profiles import DrawnProfile, mass_profiles

ONE = DrawnProfile("nodule_1", 12, np.array([0.2, 0.6, 0.3]), np.array([False, True, True]), 0.3)


def drawn(path: Path, *profiles: DrawnProfile) -> Image.Image:
    mass_profiles(path, profiles)
    with Image.open(path) as picture:
        return picture.convert("RGB")


def test_same_bytes_each_time_and_a_row_for_two_nodules(tmp_path: Path) -> None:
    sizes = []
    for count in (1, 2, 3, 8):
        sizes.append(drawn(tmp_path / "a.png", *[ONE] * count).size)
        drawn(tmp_path / "b.png", *[ONE] * count)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sizes[0] == sizes[1]
    heights = [height for _, height in sizes]
    assert heights[3] - heights[2] == 2 * (heights[2] - heights[1])


def test_every_number_shows(tmp_path: Path) -> None:
    changed = [
        replace(ONE, title="nodule_2"),
        replace(ONE, z_first=13),
        replace(ONE, mass=np.array([0.2, 0.9, 0.3])),
        replace(ONE, kept=np.array([True, True, True])),
        replace(ONE, least=0.5),
        replace(ONE, least=None),
    ]
    pages = [drawn(tmp_path / "a.png", one).tobytes() for one in (ONE, *changed)]
    assert len(set(pages)) == len(pages)


def test_one_slice_and_none_kept(tmp_path: Path) -> None:
    picture = drawn(tmp_path / "a.png", DrawnProfile("n", 3, np.array([0.4]), np.array([False])))
    assert len(np.unique(np.asarray(picture))) > 50
