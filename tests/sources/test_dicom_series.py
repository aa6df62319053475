"""DICOM series: order, HU, what is left out, what is refused, and that no identifier gets through."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from lungct.errors import InputError
from lungct.io.manifest import read_manifest
from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
from lungct.preprocessing.scans import VolumeOptions
from lungct.sources.planes import scan_planes
from lungct.sources.pseudonym import Naming
from lungct.sources.source import SourceOptions, read_source

from .dicom_writer import PATIENT, SECRETS, SERIES, write_series, write_slice

HEIGHTS = [10.0, 12.5, 15.0, 17.5]


def test_slices_are_sorted_and_rescaled(tmp_path: Path) -> None:
    write_series(tmp_path, HEIGHTS)
    (scan,) = read_source(tmp_path).scans
    volume = scan.load()
    assert volume.hu.dtype == np.int16
    assert volume.hu[:, 0, 0].tolist() == [2 * (1000 + int(z)) - 3000 for z in HEIGHTS]
    assert volume.grid.shape_zyx == (4, 6, 5)
    assert volume.grid.spacing_mm_zyx == pytest.approx((2.5, 0.8, 0.7))
    assert volume.grid.origin_lps_mm == (-20.0, -30.0, 10.0)


@pytest.mark.parametrize("tilt", [0.0, 1.4])
def test_planes_are_those_of_the_volume(tmp_path: Path, tilt: float) -> None:
    for number, z_mm in enumerate(HEIGHTS):
        place = [-20.0, -30.0 + tilt * number, z_mm]
        write_slice(tmp_path / f"{number * 3 % 4}.dcm", z_mm, ImagePositionPatient=place)
    (scan,) = read_source(tmp_path).scans
    volume = scan.load()
    with scan_planes(scan) as planes:
        assert planes.grid == volume.grid
        assert all((planes.read(z) == volume.hu[z]).all() for z in range(len(volume.hu)))


def test_planes_of_a_gap_are_filled_as_in_the_volume(tmp_path: Path) -> None:
    write_series(tmp_path, [10.0, 12.5, 20.0, 22.5, 25.0, 30.0, 32.5])
    (scan,) = read_source(tmp_path, options=SourceOptions(missing_slices="interpolate")).scans
    volume = scan.load()
    assert volume.filled_z == (2, 3, 7)
    with scan_planes(scan) as planes:
        assert all((planes.read(z) == volume.hu[z]).all() for z in range(len(volume.hu)))
        assert planes.read(2).dtype == volume.hu.dtype


def test_a_broken_slice_is_named_by_its_number_when_its_turn_comes(tmp_path: Path) -> None:
    write_series(tmp_path, HEIGHTS)
    (scan,) = read_source(tmp_path).scans
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    with scan_planes(scan) as planes, pytest.raises(InputError, match="slice 3 of 4 cannot be read") as raised:
        planes.read(2)
    assert not any(secret in str(raised.value) for secret in SECRETS)


@pytest.mark.parametrize("blank", [False, True])
def test_names_are_stable_pseudonyms(tmp_path: Path, blank: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"SeriesInstanceUID": "", "PatientID": ""} if blank else {}
    write_series(tmp_path / "a", HEIGHTS, **changes)
    first, again = (read_source(tmp_path).scans[0] for _ in range(2))
    assert first.case_id == again.case_id
    assert first.case_id.startswith("case-")
    assert len(first.case_id) == 15
    monkeypatch.setenv("LUNGCT_PSEUDONYM_KEY", "a key")
    assert read_source(tmp_path).scans[0].case_id != first.case_id


def test_two_series_of_one_patient_share_the_patient(tmp_path: Path) -> None:
    write_series(tmp_path / "a", HEIGHTS)
    write_series(tmp_path / "b", HEIGHTS, SeriesInstanceUID="1.2.3.4.5.6")
    one, other = read_source(tmp_path).scans
    assert one.case_id != other.case_id
    assert one.patient_id == other.patient_id


def test_what_is_no_ct_slice_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_series(tmp_path, HEIGHTS)
    write_slice(tmp_path / "scout", 0.0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID="1.2.3.4.9")
    write_slice(tmp_path / "pet", 0.0, Modality="PT", SeriesInstanceUID="1.2.3.4.8")
    (tmp_path / "notes.txt").write_text("not a scan")
    with caplog.at_level(logging.WARNING, "lungct"):
        assert len(read_source(tmp_path).scans) == 1
    for reason in ("1 files left out: localizer", "1 files left out: not CT", "1 files left out: no DICOM"):
        assert reason in caplog.text


def test_of_two_slices_at_one_position_the_lower_number_stays(tmp_path: Path) -> None:
    write_series(tmp_path, HEIGHTS)
    write_slice(tmp_path / "later", 12.5, InstanceNumber=2000, PixelData=np.zeros((6, 5), np.uint16).tobytes())
    (scan,) = read_source(tmp_path).scans
    assert scan.load().hu[1, 0, 0] == 2 * 1012 - 3000


@pytest.mark.parametrize(
    ("heights", "changes", "words"),
    [
        ([10.0, 12.5, 17.5, 20.0], {}, "1 of 5 slices missing, the first after slice 2"),
        ([10.0, 12.5, 14.0, 16.5, 19.0], {}, "uneven slice spacing, 1.50 to 2.50 mm"),
        ([10.0], {}, "only one slice"),
        ([10.0, 10.0], {}, "at one position"),
    ],
)
def test_broken_stacks_are_refused(
    tmp_path: Path, heights: list[float], changes: dict[str, object], words: str
) -> None:
    write_series(tmp_path, heights, **changes)
    (scan,) = read_source(tmp_path).scans
    with pytest.raises(InputError, match=words) as caught:
        scan.load()
    assert scan.case_id in str(caught.value)


def test_a_gap_is_filled_and_named_where_that_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the manifest, in the log, and in the facts of every slice that is selected."""
    heights = [10.0 + 2.5 * number for number in range(16) if number not in (5, 9)]
    write_series(tmp_path / "in", heights, PatientID="LIDC-IDRI-0001")
    reading = SourceOptions(missing_slices="interpolate")
    preprocess(tmp_path / "in", tmp_path / "out", PreprocessOptions(volume=VolumeOptions(None), reading=reading))
    record = read_manifest(tmp_path / "out")[1]
    assert (record["qc"]["input_shape"], record["qc"]["filled_slices"]) == ([5, 6, 16], [5, 9])
    assert "2 of 16 slices missing and interpolated" in caplog.text
    (scan,) = read_source(tmp_path / "out").scans
    assert scan.attributes == {"filled_slices": 2}
    assert scan.load().hu[5, 0, 0] == 2 * 1022.5 - 3000


def test_mixed_planes_and_sizes_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "planes", HEIGHTS)
    write_slice(tmp_path / "planes" / "odd", 20.0, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    write_series(tmp_path / "sizes", HEIGHTS)
    write_slice(tmp_path / "sizes" / "odd", 20.0, Rows=3, Columns=10)
    for name, words in (("planes", "2 orientations"), ("sizes", "2 image sizes")):
        (scan,) = read_source(tmp_path / name).scans
        with pytest.raises(InputError, match=words):
            scan.load()


def test_phases_under_one_uid_are_scans_of_one_patient(tmp_path: Path) -> None:
    for phase in (1, 2):
        write_series(tmp_path / str(phase), HEIGHTS, TemporalPositionIdentifier=phase, RescaleIntercept=-1000 * phase)
    scans = read_source(tmp_path).scans
    assert len({scan.case_id for scan in scans}) == 2
    assert len({scan.patient_id for scan in scans}) == 1
    assert sorted(int(scan.load().hu[0, 0, 0]) for scan in scans) == [20, 1020]
    kept = read_source(tmp_path, None, SourceOptions(naming=Naming(keep_ids=True))).scans
    assert all(scan.case_id.startswith(SERIES) and scan.patient_id == PATIENT for scan in kept)


def test_public_patients_keep_their_names(tmp_path: Path) -> None:
    write_series(tmp_path, HEIGHTS, PatientID="LIDC-IDRI-0001")
    assert read_source(tmp_path).scans[0].patient_id == "LIDC-IDRI-0001"


def test_each_slice_has_its_own_rescale_and_shape_of_pixels(tmp_path: Path) -> None:
    for number, z_mm in enumerate(HEIGHTS):
        write_slice(tmp_path / str(number), z_mm, RescaleSlope=number + 1, RescaleIntercept=-number, Rows=5, Columns=6)
    volume = read_source(tmp_path).scans[0].load()
    assert volume.hu[:, 0, 0].tolist() == [(number + 1) * (1000 + int(z)) - number for number, z in enumerate(HEIGHTS)]
    assert volume.grid.shape_zyx == (4, 5, 6)
    assert volume.grid.spacing_mm_zyx == (2.5, 0.8, 0.7)


def test_what_else_is_no_ct_slice_has_a_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_series(tmp_path, HEIGHTS)
    pixels = bytes(3 * 30)
    write_slice(tmp_path / "rgb", 0.0, SamplesPerPixel=3, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=pixels)
    write_slice(tmp_path / "frames", 0.0, NumberOfFrames=2)
    write_slice(tmp_path / "nowhere", 0.0, ImagePositionPatient=None)
    write_slice(tmp_path / "spacing", 0.0, PixelSpacing=None)
    write_slice(tmp_path / "report", 0.0, Rows=0)
    write_slice(tmp_path / "flat", 0.0, RescaleSlope=0)
    (tmp_path / "cut").write_bytes((tmp_path / "rgb").read_bytes()[:300])
    assert len(read_source(tmp_path).scans) == 1
    reasons = ["colour", "several frames in one file", "no position", "no pixel spacing", "no image", "broken DICOM"]
    for reason in [*reasons, "no usable rescale slope"]:
        assert f"1 files left out: {reason}" in caplog.text


def test_a_file_that_went_away_is_not_named(tmp_path: Path) -> None:
    write_series(tmp_path / PATIENT, HEIGHTS)
    (scan,) = read_source(tmp_path).scans
    next((tmp_path / PATIENT).iterdir()).unlink()
    with pytest.raises(InputError, match=r"slice \d of \d cannot be read \(No such file") as caught:
        scan.load()
    assert PATIENT not in str(caught.value)


def test_no_identifier_in_output_or_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_series(tmp_path / "in", HEIGHTS)
    write_slice(tmp_path / "in" / "later", 12.5, InstanceNumber=2000)
    with caplog.at_level(logging.DEBUG, "lungct"):
        preprocess(tmp_path / "in", tmp_path / "out", PreprocessOptions(volume=VolumeOptions(None)))
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    text = caplog.text + "".join(str(path) for path in written)
    text += "".join(path.read_bytes().decode("latin-1") for path in written)
    assert len(written) == 3
    for secret in SECRETS:
        assert secret not in text
