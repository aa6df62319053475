"""One slice in any format is the same HU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from lungct.errors import InputError
from lungct.io.npz import write_slice as write_npz
from lungct.sources.slice_file import load_slice

from .dicom_writer import write_slice
from .layout_writers import stored
from .spheres import Disc, slice_of

HU = slice_of([Disc((20.0, 20.0), 9.0)])
WINDOW = (-1000, 400)


@pytest.mark.parametrize(
    "name", ["a.npy", "float.npy", "wide.npy", "a.npz", "a.dcm", "a.nrrd", "a.mha", "p.png", "s.png"]
)
def test_every_format_gives_the_same_hu(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.npz":
        write_npz(path, np.stack([HU * 0, HU, HU * 0]))
    elif path.suffix == ".npy":
        np.save(path, HU.astype({"a": np.int16, "float": np.float32, "wide": np.int64}[path.stem]))
    elif path.suffix == ".dcm":
        write_slice(path, 0.0, **stored(HU))
    elif path.suffix == ".png":
        shift = {"p": 32768, "s": 1024}[path.stem]
        Image.fromarray((HU.astype(np.int32) + shift).astype(np.uint16)).save(path)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(HU), str(path))
    read = load_slice(path, WINDOW, (60, 48))
    assert read.dtype == np.int16
    assert np.array_equal(read, HU)


def test_unsigned_dicom_without_rescale_is_hu(tmp_path: Path) -> None:
    changes = {**stored(np.abs(HU)), "RescaleIntercept": 0, "BitsStored": 16, "HighBit": 15}
    write_slice(tmp_path / "a.dcm", 0.0, **changes)
    assert np.array_equal(load_slice(tmp_path / "a.dcm", WINDOW), np.abs(HU) + 1024)


def test_gray_and_colour_are_windowed(tmp_path: Path) -> None:
    gray = np.array([[0, 255], [51, 0]], np.uint8)
    Image.fromarray(gray).save(tmp_path / "a.png")
    Image.fromarray(np.repeat(gray[..., np.newaxis], 3, axis=2)).save(tmp_path / "b.png")
    np.save(tmp_path / "c.npy", gray)
    for name in ("a.png", "b.png", "c.npy"):
        assert load_slice(tmp_path / name, WINDOW).tolist() == [[-1000, 400], [-720, -1000]]


def test_padding_of_16_bit_images_is_no_value(tmp_path: Path) -> None:
    """Two thirds of zeros, as beyond a scanner's field of view."""
    values = np.zeros((6, 6), np.uint16)
    values[:2] = 32768 - 850
    np.save(tmp_path / "a.npy", values)
    assert np.unique(load_slice(tmp_path / "a.npy", WINDOW)).tolist() == [-32768, -850]
    np.save(tmp_path / "b.npy", np.zeros((6, 6), np.uint16))
    assert np.unique(load_slice(tmp_path / "b.npy", WINDOW)).tolist() == [-1024]


def test_floats_beyond_int16_and_nan(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[np.nan, 1e9, -1e9, 0.6]]))
    assert load_slice(tmp_path / "a.npy", WINDOW).tolist() == [[-32768, 32767, -32768, 1]]


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("a.npy", np.zeros((2, 3, 4)), r"\(2, 3, 4\) float64, expected numbers of one"),
        ("a.npy", np.zeros((3, 4), complex), "complex128, expected numbers"),
        ("a.npy", np.array([["x"]]), "expected numbers"),
        ("a.npy", np.full((3, 4), 15000, np.uint16), r"16-bit values from 15000 to 15000 are neither HU \+ 1024 nor"),
        ("a.npy", np.zeros((3, 5)), "5 x 3 pixels, its annotations say 4 x 3"),
        ("a.npy", np.array([{}], dtype=object), "not readable as NPY"),
        ("a.npy", None, "not readable as NPY"),
        ("a.png", None, "not readable as an image"),
        ("a.dcm", None, r"no CT slice \(no DICOM\)"),
        ("a.nrrd", None, "not readable"),
        ("a.npz", None, "not an NPZ"),
        ("b.npy", None, "no such file"),
    ],
)
def test_broken_slices_are_named(tmp_path: Path, name: str, values: np.ndarray | None, words: str) -> None:
    (tmp_path / name.replace("b.npy", "a.npy")).write_bytes(b"broken")
    if values is not None:
        np.save(tmp_path / name, values)
    with pytest.raises(InputError, match=words) as caught:
        load_slice(tmp_path / name, WINDOW, (4, 3))
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "header", [b"{'a': (", b"{'descr': '<i2', 'fortran_order': False, 'shape': (9999999999, 9999)}", b"}"]
)
def test_npy_headers_that_numpy_trips_over(tmp_path: Path, header: bytes) -> None:
    text = header + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(InputError, match="not readable as NPY"):
        load_slice(tmp_path / "a.npy", WINDOW)


def test_a_volume_is_no_slice(tmp_path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.stack([HU, HU])), str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match="expected one slice"):
        load_slice(tmp_path / "a.nrrd", WINDOW)
