"""DeepLesion: boxes that start at 1, types, splits, noise, HU, broken rows."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from lungct.errors import InputError
from lungct.io.coco import read_truth
from lungct.preprocessing.preprocess import preprocess
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.select_slices import select_slices
from lungct.sources.source import read_source

from .layout_writers import DL_HEADER, deeplesion
from .spheres import Disc, slice_of

DISCS = [[Disc((20.0, 20.0), 8.0), Disc((40.0, 30.0), 6.0)], [Disc((30.0, 20.0), 8.0)], [Disc((25.0, 20.0), 9.0)]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    deeplesion(tmp_path / "in", DISCS)
    return tmp_path / "in"


def change(folder: Path, old: str, new: str) -> None:
    text = (folder / "DL_info.csv").read_text()
    assert old in text
    (folder / "DL_info.csv").write_text(text.replace(old, new))


def test_what_each_image_says(folder: Path) -> None:
    first, second, third = read_source(folder).images
    assert (first.image_id, first.case_id, first.patient_id) == ("000001_01_02_109", "000001_01_02", "000001")
    assert [one.split for one in (first, second, third)] == ["val", "test", "train"]
    assert first.spacing_mm_xy == (0.8, 0.8)
    assert first.boxes_xyxy_px.tolist() == [list(one.box_xyxy_px) for one in DISCS[0]]
    assert first.labels == ("lesion", "lesion")
    assert first.attributes[0] == {"diameter_mm": 6.4, "possibly_noisy": 0}
    assert second.attributes[0] == {"lesion_type": "lung", "diameter_mm": 6.4, "possibly_noisy": 0}
    assert first.load().tolist() == slice_of(DISCS[0], seed=1).tolist()


def test_no_age_and_no_sex_in_the_output(folder: Path, tmp_path: Path) -> None:
    change(folder, ",F,NaN,", ",SEX,77.25,")
    preprocess(folder, tmp_path / "out")
    text = (tmp_path / "out" / "slices.json").read_text() + (tmp_path / "out" / "manifest.ndjson").read_text()
    assert "SEX" not in text
    assert "77.25" not in text


def test_types_are_classes_where_every_lesion_has_one(folder: Path, tmp_path: Path) -> None:
    change(folder, ",-1,0,", ",4,1,")
    first, *_ = read_source(folder).images
    assert first.labels == ("liver", "liver")
    assert first.attributes[0]["possibly_noisy"] == 1
    preprocess(folder, tmp_path / "out")
    assert read_truth(tmp_path / "out" / "slices.json").categories == {1: "liver", 2: "lung"}
    select_slices(tmp_path / "out", tmp_path / "slices", SelectOptions(context=1))
    train = read_truth(tmp_path / "slices" / "train.json")
    assert [train.categories[note.category_id] for note in train.annotations] == ["lung"]


def test_images_that_are_not_there(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "Images_png" / "000002_01_02" / "109.png").unlink()
    with caplog.at_level(logging.WARNING, "lungct"):
        assert len(read_source(folder).images) == 2
    assert "1 of 3 images are not there" in caplog.text
    (folder / "Images_png").rename(folder / "elsewhere")
    with pytest.raises(InputError, match="none of its 3 images is in Images_png"):
        read_source(folder)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (",-1,0,", ",9,0,", "line 2: Coarse_lesion_type is 9, expected 1 to 8, or -1"),
        (",-1,0,", ",0,0,", "Coarse_lesion_type is 0"),
        ('"16.5, 16.5, 24.5, 24.5"', '"16.5, 16.5, 24.5"', "line 2: Bounding_boxes has 3 numbers, expected 4"),
        ('"16.5, 16.5, 24.5, 24.5"', '"24.5, 16.5, 16.5, 24.5"', "line 2: Bounding_boxes has no area"),
        (",NaN,2", ",NaN,4", "line 2: Train_Val_Test is 4, expected 1, 2 or 3"),
        ('"0.8, 0.8, 5"', '"0.8"', "Spacing_mm_px_ has 1 numbers, expected 3"),
        ("Bounding_boxes", "boxes", "no column Bounding_boxes"),
    ],
)
def test_broken_rows_are_named(folder: Path, old: str, new: str, words: str) -> None:
    change(folder, old, new)
    with pytest.raises(InputError, match=words):
        read_source(folder, "deeplesion")


def test_an_image_of_another_size_is_refused_when_loaded(folder: Path) -> None:
    change(folder, '"60, 48"', '"512, 512"')
    with pytest.raises(InputError, match="60 x 48 pixels, its annotations say 512 x 512"):
        read_source(folder).images[0].load()


def test_the_published_header_is_the_one_that_is_recognised(tmp_path: Path) -> None:
    """The row is one of the published file's, its image made up."""
    from PIL import Image

    row = (
        '000001_01_01_109.png,1,1,1,109,"233.537, 95.0204, 234.057, 106.977, 231.169, 101.605, 236.252, 101.143",'
        '"226.169, 90.0204, 241.252, 111.977","11.9677, 5.10387","0.44666, 0.283794, 0.434454",3,0,"103, 115",'
        '"0.488281, 0.488281, 5","512, 512","-175, 275",F,62,1'
    )
    (tmp_path / "DL_info.csv").write_text(f"{DL_HEADER}\n{row}\n")
    file = tmp_path / "Images_png" / "000001_01_01" / "109.png"
    file.parent.mkdir(parents=True)
    Image.fromarray(np.full((512, 512), 32768 - 850, np.uint16)).save(file)
    (image,) = read_source(tmp_path).images
    np.testing.assert_allclose(image.boxes_xyxy_px, [[225.669, 89.5204, 240.752, 111.477]])
    assert image.labels == ("mediastinum",)
    assert set(np.unique(image.load())) == {-850}
