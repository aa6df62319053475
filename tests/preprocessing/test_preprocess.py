"""From raw folders to out/: places kept, bytes repeated, runs resumed, failures left out."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from lungct.errors import InputError, OutputExists
from lungct.io.boxes_csv import read_nodules, write_nodules
from lungct.io.manifest import read_manifest
from lungct.preprocessing.cases import Running
from lungct.preprocessing.preprocess import PreprocessOptions, plan_preprocess, preprocess
from lungct.preprocessing.scans import VolumeOptions
from lungct.sources.source import read_source

OPTIONS = PreprocessOptions(volume=VolumeOptions((1.0, 1.1, 1.3)))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout_and_summary(dlcs: Path, tmp_path: Path) -> None:
    summary = preprocess(dlcs, tmp_path / "out", OPTIONS)
    assert summary.facts() == {"source": "dlcs24", "scans": 4, "images": 0, "nodules": 4, "nodule_free": 1}
    assert set(files_of(tmp_path / "out")) == {
        *(f"scans/CASE_{number}.nii.gz" for number in range(1, 5)),
        "nodules.csv",
        "manifest.ndjson",
    }
    with open(tmp_path / "out" / "nodules.csv") as stream:
        header = stream.readline()
    assert header.startswith(
        "patient-id,nodule_id,ct_nifti_file,coordX,coordY,coordZ,w,h,d,Malignant_lbl,benchmark_split,"
    )
    run, *scans = read_manifest(tmp_path / "out")
    assert run["options"]["hu_clip"] == [-1000, 500]
    assert [(one["case_id"], one["nodules"], one["spacing_mm"]) for one in scans] == [
        (f"CASE_{number}", count, [1.0, 1.1, 1.3]) for number, count in ((1, 2), (2, 1), (3, 1), (4, 0))
    ]


def test_nodules_lie_where_the_csv_says(dlcs: Path, tmp_path: Path) -> None:
    preprocess(dlcs, tmp_path / "out", OPTIONS)
    for nodule in read_nodules(tmp_path / "out" / "nodules.csv"):
        image = nibabel.load(tmp_path / "out" / "scans" / f"{nodule.case_id}.nii.gz")
        x, y, z = nodule.center_lps_mm
        expected = (np.linalg.inv(image.affine) @ [-x, -y, z, 1])[:3]
        near = tuple(slice(int(value) - 7, int(value) + 9) for value in expected)
        found = np.asarray(ndimage.center_of_mass(np.asanyarray(image.dataobj)[near] > -400))
        found += [one.start for one in near]
        assert np.abs(found - expected).max() < 0.5


def test_same_bytes_with_and_without_workers(dlcs: Path, tmp_path: Path) -> None:
    preprocess(dlcs, tmp_path / "a", OPTIONS)
    preprocess(dlcs, tmp_path / "b", OPTIONS, Running(workers=2))
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_own_output_is_a_source(dlcs: Path, tmp_path: Path) -> None:
    preprocess(dlcs, tmp_path / "out", OPTIONS)
    contents = read_source(tmp_path / "out")
    assert contents.name == "volumes"
    assert [(scan.case_id, len(scan.nodules), scan.truth_known, scan.source) for scan in contents.scans] == [
        ("CASE_1", 2, True, "dlcs24"),
        ("CASE_2", 1, True, "dlcs24"),
        ("CASE_3", 1, True, "dlcs24"),
        ("CASE_4", 0, True, "dlcs24"),
    ]
    preprocess(tmp_path / "out", tmp_path / "again", OPTIONS)
    for name in ("CASE_1", "CASE_2"):
        one, other = (nibabel.load(tmp_path / where / "scans" / f"{name}.nii.gz") for where in ("out", "again"))
        assert np.array_equal(np.asanyarray(one.dataobj), np.asanyarray(other.dataobj))
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)


def test_resume_takes_over_whole_scans_of_the_same_options(dlcs: Path, tmp_path: Path) -> None:
    broken = (dlcs / "CASE_3.nii.gz").read_bytes()
    (dlcs / "CASE_3.nii.gz").write_bytes(b"broken")
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"CASE_3\.nii\.gz"):
        preprocess(dlcs, out, OPTIONS)
    assert not out.exists()
    (dlcs / "CASE_3.nii.gz").write_bytes(broken)
    first = tmp_path / ".out.partial" / "scans" / "CASE_1.nii.gz"
    stamp = first.stat().st_mtime_ns
    preprocess(dlcs, out, OPTIONS, Running(resume=True))
    assert (out / "scans" / "CASE_1.nii.gz").stat().st_mtime_ns == stamp
    preprocess(dlcs, tmp_path / "whole", OPTIONS)
    assert files_of(out) == files_of(tmp_path / "whole")


def test_resume_with_other_options_starts_over(dlcs: Path, tmp_path: Path) -> None:
    whole = (dlcs / "CASE_3.nii.gz").read_bytes()
    (dlcs / "CASE_3.nii.gz").write_bytes(b"broken")
    with pytest.raises(InputError):
        preprocess(dlcs, tmp_path / "out", OPTIONS)
    (dlcs / "CASE_3.nii.gz").write_bytes(whole)
    preprocess(dlcs, tmp_path / "out", PreprocessOptions(volume=VolumeOptions(None)), Running(resume=True))
    assert nibabel.load(tmp_path / "out" / "scans" / "CASE_1.nii.gz").shape == (40, 40, 30)


def test_resume_with_other_input_starts_those_cases_over(dlcs: Path, tmp_path: Path) -> None:
    table = dlcs / "DLCSD24_Annotations.csv"
    whole = (dlcs / "CASE_3.nii.gz").read_bytes()
    (dlcs / "CASE_3.nii.gz").write_bytes(b"broken")
    (dlcs / "CASE_0.nii.gz").write_bytes(whole)
    out = tmp_path / "out"
    with pytest.raises(InputError):
        preprocess(dlcs, out, OPTIONS)
    assert (tmp_path / ".out.partial" / "scans" / "CASE_0.nii.gz").is_file()
    (dlcs / "CASE_0.nii.gz").unlink()
    (dlcs / "CASE_3.nii.gz").write_bytes(whole)
    (dlcs / "CASE_1.nii.gz").write_bytes(whole)
    write_nodules(table, [one for one in read_nodules(table) if one.case_id != "CASE_2"], extra=False)
    preprocess(dlcs, out, OPTIONS, Running(resume=True))
    preprocess(dlcs, tmp_path / "whole", OPTIONS)
    assert files_of(out) == files_of(tmp_path / "whole")


def test_resume_with_another_kind_of_source_leaves_nothing_of_the_first(dlcs: Path, tmp_path: Path) -> None:
    partial = tmp_path / ".out.partial"
    (partial / "images").mkdir(parents=True)
    for name in ("slices.json", "images/1.npz"):
        (partial / name).write_bytes(b"old")
    preprocess(dlcs, tmp_path / "out", OPTIONS, Running(resume=True))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"scans", "nodules.csv", "manifest.ndjson"}


@pytest.mark.parametrize("workers", [0, 2])
def test_keep_going_names_what_it_left_out(dlcs: Path, tmp_path: Path, workers: int) -> None:
    (dlcs / "CASE_3.nii.gz").write_bytes(b"broken")
    summary = preprocess(dlcs, tmp_path / "out", OPTIONS, Running(workers, keep_going=True))
    assert len(summary.failed) == 1
    assert summary.failed[0].startswith("CASE_3: ")
    assert summary.scans == 3
    assert {nodule.case_id for nodule in read_nodules(tmp_path / "out" / "nodules.csv")} == {"CASE_1", "CASE_2"}
    for path in dlcs.glob("*.nii.gz"):
        path.write_bytes(b"broken")
    with pytest.raises(InputError, match="every case failed"):
        preprocess(dlcs, tmp_path / "none", OPTIONS, Running(workers, keep_going=True))


def test_nodule_outside_its_scan_is_warned_of(dlcs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = read_nodules(dlcs / "DLCSD24_Annotations.csv")
    far = type(rows[0])("far", "CASE_1", "CASE_1", (900.0, 0.0, 0.0), (5.0, 5.0, 5.0))
    write_nodules(dlcs / "DLCSD24_Annotations.csv", [*rows, far])
    with caplog.at_level(logging.WARNING, "lungct"):
        preprocess(dlcs, tmp_path / "out", OPTIONS)
    assert "CASE_1: the centre of nodule CASE_1_03 lies outside the scan" in caplog.text
    assert read_manifest(tmp_path / "out")[1]["qc"]["nodules_outside"] == ["CASE_1_03"]


def test_plan_writes_nothing_and_sees_what_is_there(dlcs: Path, tmp_path: Path) -> None:
    assert plan_preprocess(dlcs, tmp_path / "out", OPTIONS).facts()["scans"] == 4
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(OutputExists):
        plan_preprocess(dlcs, tmp_path / "out", OPTIONS)


@pytest.mark.parametrize("spacing", ["0", "-1"])
def test_pixel_spacing_must_be_positive(dlcs: Path, tmp_path: Path, spacing: str) -> None:
    line = [sys.executable, "-m", "lungct", "preprocess", str(dlcs), str(tmp_path / "out")]
    found = subprocess.run([*line, "--pixel-spacing-2d", spacing], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "--pixel-spacing-2d" in found.stderr
