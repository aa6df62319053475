"""Nodule tables in voxels or RAS: named in one line with the flag that mends it, and mended by it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from lungct.errors import InputError, UsageError
from lungct.io.manifest import read_manifest
from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
from lungct.preprocessing.scans import VolumeOptions
from lungct.sources.source import SourceOptions, read_source
from lungct.types import Grid

from .layout_writers import dlcs24, luna16, nlst_3d, nlst_3d_dicom, volumes_mha, write_dlcs_table, write_volume
from .spheres import Sphere, check_spheres, scan_of, two_spheres

GRID = Grid((26, 30, 34), (1.6, 1.2, 0.9), (40.0, -200.0, 300.0), (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
RAS, VOXEL = SourceOptions(csv_frame="ras"), SourceOptions(csv_frame="voxel")
TABLES = ("DLCSD24_Annotations.csv", "nodules.csv", "annotations.csv", "nlst_3d_annotations.csv")


def rewrite(folder: Path, frame: str) -> None:
    """The table of a folder in another frame; box sizes along x, y, z follow into voxels."""
    table = next(folder / name for name in TABLES if (folder / name).is_file())
    header, *rows = table.read_text().splitlines()
    columns = header.split(",")
    first = columns.index("coordX")
    lines = [header]
    for row in rows:
        cells = row.split(",")
        point = np.array(cells[first : first + 3], dtype=float)
        new = point * [-1, -1, 1] if frame == "ras" else GRID.to_index(point)
        cells[first : first + 3] = [repr(float(value)) for value in new]
        if frame == "voxel" and "w" in columns:
            place = columns.index("w")
            size = np.array(cells[place : place + 3], dtype=float) / GRID.spacing_mm_zyx[::-1]
            cells[place : place + 3] = [repr(float(value)) for value in size]
        lines.append(",".join(cells))
    table.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("write", [dlcs24, volumes_mha, luna16, nlst_3d])
@pytest.mark.parametrize("frame", ["ras", "voxel"])
def test_another_frame_is_named_and_mended(tmp_path: Path, write: object, frame: str) -> None:
    spheres = two_spheres(GRID)
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder, GRID, spheres)  # type: ignore[operator]
    rewrite(folder, frame)
    words = rf"2 of 2 nodule centres lie outside their scans as LPS mm; .*: run preprocess with --csv-frame {frame}\b"
    with pytest.raises(InputError, match=words):
        read_source(folder)
    check_spheres(folder, tmp_path, spheres, SourceOptions(csv_frame=frame))


def test_a_flag_that_is_wrong_is_named_too(tmp_path: Path) -> None:
    dlcs24(tmp_path, GRID, two_spheres(GRID))
    for options in (RAS, VOXEL):
        with pytest.raises(InputError, match=r"look like LPS mm .*--csv-frame lps"):
            read_source(tmp_path, None, options)


def test_excluded_findings_are_moved_with_the_nodules(tmp_path: Path) -> None:
    luna16(tmp_path, GRID, two_spheres(GRID))
    (right,) = read_source(tmp_path).scans
    rewrite(tmp_path, "ras")
    table = tmp_path / "annotations_excluded.csv"
    header, row = table.read_text().split()
    series, x, y, z, diameter = row.split(",")
    table.write_text(f"{header}\n{series},{-float(x)},{-float(y)},{z},{diameter}\n")
    (moved,) = read_source(tmp_path, None, RAS).scans
    assert moved.excluded == right.excluded
    assert [one.center_lps_mm for one in moved.nodules] == [one.center_lps_mm for one in right.nodules]


def test_dicom_series_have_no_voxel_order(tmp_path: Path) -> None:
    nlst_3d_dicom(tmp_path, Grid((4, 6, 5), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), [Sphere((2.0, 2.0, 2.0), 2.0)])
    with pytest.raises(UsageError, match="--csv-frame voxel needs volume files"):
        read_source(tmp_path, None, VOXEL)


def test_a_broken_scan_is_left_to_its_loading(tmp_path: Path) -> None:
    dlcs24(tmp_path, GRID, two_spheres(GRID))
    (tmp_path / "subset_01" / "DLCS_0001.nii.gz").write_bytes(b"broken")
    for options in (SourceOptions(), VOXEL):
        (scan,) = read_source(tmp_path, None, options).scans
        with pytest.raises(InputError, match="not readable as NIfTI"):
            scan.load()


def test_a_table_of_other_scans_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dlcs24(tmp_path, GRID, [Sphere((9000.0, 9000.0, 9000.0), 5.0)])
    with caplog.at_level(logging.WARNING, "lungct"):
        read_source(tmp_path)
    assert "1 of 1 nodule centres lie outside their scans, in any frame" in caplog.text


def many(grid: Grid, count: int, diameter_mm: float = 6.0) -> list[Sphere]:
    share = np.random.default_rng(5).uniform(0.2, 0.8, (count, 3))
    points = grid.to_world(share * (np.array(grid.shape_zyx[::-1]) - 1))
    return [Sphere((float(x), float(y), float(z)), diameter_mm) for x, y, z in points]


def test_sizes_in_cm_or_voxels_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spheres = many(GRID, 6)
    dlcs24(tmp_path, GRID, spheres)
    with caplog.at_level(logging.WARNING, "lungct"):
        read_source(tmp_path)
        assert caplog.text == ""
        table = tmp_path / "DLCSD24_Annotations.csv"
        text = table.read_text()
        table.write_text(text.replace("6.0,6.0,6.0,0", "0.6,0.6,0.6,0"))
        read_source(tmp_path)
        assert "a median size of 0.6 mm looks like cm; multiply sizes by 10" in caplog.text
        caplog.clear()
        table.write_text(text.replace("6.0,6.0,6.0,0", f"{6 / 0.9},{6 / 1.2},{6 / 1.6},0"))
        read_source(tmp_path)
        assert "--csv-frame voxel if the coordinates are voxels too" in caplog.text


@pytest.mark.parametrize(("written", "said"), [("ras", "lps"), ("ras", "ras"), ("lps", "ras"), ("lps", "lps")])
def test_mirrored_centres_within_the_scan_are_seen_in_the_voxels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, written: str, said: str
) -> None:
    """Around a centre at the origin RAS and LPS readings are both inside; only what lies there tells them apart."""
    grid = Grid((26, 60, 60), (2.0, 1.0, 1.0), (-29.5, -29.5, 0.0))
    places = [(-18, -20, 12), (-18, 2, 20), (-20, 18, 30), (16, -4, 12), (3, 18, 24), (20, 10, 36)]
    write_volume(tmp_path / "in" / "DLCS_0001.nii.gz", scan_of(grid, [sphere(x, y, z) for x, y, z in places]))
    sign = -1 if written == "ras" else 1
    rows = [sphere(sign * x, sign * y, z) for x, y, z in places]
    write_dlcs_table(tmp_path / "in" / "DLCSD24_Annotations.csv", "DLCS_0001.nii.gz", rows)
    options = PreprocessOptions(volume=VolumeOptions(None), reading=SourceOptions(csv_frame=said))
    with caplog.at_level(logging.WARNING, "lungct"):
        preprocess(tmp_path / "in", tmp_path / "out", options)
    words = f"6 of 6 nodule centres lie in lung or air, not in tissue; with --csv-frame {written} it would be 0"
    assert [one.message for one in caplog.records] == ([] if written == said else [words])
    qc = read_manifest(tmp_path / "out")[1]["qc"]
    assert len(qc["nodules_in_air"]) == (0 if written == said else 6)
    assert qc["nodules_in_tissue"][written] == 6


def sphere(x: float, y: float, z: float) -> Sphere:
    return Sphere((float(x), float(y), float(z)), 6.0)


def test_centres_in_air_of_every_frame_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dlcs24(tmp_path / "in", GRID, [])
    write_dlcs_table(tmp_path / "in" / "DLCSD24_Annotations.csv", "DLCS_0001.nii.gz", two_spheres(GRID))
    with caplog.at_level(logging.WARNING, "lungct"):
        preprocess(tmp_path / "in", tmp_path / "out", PreprocessOptions(volume=VolumeOptions(None)))
    assert "2 of 2 nodule centres lie in lung or air, not in tissue; are the boxes of other scans" in caplog.text
