"""Layouts are found by looking, names are checked, and the DLCS24 and plain layouts give what their files say."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lungct.errors import InputError
from lungct.io.boxes_csv import write_nodules
from lungct.io.manifest import SCAN_SCHEMA, write_manifest
from lungct.io.nifti import write_nifti
from lungct.sources.pseudonym import Naming, pseudonym
from lungct.sources.source import SourceOptions, read_source
from lungct.types import Grid, Nodule, Volume

from .dicom_writer import write_series

KEEP = SourceOptions(naming=Naming(keep_ids=True))
TINY = Volume(np.zeros((2, 3, 4), np.int16), Grid((2, 3, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))


def nodule(case: str, number: int = 1, patient: str = "", split: str = "train") -> Nodule:
    return Nodule(f"{case}_{number}", patient or case, case, (1.0, 1.0, 1.0), (2.0, 2.0, 2.0), 1, split=split)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_nifti(folder / name, TINY)


def test_dlcs_in_subfolders_with_a_scan_that_has_no_row(tmp_path: Path) -> None:
    write(tmp_path, "subset_01/DLCS_0001.nii.gz", "subset_02/DLCS_0002.nii.gz", "masks/DLCS_0001.nii.gz")
    rows = [nodule("DLCS_0001"), nodule("DLCS_0001", 2)]
    write_nodules(tmp_path / "DLCSD24_Annotations.csv", rows, extra=False)
    contents = read_source(tmp_path)
    assert contents.name == "dlcs24"
    assert [(s.case_id, len(s.nodules), s.split, s.truth_known) for s in contents.scans] == [
        ("DLCS_0001", 2, "train", True),
        ("DLCS_0002", 0, "", True),
    ]


def test_dlcs_rows_without_scans(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "DLCS_0001.nii.gz")
    write_nodules(tmp_path / "DLCSD24_Annotations.csv", [nodule("DLCS_0001"), nodule("DLCS_0009")])
    with caplog.at_level(logging.WARNING, "lungct"):
        assert len(read_source(tmp_path).scans) == 1
    assert "1 of 2 annotated scans are not in the folder" in caplog.text
    write_nodules(tmp_path / "DLCSD24_Annotations.csv", [nodule("DLCS_0009")])
    with pytest.raises(InputError, match="none of its scans"):
        read_source(tmp_path)


@pytest.mark.parametrize(("change", "words"), [({"patient": "other"}, "2 patients"), ({"split": "test"}, "2 splits")])
def test_one_scan_in_two_places_is_refused(tmp_path: Path, change: dict[str, str], words: str) -> None:
    write(tmp_path, "a.nii.gz")
    write_nodules(tmp_path / "DLCSD24_Annotations.csv", [nodule("a"), nodule("a", 2, **change)])
    with pytest.raises(InputError, match=words):
        read_source(tmp_path)


@pytest.mark.parametrize("table", ["DLCSD24_Annotations.csv", "nodules.csv"])
def test_one_nodule_id_twice_in_a_scan_is_refused(tmp_path: Path, table: str) -> None:
    write(tmp_path, "ct1.nii.gz", "ct2.nii.gz")
    write_nodules(tmp_path / table, [nodule("ct1"), replace(nodule("ct2"), nodule_id="ct1_1")])
    assert [scan.nodules[0].nodule_id for scan in read_source(tmp_path).scans] == ["ct1_1", "ct1_1"]
    write_nodules(tmp_path / table, [nodule("ct1"), nodule("ct1")])
    with pytest.raises(InputError, match=rf"{table}: ct1 has two rows with one nodule_id, 'ct1_1': number its nodules"):
        read_source(tmp_path)


@pytest.mark.parametrize("table", ["DLCSD24_Annotations.csv", "nodules.csv", ""])
def test_no_uid_of_a_file_or_patient_gets_through(tmp_path: Path, table: str) -> None:
    uid = "1.3.6.1.4.1.14519.5.2.1"
    write(tmp_path, f"{uid}.nii.gz", "case_2.nii.gz")
    if table:
        write_nodules(tmp_path / table, [nodule(uid)])
    uids, plain = read_source(tmp_path).scans
    assert plain.case_id == plain.patient_id == "case_2"
    assert uids.case_id == pseudonym("case", uid)
    assert [one.nodule_id for one in uids.nodules] == [f"{uids.case_id}_01"] * bool(table)
    assert all(one.case_id == uids.case_id for one in uids.nodules)
    assert uid not in repr((uids.case_id, uids.patient_id, uids.nodules))


def test_dicom_among_volumes_is_not_passed_over_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "ct1.nii.gz")
    assert [scan.case_id for scan in read_source(tmp_path).scans] == ["ct1"]
    assert "DICOM" not in caplog.text
    write_series(tmp_path / "series", [10.0, 12.5])
    assert [scan.case_id for scan in read_source(tmp_path).scans] == ["ct1"]
    assert "DICOM files among the volumes are left out; --source dicom reads them alone" in caplog.text


def test_what_lungct_made_of_the_scans_is_no_further_scan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "ct1.nii.gz", "phantoms/ct2.nii.gz", "out/scans/ct1.nii.gz")
    write_manifest(tmp_path / "phantoms", "phantom", {}, [])
    write_manifest(tmp_path / "out", "preprocess", {}, [])
    assert [scan.case_id for scan in read_source(tmp_path).scans] == ["ct1", "ct2"]
    assert caplog.text.count("1 folders in it that lungct made are left out; name one itself to read it") == 1
    assert [scan.case_id for scan in read_source(tmp_path / "out").scans] == ["ct1"]


def test_volumes_without_csv_have_no_known_truth(tmp_path: Path) -> None:
    write(tmp_path, "deep/ct1.nii.gz", "ct2.nii.gz", "ct2_mask.nii.gz")
    scans = read_source(tmp_path).scans
    assert [(scan.case_id, scan.truth_known) for scan in scans] == [("ct2", False), ("ct1", False)]
    assert [scan.case_id for scan in read_source(tmp_path / "ct2.nii.gz").scans] == ["ct2"]


def test_manifest_tells_what_no_row_says(tmp_path: Path) -> None:
    write(tmp_path, "a.nii.gz", "b.nii.gz")
    write_nodules(tmp_path / "nodules.csv", [nodule("a", patient="P")])
    facts = {"schema": SCAN_SCHEMA, "patient_id": "Q", "split": "test", "source": "lidc"}
    write_manifest(tmp_path, "preprocess", {}, [{**facts, "case_id": "a"}, {**facts, "case_id": "b"}])
    assert [(scan.patient_id, scan.split, scan.source) for scan in read_source(tmp_path).scans] == [
        ("P", "train", "lidc"),
        ("Q", "test", "lidc"),
    ]


@pytest.mark.parametrize("known", [True, False])
def test_a_lost_table_does_not_make_scans_healthy(tmp_path: Path, known: bool) -> None:
    write(tmp_path, "scans/a.nii.gz")
    write_manifest(tmp_path, "preprocess", {}, [{"schema": SCAN_SCHEMA, "case_id": "a", "truth_known": known}])
    if known:
        with pytest.raises(InputError, match=r"nodules\.csv: missing, though the manifest says"):
            read_source(tmp_path)
    else:
        assert [scan.truth_known for scan in read_source(tmp_path).scans] == [False]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    write(tmp_path, "one/ct.nii.gz", "two/ct.nii.gz", "three/scan_3.nii.gz")
    first, third, second = read_source(tmp_path).scans
    assert third.case_id == "scan_3"
    assert [one.case_id for one in (first, second)] == [pseudonym("case", "one/ct"), pseudonym("case", "two/ct")]
    kept = [scan.case_id for scan in read_source(tmp_path, None, KEEP).scans]
    assert [one[:-7] for one in kept if one != "scan_3"] == ["one_ct", "two_ct"]
    write_nodules(tmp_path / "nodules.csv", [nodule("scan_3")])
    assert len({scan.case_id for scan in read_source(tmp_path).scans}) == 3
    write_nodules(tmp_path / "nodules.csv", [nodule("ct")])
    with pytest.raises(InputError, match="2 files in the folder have the name of one scan"):
        read_source(tmp_path)


def test_one_scan_in_two_formats_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "scan_1.nii.gz", "scan_1.nii")
    with pytest.raises(InputError, match="2 files have the case id 'scan_1'"):
        read_source(tmp_path)


@pytest.mark.parametrize("stem", ["a b", "Jos\u00e9", "\u80ba \u7d50\u7bc0", "-x", ".+-" * 3, "A" * 200, "CT. "])
@pytest.mark.parametrize("keep", [False, True])
def test_any_file_name_makes_a_safe_name(tmp_path: Path, stem: str, keep: bool) -> None:
    write(tmp_path, f"x{stem}.nii.gz")
    (scan,) = read_source(tmp_path, None, SourceOptions(naming=Naming(keep_ids=keep))).scans
    assert scan.case_id.isascii()
    assert len(scan.case_id) < 100
    assert scan.case_id.startswith("x" if keep else "case-")


def test_letters_with_marks_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    write(tmp_path, "Jose\u0301.nii.gz")
    write_nodules(tmp_path / "nodules.csv", [nodule("Jos\u00e9")])
    (scan,) = read_source(tmp_path).scans
    assert len(scan.nodules) == 1
    assert scan.case_id == pseudonym("case", "Jos\u00e9")


def test_names_in_a_folder_of_ours_are_names_already(tmp_path: Path) -> None:
    write(tmp_path, "scans/case-0011223344.nii.gz")
    (scan,) = read_source(tmp_path).scans
    assert scan.case_id != "case-0011223344"
    (tmp_path / "manifest.ndjson").write_text('{"schema": "somebody else"}')
    assert read_source(tmp_path).scans[0].case_id == scan.case_id
    write_manifest(tmp_path, "preprocess", {}, [])
    for path in (tmp_path, tmp_path / "scans", tmp_path / "scans" / "case-0011223344.nii.gz"):
        assert read_source(path).scans[0].case_id == "case-0011223344"


def test_errors_name_files_as_their_scans(tmp_path: Path) -> None:
    """The folder that the user named is said, what lies below it only under ``keep_ids``."""
    path = tmp_path / "Doe Jane" / "19550131  x.nii.gz"
    path.parent.mkdir()
    path.write_bytes(b"no volume")
    (scan,) = read_source(tmp_path).scans
    with pytest.raises(InputError) as caught:
        scan.load()
    assert f"{tmp_path}/folder-" in str(caught.value)
    assert scan.case_id in str(caught.value)
    assert "--keep-ids" in str(caught.value)
    assert not any(word in str(caught.value) for word in ("Doe", "Jane", "1955"))
    path.unlink()
    with pytest.raises(InputError) as caught:
        scan.load()
    assert "Doe" not in str(caught.value)
    write(tmp_path, "Doe Jane/19550131  x.nii.gz")
    path.write_bytes(b"no volume")
    with pytest.raises(InputError, match="Doe Jane/19550131 x"):
        read_source(tmp_path, None, KEEP).scans[0].load()


def test_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_source(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no scans of a known layout"):
        read_source(tmp_path)
    with pytest.raises(InputError, match="nothing to read in it as 'dicom'"):
        read_source(tmp_path, "dicom")


VOC = """<annotation><size><width>8</width><height>6</height></size>
<object><name>PN</name><bndbox><xmin>2</xmin><ymin>1</ymin><xmax>5</xmax><ymax>4</ymax></bndbox></object></annotation>"""


def write_voc(folder: Path, stem: str, xml: str = VOC) -> None:
    from PIL import Image

    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    gray = np.zeros((6, 8), np.uint8)
    gray[2, 3] = 255
    Image.fromarray(gray).save(folder / "images" / f"{stem}.png")
    (folder / "annotations" / f"{stem}.xml").write_text(xml)


@pytest.mark.parametrize(
    ("corners", "box"),
    [("centres", [2.5, 1.5, 5.5, 4.5]), ("inclusive", [1, 0, 5, 4]), ("edges", [2, 1, 5, 4])],
)
def test_voc_corners_and_hu(tmp_path: Path, corners: str, box: list[float]) -> None:
    write_voc(tmp_path, "0001")
    (image,) = read_source(tmp_path, None, SourceOptions((-1000, 400), 1.0, corners)).images
    assert image.boxes_xyxy_px.tolist() == [box]
    hu = image.load()
    assert (hu[2, 3], hu[0, 0], hu.dtype) == (400, -1000, np.int16)


def test_voc_series_are_pseudonyms_and_patients(tmp_path: Path) -> None:
    third = "1.2.840.113654.2.55"
    for stem in ("0001", "0002", third):
        write_voc(tmp_path, stem)
    series = "1.3.6.1.4.1.14519.5.2.1"
    (tmp_path / "slices.csv").write_text(
        f"image,seriesuid,diameter_mm\n0001.png,{series},5.5\n0002.png,{series},\n{third}.png,9,\n"
    )
    first, second, last = read_source(tmp_path).images
    assert first.patient_id == second.patient_id != last.patient_id
    assert first.attributes == ({"diameter_mm": 5.5},)
    assert last.image_id.startswith("image-")
    assert all("1.3.6" not in str(image) and "1.2.840" not in image.image_id for image in (first, second, last))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("<xmax>5", "<xmax>2", "no area"), ("<xmin>2", "<xmin>two", "expected numbers"), ("</annotation>", "", "as XML")],
)
def test_broken_voc_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    write_voc(tmp_path, "0001", VOC.replace(old, new))
    with pytest.raises(InputError, match=words):
        read_source(tmp_path)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("0001.png,7", "images without a row: 1, first image-"),
        ("0001.png,7\n0002.png", "line 3: no image or no seriesuid"),
        ("0001.png,7\n0002.png,", "line 3: no image or no seriesuid"),
        ("", "no row in it"),
    ],
)
def test_series_table_with_a_hole_is_refused(tmp_path: Path, lines: str, words: str) -> None:
    write_voc(tmp_path, "0001")
    write_voc(tmp_path, "0002")
    (tmp_path / "slices.csv").write_text(f"image,seriesuid\n{lines}\n")
    with pytest.raises(InputError, match=words):
        read_source(tmp_path)


def test_voc_size_that_is_no_number_is_refused(tmp_path: Path) -> None:
    write_voc(tmp_path, "0001", VOC.replace("<width>8", "<width>8px"))
    with pytest.raises(InputError, match=r"size is \['8px', '6'\]"):
        read_source(tmp_path, None, KEEP)
    with pytest.raises(InputError, match=r"size is \['...', '6'\], expected numbers.*: --keep-ids"):
        read_source(tmp_path)


def test_voc_image_of_another_size_is_refused(tmp_path: Path) -> None:
    write_voc(tmp_path, "0001", VOC.replace("<width>8", "<width>9"))
    with pytest.raises(InputError, match="8 x 6 pixels, its annotations say 9 x 6"):
        read_source(tmp_path).images[0].load()
