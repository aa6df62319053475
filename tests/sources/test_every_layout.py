"""Every layout, written exactly and small: known places stay known through preprocess and select-slices."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.errors import LungctError
from lungct.registry import CSV_FRAMES, SOURCES
from lungct.sources.source import SourceOptions, read_source
from lungct.types import Grid
from tests.hostile.fuzz import changed

from .layout_writers import FLAT, VOLUMES
from .spheres import Disc, Sphere, check_discs, check_spheres, grids, two_spheres

HERE = {"dlcs24", "luna16", "nlst", "deeplesion", "nrrd-pairs", "coco2d", "volumes", "voc2d"}
EXPECTED = {"volumes_mha": "volumes", "volumes_nrrd": "volumes", "nlst_3d_dicom": "nlst", "nlst_3d": "nlst"} | {
    "nlst_slices_npy": "nlst",
    "nlst_slices_dicom": "nlst",
    "sybil": "nlst",
    "nrrd_pairs": "nrrd-pairs",
    "coco2d_gray": "coco2d",
    "coco2d_deep": "coco2d",
    "coco2d_npy": "coco2d",
}
SMALL = (Grid((4, 6, 5), (4.0, 3.0, 3.0), (-6.0, 5.0, 300.0)), [Sphere((0.0, 12.0, 305.0), 6.0)])
DISCS = [[Disc((20.0, 20.0), 8.0), Disc((40.0, 30.0), 6.0)], [Disc((30.0, 20.0), 8.0)]]


@pytest.mark.parametrize("layout", VOLUMES)
@settings(max_examples=3, deadline=None)
@given(grid=grids(), shift=st.floats(0, 0.5))
def test_spheres_of_a_scan_stay_where_they_are(layout: str, grid: Grid, shift: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "in").mkdir()
        spheres = two_spheres(grid, shift)
        VOLUMES[layout](work / "in", grid, spheres)
        assert read_source(work / "in").name == EXPECTED.get(layout, layout)
        check_spheres(work / "in", work, spheres)


@pytest.mark.parametrize("layout", FLAT)
@settings(max_examples=3, deadline=None)
@given(places=st.lists(st.tuples(st.integers(10, 20), st.integers(10, 38)), min_size=3, max_size=3, unique=True))
def test_discs_of_a_slice_stay_where_they_are(layout: str, places: list[tuple[int, int]]) -> None:
    """Two on the first slice, one on each of the others; whole edges, since crops have them."""
    first, second, third = places
    discs = [
        [Disc((first[0], first[1]), 8.0), Disc((45.0, 24.0), 10.0)],
        [Disc((second[0] + 22.0, second[1]), 12.0)],
        [Disc((third[0], third[1]), 6.0)],
    ]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "in").mkdir()
        FLAT[layout](work / "in", discs)
        assert read_source(work / "in").name == EXPECTED.get(layout, layout)
        boxes = check_discs(work / "in", work, {str(number): mine for number, mine in enumerate(discs)})
        assert len(boxes) == 3


@pytest.mark.parametrize("layout", [*VOLUMES, *FLAT])
def test_a_changed_table_is_read_or_refused_in_one_line(layout: str, tmp_path: Path) -> None:
    write = (lambda: FLAT[layout](tmp_path, DISCS)) if layout in FLAT else (lambda: VOLUMES[layout](tmp_path, *SMALL))
    write()
    tables = sorted(one for one in tmp_path.rglob("*") if one.suffix in (".csv", ".json", ".xml"))
    chance, said = random.Random(layout), []
    for _ in range(25):
        table = chance.choice(tables)
        sound = table.read_bytes()
        table.write_bytes(changed(sound, chance))
        options = SourceOptions(csv_frame=chance.choice(CSV_FRAMES))
        try:
            contents = read_source(tmp_path, None, options)
            for record in (*contents.scans, *contents.images):
                record.load()
        except LungctError as problem:
            said.append(str(problem))
        table.write_bytes(sound)
    assert said
    assert not any("\n" in one for one in said)


def test_no_layout_of_this_house_is_left_out() -> None:
    assert {EXPECTED.get(name, name) for name in (*VOLUMES, *FLAT)} == HERE
    assert set(SOURCES) >= HERE
