"""NRRD pairs: the crop is found or refused, ratings and patients come along, one slice is one image."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.io.coco import read_truth
from lungct.preprocessing.cases import Running
from lungct.preprocessing.preprocess import preprocess
from lungct.sources.source import SourceOptions, read_source

from .layout_writers import nrrd_pairs
from .spheres import Disc, slice_of

DISCS = [[Disc((20.0, 20.0), 8.0), Disc((40.0, 30.0), 6.0)], [Disc((30.0, 20.0), 8.0)]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    nrrd_pairs(tmp_path / "in", DISCS)
    return tmp_path / "in"


def write(path: Path, plane: NDArray[np.int16], spacing: tuple[float, ...] = (1.0, 1.0)) -> None:
    image = SimpleITK.GetImageFromArray(plane)
    image.SetSpacing(spacing)
    SimpleITK.WriteImage(image, str(path))


def test_two_nodules_of_one_slice_are_one_image(folder: Path, tmp_path: Path) -> None:
    contents = read_source(folder)
    both, single = contents.images
    assert (contents.name, both.image_id, both.patient_id) == ("nrrd-pairs", "case_0_0", "patient_0")
    assert both.boxes_xyxy_px.tolist() == [[16, 16, 24, 24], [37, 27, 43, 33]]
    assert both.attributes == ({"malignancy": 2.0}, {"malignancy": 3.0})
    assert single.boxes_xyxy_px.tolist() == [[26, 16, 34, 24]]
    assert both.load().tolist() == slice_of(DISCS[0]).tolist()
    preprocess(folder, tmp_path / "out")
    notes = read_truth(tmp_path / "out" / "slices.json").annotations
    assert [note.attributes["malignancy"] for note in notes] == [2.0, 3.0, 2.0]


def test_spacing_of_the_slice_or_the_option(folder: Path) -> None:
    assert read_source(folder).images[1].spacing_mm_xy is None
    assert read_source(folder, None, SourceOptions(pixel_spacing_mm=0.6)).images[1].spacing_mm_xy == (0.6, 0.6)
    write(folder / "full" / "case_1_0.nrrd", slice_of(DISCS[1], seed=1)[np.newaxis], (0.7, 0.8, 2.0))
    assert read_source(folder).images[1].spacing_mm_xy == (0.7, 0.8)


@pytest.mark.parametrize("places", [0, 2])
def test_a_crop_that_is_not_once_in_its_slice_fails_alone(folder: Path, tmp_path: Path, places: int) -> None:
    """Under --keep-going the other pairs are written."""
    full = slice_of([])
    crop = slice_of([Disc((8.0, 8.0), 6.0)])[2:14, 2:14]
    for place in range(places):
        full[5:17, 5 + 20 * place : 17 + 20 * place] = crop
    write(folder / "full" / "case_1_0.nrrd", full)
    write(folder / "crops" / "case_1_0.nrrd", crop)
    words = "the crop lies in its slice more than once" if places else "the crop is no part of its slice"
    with pytest.raises(InputError, match=words):
        read_source(folder).images[1].load()
    summary = preprocess(folder, tmp_path / "out", running=Running(keep_going=True))
    assert (summary.images, len(summary.failed)) == (1, 1)
    assert words in summary.failed[0]


def test_a_broken_file_fails_alone(folder: Path) -> None:
    (folder / "crops" / "case_1_0.nrrd").write_bytes(b"NRRD0004\n")
    with pytest.raises(InputError, match=r"case_1_0\.nrrd: not readable"):
        read_source(folder).images[1].load()


def test_files_and_rows_without_a_partner_are_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "crops" / "case_0_1.nrrd").unlink()
    table = folder / "labels.csv"
    table.write_text(table.read_text().replace("case_1_0,2", "case_9_9,2"))
    with caplog.at_level(logging.WARNING, "lungct"):
        images = read_source(folder).images
    assert [one.attributes for one in images] == [({"malignancy": 2.0},), ({},)]
    for words in ("1 files without a partner", "1 pairs without a row", "2 rows without a pair"):
        assert words in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("case_1_0,2", "case_1_0,6", "line 4: malignancy is 6, expected a rating from 1 to 5"),
        ("case_1_0,2", "case_1_0,high", "line 4: malignancy is"),
        ("3,patient_0", "3,patient_7", "the same slice is of 2 patients in labels.csv"),
    ],
)
def test_broken_rows_are_named(folder: Path, old: str, new: str, words: str) -> None:
    table = folder / "labels.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(InputError, match=words):
        read_source(folder)


def test_two_folders_that_share_stems_are_needed(folder: Path) -> None:
    (folder / "third").mkdir()
    write(folder / "third" / "case_0_0.nrrd", slice_of([]))
    with pytest.raises(InputError, match="3 folders of NRRD files: expected two"):
        read_source(folder, "nrrd-pairs")
    for name in ("third", "crops"):
        for path in (folder / name).iterdir():
            path.unlink()
    write(folder / "crops" / "other.nrrd", slice_of([]))
    with pytest.raises(InputError, match="2 folders of NRRD files: expected two, with files of equal stems"):
        read_source(folder, "nrrd-pairs")
    assert read_source(folder).name == "volumes"


@pytest.mark.real
def test_real_crops_are_found_in_their_slices(real_data: Path, tmp_path: Path) -> None:
    """Fifty real nodule crops, set into noise like lung, in HU and off by 1024."""
    crops = np.load(real_data / "lidc_crops" / "lidc_crops.npz")["crops"][:50]
    rng = np.random.default_rng(0)
    for name in ("slices", "nodules"):
        (tmp_path / "in" / name).mkdir(parents=True)
    rows, places = ["case,malignancy"], []
    for number, crop in enumerate(crops):
        full = rng.normal(-850, 40, (512, 512)).astype(np.int16)
        top, left = (int(value) for value in rng.integers(0, 512 - 71, 2))
        full[top : top + 71, left : left + 71] = crop - 1024
        write(tmp_path / "in" / "slices" / f"case_{number}.nrrd", full)
        write(tmp_path / "in" / "nodules" / f"case_{number}.nrrd", crop - 1024 * (number % 2))
        rows.append(f"case_{number},3")
        places.append([left, top, left + 71, top + 71])
    (tmp_path / "in" / "labels.csv").write_text("\n".join(rows) + "\n")
    images = {one.image_id: one for one in read_source(tmp_path / "in").images}
    assert [images[f"case_{number}"].boxes_xyxy_px.tolist() for number in range(50)] == [[one] for one in places]
