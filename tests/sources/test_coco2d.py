"""COCO in 2D: ids, splits, names, attributes, and the slices that lungct writes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lungct.errors import InputError
from lungct.io.coco import read_truth
from lungct.preprocessing.preprocess import preprocess
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.select_slices import select_slices
from lungct.sources.pseudonym import Naming
from lungct.sources.source import SourceOptions, read_source

from .layout_writers import coco2d_gray, dlcs24
from .spheres import Disc, slice_of, two_spheres
from .test_luna16 import GRID

DISCS = [[Disc((20.0, 20.0), 8.0), Disc((40.0, 30.0), 6.0)], [Disc((30.0, 20.0), 8.0)], []]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    coco2d_gray(tmp_path / "in", DISCS)
    return tmp_path / "in"


def change(folder: Path, **changes: Any) -> None:
    """Keys of the first image or annotation: ``image__width=3``."""
    document = json.loads((folder / "instances.json").read_text())
    for name, value in changes.items():
        kind, key = name.split("__")
        document[f"{kind}s"][0][key] = value
    (folder / "instances.json").write_text(json.dumps(document))


def test_string_ids_and_category_zero(folder: Path, tmp_path: Path) -> None:
    first, second, empty = read_source(folder).images
    assert (first.image_id, first.patient_id, first.labels, first.split) == (
        "image_0000",
        "image_0000",
        ("PN",) * 2,
        "",
    )
    assert first.boxes_xyxy_px.tolist() == [[16, 16, 24, 24], [37, 27, 43, 33]]
    assert empty.boxes_xyxy_px.shape == (0, 4)
    assert np.abs(second.load() - slice_of(DISCS[1], seed=1)).max() <= 3
    preprocess(folder, tmp_path / "out")
    truth = read_truth(tmp_path / "out" / "slices.json")
    assert truth.categories == {1: "nodule"}
    assert [image.id for image in truth.images] == [1, 2, 3]


def test_several_categories_are_kept_by_name(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "instances.json").read_text())
    document["categories"].append({"id": 7, "name": "mass"})
    document["annotations"][2]["category_id"] = 7
    (folder / "instances.json").write_text(json.dumps(document))
    preprocess(folder, tmp_path / "out")
    truth = read_truth(tmp_path / "out" / "slices.json")
    assert truth.categories == {1: "PN", 2: "mass"}
    assert [note.category_id for note in truth.annotations] == [1, 1, 2]


def test_splits_by_the_names_of_the_files(folder: Path) -> None:
    text = (folder / "instances.json").read_text()
    (folder / "instances.json").unlink()
    (folder / "annotations").mkdir()
    for split in ("train", "val"):
        (folder / "images" / split).mkdir()
        (folder / "annotations" / f"instances_{split}2017.json").write_text(text)
        for number in range(3):
            name = f"image_{number:04d}.png"
            (folder / "images" / split / name).write_bytes((folder / "images" / name).read_bytes())
    for path in (folder / "images").glob("*.png"):
        path.unlink()
    images = read_source(folder, None, SourceOptions(naming=Naming(keep_ids=True))).images
    assert [one.split for one in images] == ["train"] * 3 + ["val"] * 3
    assert len({one.image_id for one in images}) == 6
    assert images[0].image_id.startswith("train_image_0000")


@pytest.mark.parametrize(("stem", "split"), [("latest", ""), ("my_test", "test"), ("Train", "train"), ("interval", "")])
def test_words_that_hold_a_split_are_none(folder: Path, stem: str, split: str) -> None:
    (folder / "instances.json").rename(folder / f"{stem}.json")
    assert {one.split for one in read_source(folder).images} == {split}


def test_facts_of_ours_name_patient_and_spacing(folder: Path) -> None:
    facts = {"case_id": "scan_7", "patient_id": "1.2.3.4.5.6", "spacing_mm": [0.6, 0.7, 1.0], "split": "val"}
    change(folder, image__lungct=facts, annotation__attributes={"malignancy": 4, "name": "Doe", "deep": [1]})
    first, *_ = read_source(folder).images
    assert (first.case_id, first.spacing_mm_xy, first.split) == ("scan_7", (0.6, 0.7), "val")
    assert first.patient_id.startswith("patient-")
    assert first.attributes == ({"malignancy": 4}, {})


def test_crowds_and_empty_boxes_are_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(folder, annotation__iscrowd=1)
    with caplog.at_level(logging.WARNING, "lungct"):
        first, *_ = read_source(folder).images
        assert len(first.boxes_xyxy_px) == 1
        assert "1 crowd or empty boxes left out" in caplog.text
        change(folder, annotation__iscrowd=0, annotation__bbox=[1, 1, 0, 5])
        assert len(read_source(folder).images[0].boxes_xyxy_px) == 1


def test_boxes_outside_the_image_are_counted(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(folder, annotation__bbox=[100, 10, 5, 5])
    with caplog.at_level(logging.WARNING, "lungct"):
        assert preprocess(folder, tmp_path / "out").nodules == 2
    assert "1 boxes lie outside their image and are left out" in caplog.text


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "elsewhere.png"])
def test_images_that_are_not_there(folder: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    (folder.parent / "secret.png").write_bytes((folder / "images" / "image_0000.png").read_bytes())
    change(folder, image__file_name=name)
    with caplog.at_level(logging.WARNING, "lungct"):
        assert len(read_source(folder).images) == 2
    assert "1 images are not there" in caplog.text
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="none of the 3 images of its JSON is there"):
        read_source(folder)


def test_an_image_of_another_size_is_refused_when_loaded(folder: Path) -> None:
    change(folder, image__width=512)
    with pytest.raises(InputError, match="60 x 48 pixels, its annotations say 512 x 48"):
        read_source(folder).images[0].load()


def test_results_are_no_truth(folder: Path) -> None:
    (folder / "detections.json").write_text('[{"image_id": "0000", "bbox": [1, 2, 3, 4]}]')
    assert len(read_source(folder).images) == 3


def test_written_slices_are_a_source(tmp_path: Path) -> None:
    """Slices with their splits, patients and nodules, and 2D images, back through preprocess."""
    (tmp_path / "dlcs").mkdir()
    dlcs24(tmp_path / "dlcs", GRID, two_spheres(GRID))
    preprocess(tmp_path / "dlcs", tmp_path / "out")
    select_slices(tmp_path / "out", tmp_path / "slices", SelectOptions(negatives=0))
    contents = read_source(tmp_path / "slices")
    truth = read_truth(tmp_path / "slices" / "train.json")
    assert contents.name == "coco2d"
    assert len(contents.images) == len(truth.images) > 3
    assert {(one.patient_id, one.case_id, one.split) for one in contents.images} == {
        ("DLCS_0001", "DLCS_0001", "train")
    }
    assert {one["nodule_id"] for image in contents.images for one in image.attributes} == {
        "DLCS_0001_01",
        "DLCS_0001_02",
    }
    preprocess(tmp_path / "slices", tmp_path / "flat")
    again = read_source(tmp_path / "flat")
    for one, other in zip(contents.images, again.images, strict=True):
        assert np.array_equal(one.load(), other.load())
        np.testing.assert_allclose(one.boxes_xyxy_px, other.boxes_xyxy_px)
        assert one.image_id == other.image_id


@pytest.mark.real
def test_the_real_string_ids(real_data: Path, tmp_path: Path) -> None:
    """The real boxes over blank images of the size that the file states."""
    (tmp_path / "in").mkdir()
    table = tmp_path / "in" / "ground_truth.json"
    table.write_bytes((real_data / "coco_string_ids" / "ground_truth.json").read_bytes())
    truth = read_truth(table)
    for number, image in enumerate(truth.images[:20]):
        gray = np.full((image.height, image.width), number, np.uint8)
        Image.fromarray(gray).save(tmp_path / "in" / image.file_name)
    preprocess(tmp_path / "in", tmp_path / "out")
    written = read_truth(tmp_path / "out" / "slices.json")
    assert len(written.images) == 20
    expected = [truth.boxes_of(image.id).tolist() for image in truth.images[:20]]
    for one, boxes in zip(written.images, expected, strict=True):
        np.testing.assert_allclose(written.boxes_of(one.id), np.reshape(boxes, (-1, 4)))
