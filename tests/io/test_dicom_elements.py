"""The elements of a file are those that pydicom finds, in every coding, and broken files are refused, never misread."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from lungct.io.dicom import _WANTED, SliceHeader, read_header
from lungct.io.dicom_elements import HEAD_BYTES, BrokenDicom, read_elements

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
PIXELS = np.arange(20, dtype=np.uint16)


def dataset(syntax: str = ExplicitVRLittleEndian, *, nested: bool = True, filler: int = 0) -> Dataset:
    """A CT slice with what parsers trip over: sequences of both lengths, private blocks, unknown and long values."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.4"
    data.Modality, data.ImageType, data.SeriesInstanceUID = "CT", ["ORIGINAL", "PRIMARY"], "1.2.3"
    data.ImagePositionPatient, data.ImageOrientationPatient = [1.5, -2, 3], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.Rows, data.Columns = [0.8, 0.7], 4, 5
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = PIXELS.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()
    data["PixelData"].VR = "OW"
    if nested:
        inner = Dataset()
        inner.SeriesInstanceUID, inner.Rows, inner.InstanceNumber = "9.9.9", 77, 99
        inner.is_undefined_length_sequence_item = True
        outer = Dataset()
        outer.ReferencedSeriesSequence = Sequence([inner])
        outer["ReferencedSeriesSequence"].is_undefined_length = True
        for name in ("RequestAttributesSequence", "ReferencedImageSequence"):
            setattr(data, name, Sequence([outer, Dataset()]))
            data[name].is_undefined_length = name == "ReferencedImageSequence"
    block = data.private_block(0x0029, "SOMEBODY", create=True)
    block.add_new(0x10, "OB", b"\x00" * filler)
    block.add_new(0x11, "UT", "text")
    return data


def saved(path: Path, data: Dataset) -> Path:
    big = data.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    implicit = data.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    pydicom.dcmwrite(path, data, implicit_vr=implicit, little_endian=not big, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("filler", [0, 2 * HEAD_BYTES])
def test_elements_are_those_of_pydicom(tmp_path: Path, syntax: str, filler: int) -> None:
    path = saved(tmp_path / "a", dataset(syntax, filler=filler))
    found = read_elements(path, _WANTED)
    assert found is not None
    assert_as_pydicom(path, found)
    if syntax == DeflatedExplicitVRLittleEndian:
        assert found.pixels_at is None
    else:
        assert found.pixels_at is not None
        offset, length = found.pixels_at
        order = ">u2" if found.big_endian else "<u2"
        assert np.frombuffer(path.read_bytes()[offset : offset + length], order).tolist() == PIXELS.tolist()


def assert_as_pydicom(path: Path, found: Any) -> None:
    oracle = pydicom.dcmread(path, stop_before_pixels=True)
    assert {int(element.tag) for element in oracle if element.tag in _WANTED} == found.values.keys()
    for tag in found.values:
        element = oracle[tag]
        if element.VR == "US":
            assert found.number(tag) == element.value
        else:
            values = [element.value] if element.VM < 2 else element.value
            assert found.text(tag).split("\\") == ["" if one is None else str(one) for one in values]


def test_encapsulated_pixels_and_no_pixels(tmp_path: Path) -> None:
    data = dataset()
    data.compress(RLELossless, np.arange(20, dtype=np.uint16).reshape(4, 5), generate_instance_uid=False)
    found = read_elements(saved(tmp_path / "a", data), _WANTED)
    assert found is not None
    assert (found.has_pixels, found.pixels_at) == (True, None)
    plain = dataset()
    del plain.PixelData
    found = read_elements(saved(tmp_path / "b", plain), _WANTED)
    assert found is not None
    assert not found.has_pixels


def test_unknown_vr_of_undefined_length_is_implicit_inside(tmp_path: Path) -> None:
    """PS3.5 section 6.2.2: UN of undefined length holds implicit little-endian items, whatever is around it."""
    path = saved(tmp_path / "a", dataset(nested=False))
    whole = path.read_bytes()
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + struct.pack("<HHI4s", 0x0028, 0x0010, 4, b"\x63\0\0\0")
    item += struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    unknown = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + item
    at = whole.index(struct.pack("<HH2s", 0x0020, 0x000E, b"UI"))
    path.write_bytes(whole[:at] + unknown + whole[at:])
    found = read_elements(path, _WANTED)
    assert found is not None
    assert found.number(0x00280010) == 4


def test_files_coded_otherwise_than_they_say_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "a", dataset(ImplicitVRLittleEndian))
    said, lie = b"UI\x12\x001.2.840.10008.1.2\0", b"UI\x14\x001.2.840.10008.1.2.1\0"
    assert said in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(said, lie))
    found = read_elements(path, _WANTED)
    assert found is not None
    assert found.number(0x00280010) == 4


def test_what_is_no_dicom(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"DICM" * 100)
    assert read_header(tmp_path / "a") == "broken DICOM"
    (tmp_path / "b").write_bytes(b"")
    assert read_elements(tmp_path / "b", _WANTED) is None
    assert read_header(tmp_path) == "no DICOM"


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    """Cut anywhere before the pixels a file is broken or has no image; no half-read header gets through."""
    whole = saved(tmp_path / "a", dataset()).read_bytes()
    pixels_at = read_elements(tmp_path / "a", _WANTED).pixels_at[0]  # type: ignore[union-attr, index]
    for end in range(0, pixels_at, 3):
        (tmp_path / "cut").write_bytes(whole[:end])
        assert read_header(tmp_path / "cut") in ("no DICOM", "broken DICOM", "no image", "not CT")
    (tmp_path / "cut").write_bytes(whole[:pixels_at])
    assert isinstance(read_header(tmp_path / "cut"), SliceHeader)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_spoilt_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("spoilt")
    whole = bytearray(saved(folder / "a", dataset(data.draw(st.sampled_from(SYNTAXES)))).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(132, len(whole) - 1))
        whole[at : at + 1] = data.draw(st.binary(max_size=4))
    (folder / "b").write_bytes(whole)
    with contextlib.suppress(BrokenDicom):
        read_elements(folder / "b", _WANTED)
    assert isinstance(read_header(folder / "b"), (SliceHeader, str))


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    head = saved(tmp_path / "a", dataset(nested=False)).read_bytes()
    at = head.index(struct.pack("<HH2s", 0x0008, 0x0008, b"CS"))
    deep = (
        struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    ) * 5000
    (tmp_path / "a").write_bytes(head[:at] + deep)
    with pytest.raises(BrokenDicom, match="nested too deep"):
        read_elements(tmp_path / "a", _WANTED)


@pytest.mark.real
@pytest.mark.parametrize(
    "name",
    ["cptac_C3N-00247_dicom", "refuse_mixed_planes_dicom", "small_volumes/j2k_dicom", "small_volumes/acil_ct64_dicom"],
)
def test_real_files_are_read_as_by_pydicom(real_data: Path, name: str) -> None:
    for path in sorted((real_data / name).iterdir())[::7]:
        found = read_elements(path, _WANTED)
        assert found is not None
        assert_as_pydicom(path, found)
        assert found.has_pixels
