"""NLST in its three forms: what is an image, whose it is, what is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungct.errors import InputError
from lungct.io.coco import read_truth
from lungct.io.points_csv import read_points
from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.select_slices import select_slices
from lungct.sources.source import SourceOptions, read_source
from lungct.types import Grid

from .dicom_writer import write_slice
from .layout_writers import UID, nlst_3d, nlst_3d_dicom, nlst_slices_npy, stored, sybil, write_volume
from .spheres import Disc, scan_of, slice_of, two_spheres

GRID = Grid((26, 30, 34), (1.6, 1.2, 0.9), (-15.0, -18.0, 300.0))
DISCS = [[Disc((20.0, 20.0), 8.0)], [Disc((30.0, 20.0), 8.0)]]
HEADER = "pid,dcm_series,uid_slice,x,y,width,height\n"


def slices_with(folder: Path, rows: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "boxes.csv").write_text(HEADER + rows)
    for name in ("1.2.3", "1.2.4"):
        np.save(folder / f"{name}.npy", slice_of([], seed=int(name[-1])))
    return folder


def test_slices_of_a_participant_stay_together(tmp_path: Path) -> None:
    rows = "100012,1.9,1.2.3,1,2,3,4\n100012,1.8,1.2.4,1,2,3,4\n100012,1.9,1.2.3,1,2,3,4\n100012,1.9,1.2.3,9,9,5,5\n"
    first, second = read_source(slices_with(tmp_path, rows)).images
    assert first.patient_id == second.patient_id == "100012"
    assert first.case_id != second.case_id
    assert first.boxes_xyxy_px.tolist() == [[1, 2, 4, 6], [9, 9, 14, 14]]
    assert first.attributes == ({"malignant": 1},) * 2
    assert not any("1.2.3" in text or "1.9" in text for text in (first.image_id, first.case_id))
    assert first.spacing_mm_xy is None
    assert read_source(tmp_path, None, SourceOptions(pixel_spacing_mm=0.7)).images[0].spacing_mm_xy == (0.7, 0.7)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("100012,1.9,1.2.3,1,2,0,4\n", "line 2: width, height are 0, 4"),
        ("100012,1.9,1.2.3,0.1,0.2,0.1,0.1\n", "line 2: the box lies within one pixel: expected pixels, not fractions"),
        ("100012,1.9,1.2.3,x,2,3,4\n", "line 2: x is 'x', expected a number of pixels"),
        ("100012,1.9,,1,2,3,4\n", "line 2: no pid, dcm_series or uid_slice"),
        ("100012,1.9,1.2.3,1,2,3,4\n100013,1.9,1.2.3,1,2,3,4\n", "line 3: another pid or dcm_series than line 2"),
        ("100012,1.9,1.7.7,1,2,3,4\n", "none of its 1 slices is in the folder"),
    ],
)
def test_broken_slice_tables_are_named(tmp_path: Path, rows: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_source(slices_with(tmp_path, rows))
    assert "1.2.3" not in str(caught.value)


def test_slices_that_are_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "100012,1.9,1.2.3,1,2,3,4\n100012,1.9,1.7.7,1,2,3,4\n"
    with caplog.at_level(logging.WARNING, "lungct"):
        assert len(read_source(slices_with(tmp_path, rows)).images) == 1
    assert "1 of 2 annotated slices are not in the folder" in caplog.text


def write_sybil(folder: Path, boxes: Any, patient: str = "100012") -> Path:
    write_slice(folder / "a.dcm", 0.0, SOPInstanceUID="1.2.3", PatientID=patient, **stored(slice_of([])))
    write_slice(folder / "b.dcm", 1.0, SOPInstanceUID="1.2.4", PatientID=patient, **stored(slice_of([], seed=1)))
    (folder / "boxes.json").write_text(json.dumps({"1.9.9": {"1.2.3": boxes, "1.2.4": []}}))
    return folder


def box(**changes: Any) -> dict[str, Any]:
    return {"x": 0.25, "y": 0.5, "width": 0.1, "height": 0.25, **changes}


def test_sybil_fractions_duplicates_and_empty_lists(tmp_path: Path) -> None:
    first, second = read_source(write_sybil(tmp_path, [box(), box(), box(x=0.5)])).images
    np.testing.assert_allclose(first.boxes_xyxy_px, [[15, 24, 21, 36], [30, 24, 36, 36]])
    assert second.boxes_xyxy_px.shape == (0, 4)
    assert first.case_id == second.case_id
    assert first.patient_id == second.patient_id == "100012"
    assert first.spacing_mm_xy == (0.7, 0.8)
    assert first.load().tolist() == slice_of([]).tolist()
    preprocess(tmp_path, tmp_path / "out")
    summary = select_slices(tmp_path / "out", tmp_path / "slices", SelectOptions(context=1))
    assert (sum(summary.images.values()), sum(summary.boxes.values())) == (2, 2)


def test_sybil_series_without_a_participant_is_its_own(tmp_path: Path) -> None:
    first, _ = read_source(write_sybil(tmp_path, [], patient="")).images
    assert first.patient_id == first.case_id


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([box(width=0)], "series 1, slice 1: a box of 0 x 0.25 at 0.25, 0.5 has no area"),
        ([box(x=128, width=20)], "slice 1: a box lies beyond the image: expected fractions"),
        ([{"x": 1}], "a box is no object of numbers"),
        ([box(y="top")], "a box is no object of numbers"),
        ([box(y=float("nan"))], "has no area"),
        ({"x": 1}, "slice 1 is no list"),
    ],
)
def test_broken_sybil_boxes_are_named(tmp_path: Path, boxes: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_source(write_sybil(tmp_path, boxes))
    assert "1.2.3" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"1.9.9": {"1.2.3": []', "not readable as JSON"), ('{"1.9.9": {}, "1.9.8": []}', "series 2 is no object")],
)
def test_broken_sybil_files_are_named(tmp_path: Path, text: str, words: str) -> None:
    write_sybil(tmp_path, [])
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(InputError, match=words):
        read_source(tmp_path)


def test_sybil_without_its_dicom_files(tmp_path: Path) -> None:
    sybil(tmp_path, DISCS)
    for path in (tmp_path / "dicom").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="none of its 2 slices is in the folder"):
        read_source(tmp_path)


def test_two_tables_are_one_too_many(tmp_path: Path) -> None:
    nlst_slices_npy(tmp_path, DISCS)
    nlst_3d(tmp_path, GRID, two_spheres(GRID))
    with pytest.raises(InputError, match=r"tables of boxes in it: .*: expected one slice CSV, Sybil JSON or 3D CSV"):
        read_source(tmp_path)
    (tmp_path / "boxes.csv").unlink()
    assert read_source(tmp_path).scans
    (tmp_path / "nlst_3d_annotations.csv").unlink()
    with pytest.raises(InputError, match="tables of boxes in it: none"):
        read_source(tmp_path, "nlst")


@pytest.mark.parametrize("write", [nlst_3d, nlst_3d_dicom])
def test_only_annotated_scans_have_a_known_truth(tmp_path: Path, write: Any, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, GRID, two_spheres(GRID))
    if write is nlst_3d:
        write_volume(tmp_path / "scans" / "1.2.9.9.9.9.nii.gz", scan_of(GRID, []))
    else:
        for z in range(3):
            write_slice(tmp_path / "100013" / f"{z}.dcm", float(z), SeriesInstanceUID="1.2.9.9", PatientID="100013")
    scans = {len(scan.nodules): scan for scan in read_source(tmp_path).scans}
    assert {count: scan.truth_known for count, scan in scans.items()} == {2: True, 0: False}
    nodule = scans[2].nodules[0]
    assert (nodule.malignant, nodule.size_mm, nodule.source) == (1, (8.0, 8.0, 8.0), "nlst")
    assert nodule.patient_id == scans[2].patient_id
    assert UID not in repr((nodule, scans[2].case_id, scans[2].patient_id))
    assert ("no participant is named" in caplog.text) == (write is nlst_3d)


def test_what_lungct_writes_is_no_nlst(tmp_path: Path) -> None:
    """``excluded.csv`` has the 3D table's columns."""
    write_volume(tmp_path / "scans" / "case_1.nii.gz", scan_of(GRID, []))
    (tmp_path / "excluded.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\ncase_1,1,2,3,4\n")
    assert read_source(tmp_path).name == "volumes"


@pytest.mark.real
def test_the_real_3d_table(real_data: Path, tmp_path: Path) -> None:
    """Three of its series as small scans around their boxes, through preprocess and select-slices."""
    table = tmp_path / "in" / "nlst_3d_annotations.csv"
    table.parent.mkdir()
    table.write_bytes((real_data / "nlst" / "nlst_3d_annotations.csv").read_bytes())
    points = read_points(table)
    assert len(points) == 1193
    assert len({series for series, _, _ in points}) == 970
    for number, (series, point, _) in enumerate(points[:3]):
        x, y, z = (value - 80.0 for value in point.center_lps_mm)
        grid = Grid((32, 40, 40), (5.0, 4.0, 4.0), (x, y, z))
        write_volume(tmp_path / "in" / f"{series}.nii.gz", scan_of(grid, [], seed=number))
    preprocess(tmp_path / "in", tmp_path / "out", PreprocessOptions())
    select_slices(tmp_path / "out", tmp_path / "slices", SelectOptions(negatives=0))
    truths = [read_truth(tmp_path / "slices" / f"{name}.json") for name in ("train", "val", "test")]
    assert {note.attributes["malignant"] for truth in truths for note in truth.annotations} == {1}
    assert "1.2.840" not in (tmp_path / "out" / "nodules.csv").read_text()
