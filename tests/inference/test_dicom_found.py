"""DICOM SEG and SR of what predict finds, read back by pydicom and highdicom and held against the table."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from highdicom.seg import segread
from highdicom.sr import srread

from lungct.cli import predict as verb
from lungct.errors import EnvironmentError_, UsageError
from lungct.inference.dicom_found import write_dicom
from lungct.inference.link import link
from lungct.inference.scan_view import Grids
from lungct.inference.searched import Searched
from lungct.sources.source import read_source
from lungct.types import Detections
from tests.sources.dicom_writer import PATIENT, SERIES, write_volume

UIDS = {"FrameOfReferenceUID": "1.2.826.0.1.3680043.2.1125.77.9", "StudyTime": "101112", "PatientSex": "F"}
UIDS |= {"PatientBirthDate": "", "AccessionNumber": "", "ReferringPhysicianName": "", "SeriesNumber": 3}


def written(tmp_path: Path, direction: list[float]) -> tuple[Path, list[str], list]:
    hu = np.random.default_rng(0).integers(-1000, 500, (13, 40, 48)).astype(np.int16)
    normal = np.cross(direction[:3], direction[3:])
    place = [list(np.round(np.array([-20.0, -30.0, 100.0]) + 2.0 * z * normal, 4)) for z in range(13)]
    more = {"ImageOrientationPatient": direction, "ImagePositionPatient": lambda z: place[z], **UIDS}
    write_volume(tmp_path / "series", hu, (2.0, 0.8, 0.7), **more)
    (scan,) = read_source(tmp_path / "series").scans
    volume = scan.load()
    grids = Grids(volume.grid, volume.grid, volume.grid, Searched.every(13), "slice")
    nodules = []
    for (x, y, first, last), score in zip(((8, 12, 2, 6), (30, 20, 7, 12)), (0.9, 0.4), strict=True):
        box = np.array([[x, y, x + 9.0, y + 8.0]])
        marks = {z: Detections(z, box, np.array([score]), np.array([1])) for z in range(first, last + 1)}
        nodules += link(marks, volume.grid, case_id=scan.case_id)
    return tmp_path, write_dicom(tmp_path, scan, nodules, grids, shape="ellipsoid", by="peak"), nodules


@pytest.mark.parametrize(
    "direction", [[1.0, 0, 0, 0, 1, 0], [0.9848, 0.1736, 0.0, -0.1736, 0.9848, 0.0]], ids=["straight", "turned"]
)
def test_segments_and_report_lie_where_the_nodules_are(tmp_path: Path, direction: list[float]) -> None:
    folder, names, nodules = written(tmp_path, direction)
    segmentation, report = segread(folder / names[0]), srread(folder / names[1])
    assert segmentation.number_of_segments == 2
    centers = segment_centers(pydicom.dcmread(folder / names[0]))
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 2
    for number, nodule in enumerate(nodules, 1):
        np.testing.assert_allclose(centers[number], nodule.center_lps_mm, atol=0.4)
        group = groups[number - 1]
        ellipsoid = np.reshape(group.roi.graphic_data, (6, 3))
        np.testing.assert_allclose(ellipsoid.mean(axis=0), nodule.center_lps_mm, atol=1e-3)
        lengths = np.linalg.norm(np.diff(np.reshape(ellipsoid, (3, 2, 3)), axis=1)[:, 0], axis=1)
        assert sorted(lengths) == pytest.approx(sorted(nodule.size_mm), abs=1e-3)
        said = {one.name.meaning: float(one.value) for one in group.get_measurements()}
        assert said == pytest.approx({"Diameter": nodule.diameter_mm, "Detection score": nodule.score}, abs=0.01)


def segment_centers(image: pydicom.Dataset) -> dict[int, np.ndarray]:
    """Mean world place of the voxels of each segment, by the attributes of its frames alone."""
    row, column = np.reshape(
        image.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)
    ).astype(float)
    dy, dx = map(float, image.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing)
    found: dict[int, list[np.ndarray]] = {}
    for frame, facts in zip(image.pixel_array, image.PerFrameFunctionalGroupsSequence, strict=True):
        first = np.asarray(facts.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        y, x = np.nonzero(frame)
        number = int(facts.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        found.setdefault(number, []).append(first + np.outer(x, row) * dx + np.outer(y, column) * dy)
    return {number: np.concatenate(points).mean(axis=0) for number, points in found.items()}


def test_they_belong_to_the_series_and_say_so(tmp_path: Path) -> None:
    folder, names, _ = written(tmp_path, [1.0, 0, 0, 0, 1, 0])
    source = pydicom.dcmread(next((folder / "series").iterdir()))
    for name in names:
        made = pydicom.dcmread(folder / name)
        assert (made.PatientID, made.StudyInstanceUID) == (PATIENT, source.StudyInstanceUID)
        assert made.SeriesInstanceUID not in (SERIES, "")
    segmentation = pydicom.dcmread(folder / names[0])
    assert segmentation.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert {one.SeriesInstanceUID for one in segmentation.ReferencedSeriesSequence} == {SERIES}


def test_only_of_dicom_and_only_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lungct.inference.dicom_found import check_dicom
    from lungct.io.nifti import write_nifti

    _, _, _ = written(tmp_path, [1.0, 0, 0, 0, 1, 0])
    (scan,) = read_source(tmp_path / "series").scans
    check_dicom([scan])
    write_nifti(tmp_path / "nifti/case_1.nii.gz", scan.load())
    with pytest.raises(UsageError, match="--dicom refers to the slices of a DICOM series"):
        check_dicom(read_source(tmp_path / "nifti").scans)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(EnvironmentError_, match=r"--dicom needs highdicom: pip install 'lungct\[dicom\]'"):
        check_dicom([scan])


def test_the_command_writes_them_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from tests.inference.test_predict import CARD, build_detector, save_tensors, torch

    written(tmp_path, [1.0, 0, 0, 0, 1, 0])
    torch.manual_seed(0)
    save_tensors(tmp_path / "model.safetensors", build_detector(CARD).state_dict(), CARD.to_json())
    look = {"device": "cpu", "score_threshold": 0.48, "sheets": False}
    verb.run(tmp_path / "model.safetensors", tmp_path / "series", tmp_path / "plain", **look)
    assert not list((tmp_path / "plain").rglob("*.dcm"))
    verb.run(tmp_path / "model.safetensors", tmp_path / "series", tmp_path / "asked", dicom=True, **look)
    with open(tmp_path / "asked/nodules.csv") as stream:
        rows = list(csv.DictReader(stream))
    record = json.loads((tmp_path / "asked/manifest.ndjson").read_text().splitlines()[1])
    made = sorted(path.relative_to(tmp_path / "asked").as_posix() for path in (tmp_path / "asked").rglob("*.dcm"))
    assert len(made) == 2
    assert set(made) < set(record["files"])
    assert segread(tmp_path / "asked" / made[0]).number_of_segments == len(rows)
    assert PATIENT not in (tmp_path / "asked/manifest.ndjson").read_text()
    assert PATIENT not in capfd.readouterr().err


@pytest.mark.real
def test_on_a_hospitals_series_labels_segments_and_report_lie_at_one_place(real_data: Path, tmp_path: Path) -> None:
    from tests.inference.test_predict import CARD, build_detector, dataclasses, save_tensors, torch

    card = dataclasses.replace(CARD, spacing_mm=(2.0, 2.0, 1.5), max_detections=1)
    torch.manual_seed(0)
    save_tensors(tmp_path / "model.safetensors", build_detector(card).state_dict(), card.to_json())
    series, look = real_data / "cptac_C3N-00247_dicom", {"device": "cpu", "score_threshold": 0.0, "sheets": False}
    done = verb.run(tmp_path / "model.safetensors", series, tmp_path / "out", dicom=True, **look)
    assert 90 < done.data["images"] < len(list(series.iterdir())) == 99, "the lowest slices show no lung"
    with open(tmp_path / "out/nodules.csv") as stream:
        rows = list(csv.DictReader(stream))
    (labels,) = (tmp_path / "out/labels").iterdir()
    image = nibabel.load(labels)
    assert image.shape == (512, 512, 99)
    voxels = np.asarray(image.dataobj)
    paths = sorted((tmp_path / "out/dicom").iterdir())
    assert [path.name.rpartition("_")[2] for path in paths] == ["seg.dcm", "sr.dcm"]
    centers = segment_centers(pydicom.dcmread(paths[0]))
    groups = srread(paths[1]).content.get_volumetric_roi_measurement_groups()
    assert len(rows) == len(groups) > 1
    assert sorted(centers) == np.unique(voxels)[1:].tolist()
    uids = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in series.iterdir()}
    frames = pydicom.dcmread(paths[0]).PerFrameFunctionalGroupsSequence
    assert {one.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID for one in frames} <= uids
    for number, center in centers.items():
        ras = nibabel.affines.apply_affine(image.affine, np.argwhere(voxels == number)).mean(axis=0)
        np.testing.assert_allclose(ras * (-1, -1, 1), center, atol=1e-3)
    # The ellipsoid of the first is whole: of the others those before may hide a part.
    ellipsoid = np.reshape(groups[0].roi.graphic_data, (6, 3)).mean(axis=0)
    np.testing.assert_allclose(ellipsoid, centers[1], atol=1.5)
    found = [float(rows[0][name]) for name in ("coordX", "coordY", "coordZ")]
    assert np.abs(np.subtract(found, ellipsoid)).max() < float(rows[0]["d"]) / 2
