"""Volume files that are broken, cut short, or no CT: preprocess says so in one line and writes nothing."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from lungct.io.nifti import write_nifti
from lungct.types import Grid, Volume
from tests.hostile.trial import assert_refused, run

SHAPE = (6, 8, 10)
PLACE = (2.0, 1.0, 1.0), (-5.0, -4.0, 10.0)
GRID = Grid(SHAPE, *PLACE)
HEADER = 348


def _hu() -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.int16)


def _raw(tmp_path: Path) -> bytearray:
    """An uncompressed NIfTI of ours."""
    path = tmp_path / "seed.nii.gz"
    write_nifti(path, Volume(_hu(), GRID))
    data = bytearray(gzip.decompress(path.read_bytes()))
    path.unlink()
    return data


Change = Callable[[bytearray], None]


def _at(offset: int, kind: str, *values: float) -> Change:
    """Overwrite header fields at a byte offset of NIfTI-1."""

    def change(data: bytearray) -> None:
        struct.pack_into("<" + kind, data, offset, *values)

    return change


def _both(*changes: Change) -> Change:
    def change(data: bytearray) -> None:
        for one in changes:
            one(data)

    return change


NO_FORM = _at(252, "hh", 0, 0)
NO_QFORM = _at(252, "h", 0)
HEADERS: dict[str, Change] = {
    "magic": _at(344, "4s", b"nope"),  # type: ignore[arg-type]
    "sizeof_hdr": _at(0, "i", 12345),
    "sizeof_hdr negative": _at(0, "i", -1),
    "no dimensions": _at(40, "8h", 0, 0, 0, 0, 0, 0, 0, 0),
    "one dimension": _at(40, "8h", 1, 480, 1, 1, 1, 1, 1, 1),
    "two dimensions": _at(40, "8h", 2, 10, 48, 1, 1, 1, 1, 1),
    "nine dimensions": _at(40, "h", 9),
    "negative extent": _at(42, "h", -10),
    "zero extent": _at(44, "h", 0),
    "4D of two": _at(40, "8h", 4, 10, 8, 3, 2, 1, 1, 1),
    "5D": _at(40, "8h", 5, 10, 4, 3, 1, 4, 1, 1),
    "more voxels than bytes": _at(42, "3h", 32767, 32767, 32767),
    "one slice too many": _at(46, "h", 7),
    "unknown number type": _at(70, "h", 9999),
    "number type zero": _at(70, "h", 0),
    "colour": _at(70, "hh", 128, 24),
    "colour with alpha": _at(70, "hh", 2304, 32),
    "complex": _at(70, "hh", 32, 64),
    "binary": _at(70, "hh", 1, 1),
    "offset beyond the end": _at(108, "f", 1e6),
    "offset not a number": _at(108, "f", float("nan")),
    "offset negative": _at(108, "f", -1000.0),
    "offset infinite": _at(108, "f", float("inf")),
    "no place in the world": NO_FORM,
    "sform not a number": _both(NO_QFORM, _at(280, "f", float("nan"))),
    "sform infinite": _both(NO_QFORM, _at(280, "f", float("inf"))),
    "sform all zero": _both(NO_QFORM, _at(280, "12f", *([0.0] * 12))),
    "sform flat": _both(NO_QFORM, _at(280, "12f", 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)),
    "sform sheared": _both(NO_QFORM, _at(280, "12f", 1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0)),
    "sform of parallel axes": _both(NO_QFORM, _at(280, "12f", 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0)),
    "sform huge": _both(NO_QFORM, _at(280, "12f", 1e30, 0, 0, 0, 0, 1e30, 0, 0, 0, 0, 1e30, 0)),
    "sform tiny": _both(NO_QFORM, _at(280, "12f", 1e-9, 0, 0, 0, 0, 1e-9, 0, 0, 0, 0, 1e-9, 0)),
    "origin not a number": _both(NO_QFORM, _at(292, "f", float("nan"))),
    "qform spacing not a number": _both(_at(254, "h", 0), _at(80, "f", float("nan"))),
    "qform spacing zero": _both(_at(254, "h", 0), _at(80, "f", 0.0)),
    "qform spacing infinite": _both(_at(254, "h", 0), _at(84, "f", float("inf"))),
    "quaternion not a number": _both(_at(254, "h", 0), _at(256, "f", float("nan"))),
    "quaternion longer than one": _both(_at(254, "h", 0), _at(256, "3f", 3.0, 3.0, 3.0)),
}


@pytest.mark.parametrize("packed", [False, True], ids=["nii", "nii.gz"])
@pytest.mark.parametrize("name", list(HEADERS))
def test_broken_nifti_header(name: str, packed: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = _raw(tmp_path)
    HEADERS[name](data)
    raw = tmp_path / "raw"
    raw.mkdir()
    if packed:
        (raw / "case_1.nii.gz").write_bytes(gzip.compress(bytes(data)))
    else:
        (raw / "case_1.nii").write_bytes(data)
    assert_refused(run(capfd, "preprocess", raw, tmp_path / "out"), 3, tmp_path / "out")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.1, 0.3, 0.5, 0.8, 0.95, 0.999])
@pytest.mark.parametrize("packed", [False, True], ids=["nii", "nii.gz"])
def test_cut_short(share: float, packed: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytes(_raw(tmp_path))
    data = gzip.compress(data) if packed else data
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / ("case_1.nii.gz" if packed else "case_1.nii")).write_bytes(data[: int(share * len(data))])
    assert_refused(run(capfd, "preprocess", raw, tmp_path / "out"), 3, tmp_path / "out")


CONTENTS = {
    "text": b"this is no scan\n",
    "html": b"<!DOCTYPE html><html>404 not found</html>",
    "zeros": bytes(4096),
    "noise": np.random.default_rng(1).bytes(4096),
    "gzip of nothing": gzip.compress(b""),
    "gzip of text": gzip.compress(b"hello"),
    "gzip in gzip": gzip.compress(gzip.compress(bytes(1000))),
    "zip": b"PK\x03\x04" + bytes(100),
    "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr"])
@pytest.mark.parametrize("name", list(CONTENTS))
def test_no_volume_inside(name: str, suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / f"case_1{suffix}").write_bytes(CONTENTS[name])
    assert_refused(run(capfd, "preprocess", raw, tmp_path / "out"), 3, tmp_path / "out")


MHD = """ObjectType = Image
NDims = 3
DimSize = {size}
ElementSpacing = {spacing}
Offset = 0 0 0
TransformMatrix = {matrix}
ElementType = {kind}
ElementNumberOfChannels = {channels}
ElementDataFile = {data}
"""
GOOD = {
    "size": "10 8 6",
    "spacing": "1 1 2",
    "matrix": "1 0 0 0 1 0 0 0 1",
    "kind": "MET_SHORT",
    "channels": "1",
    "data": "case_1.raw",
}
MHDS = {
    "voxels missing": {"data": "elsewhere.raw"},
    "voxels cut short": {"size": "10 8 60"},
    "size zero": {"size": "0 8 6"},
    "size negative": {"size": "-10 8 6"},
    "size no number": {"size": "many 8 6"},
    "spacing zero": {"spacing": "0 1 2"},
    "spacing not a number": {"spacing": "nan 1 2"},
    "axes sheared": {"matrix": "1 0 0 0.5 1 0 0 0 1"},
    "axes singular": {"matrix": "1 0 0 1 0 0 0 0 1"},
    "axes zero": {"matrix": "0 0 0 0 0 0 0 0 0"},
    "unknown type": {"kind": "MET_NOTHING"},
    "colour": {"channels": "3", "size": "10 8 2"},
}


@pytest.mark.parametrize("name", list(MHDS))
def test_broken_mhd(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "case_1.mhd").write_text(MHD.format(**{**GOOD, **MHDS[name]}))
    (raw / "case_1.raw").write_bytes(_hu().tobytes())
    assert_refused(run(capfd, "preprocess", raw, tmp_path / "out"), 3, tmp_path / "out")


def test_the_mhd_that_they_spoil_is_good(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "case_1.mhd").write_text(MHD.format(**GOOD))
    (raw / "case_1.raw").write_bytes(_hu().tobytes())
    assert run(capfd, "preprocess", raw, tmp_path / "out").code == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_itk_file_cut_short(share: float, suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    path = raw / f"case_1{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(_hu()), str(path))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert_refused(run(capfd, "preprocess", raw, tmp_path / "out"), 3, tmp_path / "out")


@pytest.mark.parametrize("shape", [(1, 8, 10), (6, 1, 10), (1, 1, 1)])
def test_a_scan_one_voxel_thick_is_read(
    shape: tuple[int, int, int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """There is no lung in it, which is said, and no grid too small for a voxel."""
    (tmp_path / "raw").mkdir()
    write_nifti(tmp_path / "raw" / "case_1.nii.gz", Volume(np.zeros(shape, np.int16), Grid(shape, *PLACE)))
    outcome = run(capfd, "preprocess", tmp_path / "raw", tmp_path / "out", "--lung-mask", "default")
    assert outcome.code == 0
    assert outcome.stderr == "lungct: WARNING: case_1: no lungs found\n"


@pytest.mark.parametrize("fill", [np.nan, np.inf, -np.inf])
def test_no_finite_voxel(fill: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.full(SHAPE, fill, np.float32)), str(raw / "case_1.nii.gz"))
    assert_refused(run(capfd, "preprocess", raw, tmp_path / "out"), 3, tmp_path / "out")


def test_float_hu_with_some_holes_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    hu = _hu().astype(np.float32) + 0.25
    hu[0, 0, 0] = np.nan
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(hu), str(raw / "case_1.nii.gz"))
    assert run(capfd, "preprocess", raw, tmp_path / "out", "--spacing", "native").code == 0


def test_a_bad_scan_among_good_ones_is_left_out_under_keep_going(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in (1, 2, 3):
        write_nifti(raw / f"case_{number}.nii.gz", Volume(_hu(), GRID))
    (raw / "case_2.nii.gz").write_bytes(b"broken")
    outcome = run(capfd, "preprocess", raw, tmp_path / "out", "--keep-going")
    assert outcome.code == 5
    assert sorted(one.name for one in (tmp_path / "out" / "scans").iterdir()) == ["case_1.nii.gz", "case_3.nii.gz"]
