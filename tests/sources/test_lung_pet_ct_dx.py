"""Lung-PET-CT-Dx: boxes meet their slices by UID, in HU, and what has no partner is left out and counted."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.errors import InputError
from lungct.io.coco import read_truth
from lungct.io.npz import read_slice
from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.select_slices import select_slices
from lungct.sources.source import SourceOptions, read_source

from .dicom_writer import write_slice
from .lung_pet_writer import RADIUS_PX, SHAPE, box_around, voc, write_patient

EDGES = SourceOptions(voc_corners="edges")


def test_boxes_meet_their_slices(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, patient in enumerate(("A0001", "G0002")):
        write_patient(tmp_path, patient, number)
    contents = read_source(tmp_path, None, EDGES)
    assert contents.name == "lung-pet-ct-dx"
    assert [len(one.boxes_xyxy_px) for one in contents.images].count(2) == 2
    assert sorted({one.patient_id for one in contents.images}) == ["Lung_Dx-A0001", "Lung_Dx-G0002"]
    assert len({one.case_id for one in contents.images}) == 2
    for image in contents.images:
        letter = image.patient_id[8]
        assert image.labels == (letter,) * len(image.boxes_xyxy_px)
        hu = image.load()
        assert (hu.dtype, hu.shape, image.spacing_mm_xy) == (np.int16, SHAPE[1:], (0.7, 0.8))
        x1, y1, x2, y2 = image.boxes_xyxy_px[0]
        rows, columns = np.nonzero(hu > -400)
        assert abs((x1 + x2) / 2 - (columns.mean() + 0.5)) <= 0.5
        assert abs((y1 + y2) / 2 - (rows.mean() + 0.5)) <= 0.5
    assert "2 CT slices without XML left out" in caplog.text


def test_what_has_no_partner_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    uids = write_patient(tmp_path, "B0003", 0)
    notes, tree = tmp_path / "Annotation" / "B0003", tmp_path / "Lung-PET-CT-Dx" / "Lung_Dx-B0003" / "PET"
    write_slice(tree / "pet", 0.0, SOPInstanceUID="1.2.3.4.5.1", Modality="PT", PatientID="Lung_Dx-B0003")
    rgb = {"SamplesPerPixel": 3, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": bytes(90)}
    write_slice(tree / "fused", 0.0, SOPInstanceUID="1.2.3.4.5.2", **rgb)
    for uid in ("1.2.3.4.5.1", "1.2.3.4.5.2", "1.2.3.4.5.3"):
        (notes / f"{uid}.xml").write_text(voc(("B", (1, 1, 5, 5))))
    (notes / f"{uids[0]}.xml").write_text(voc(("B", (1, 1, 5, 5)), size=(512, 512)))
    (notes / f"{uids[1]}.xml").write_text(voc(("B", (1, 1, 5, 5)), ("C", (1, 1, 5, 5))))
    (notes / f"{uids[2]}.xml").write_text(voc(("unsure", (1, 1, 5, 5))))
    images = read_source(tmp_path, None, EDGES).images
    assert sorted(len(one.labels) for one in images) == [1, 2]
    for words in (
        "1 files left out: not CT",
        "1 files left out: colour",
        "3 XML files without a CT slice left out",
        "1 XML files of another image size left out",
        "2 boxes of an unknown subtype left out",
    ):
        assert words in caplog.text
    assert "without XML" not in caplog.text


def test_patient_comes_from_the_folder_where_the_file_has_none(tmp_path: Path) -> None:
    write_patient(tmp_path, "E0004", 0, patient_id="")
    assert {one.patient_id for one in read_source(tmp_path, None, EDGES).images} == {"Lung_Dx-E0004"}


def test_a_folder_of_voc_images_named_by_uid_is_not_taken_for_it(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("images", "annotations"):
        (tmp_path / name).mkdir()
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "images" / "1.2.840.113654.2.55.png")
    (tmp_path / "annotations" / "1.2.840.113654.2.55.xml").write_text(voc(("A", (1, 1, 5, 5)), size=(8, 6)))
    assert read_source(tmp_path).name == "voc2d"


@pytest.mark.parametrize(("xml", "words"), [("<annotation>", "as XML"), (voc(("A", (5, 1, 5, 5))), "no area")])
def test_broken_annotations_are_refused_without_their_uid(tmp_path: Path, xml: str, words: str) -> None:
    uids = write_patient(tmp_path, "A0001", 0)
    (tmp_path / "Annotation" / "A0001" / f"{uids[0]}.xml").write_text(xml)
    with pytest.raises(InputError, match=words) as caught:
        read_source(tmp_path, "lung-pet-ct-dx", EDGES)
    assert uids[0] not in str(caught.value)


def test_from_dicom_to_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, patient in enumerate(("A0001", "B0002", "G0003")):
        write_patient(tmp_path / "in", patient, number)
    with caplog.at_level(logging.ERROR, "lungct"):
        preprocess(tmp_path / "in", tmp_path / "out", PreprocessOptions(reading=EDGES))
        summary = select_slices(tmp_path / "out", tmp_path / "slices", SelectOptions())
    assert sum(summary.images.values()) == 9
    for split in ("train", "val", "test"):
        truth = read_truth(tmp_path / "slices" / f"{split}.json")
        assert sorted(truth.categories.values()) == ["A", "B", "G"]
        for note in truth.annotations:
            image = next(one for one in truth.images if one.id == note.image_id)
            assert truth.categories[note.category_id] == image.patient_id[8]
            assert image.lungct["spacing_mm"] == [0.7, 0.8]
            hu = read_slice(tmp_path / "slices" / image.file_name)[1]
            x1, y1, x2, y2 = note.box_xyxy_px
            if x2 - x1 == 2 * RADIUS_PX:
                rows, columns = np.nonzero(hu > -400)
                assert abs((x1 + x2) / 2 - (columns.mean() + 0.5)) <= 0.5
                assert abs((y1 + y2) / 2 - (rows.mean() + 0.5)) <= 0.5


@settings(max_examples=25, deadline=None)
@given(
    st.floats(12, 36),
    st.floats(12, 42),
    st.sampled_from([("centres", -0.5, -0.5), ("inclusive", 1, 0), ("edges", 0, 0)]),
)
def test_every_convention_of_corners_gives_the_same_box(
    tmp_path_factory: pytest.TempPathFactory, y: float, x: float, corners: tuple[str, float, float]
) -> None:
    """Corners are written in a convention and read by its name; the box is where the disk is."""
    from lungct.io.voc import read_voc

    name, low, high = corners
    x1, y1, x2, y2 = box_around((y, x))
    path = tmp_path_factory.getbasetemp() / "one.xml"
    path.write_text(voc(("A", (x1 + low, y1 + low, x2 + high, y2 + high))))
    assert read_voc(path, name).boxes_xyxy_px.tolist() == [pytest.approx([x1, y1, x2, y2])]
