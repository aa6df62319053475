"""HU of a slice are slope x stored + intercept as pydicom decodes it, whatever the bits, and padding is air."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from lungct.io.dicom import SliceHeader, read_header
from lungct.io.dicom_elements import BrokenDicom
from lungct.io.dicom_pixels import read_hu

SHAPE = (16, 20)
GDCM_DECODES = {("u2", 12), ("u2", 16), ("i2", 16)}
"""Of small run-length encoded images; of some others it says that they cannot be decoded."""


def written(path: Path, stored: np.ndarray, *, big: bool = False, packed: bool = False, **changes: Any) -> SliceHeader:
    """Write one slice of stored values; its header as read."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian if big else ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.4"
    data.Modality, data.SeriesInstanceUID = "CT", "1.2.3"
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, (data.Rows, data.Columns) = [1, 1], stored.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 8 * stored.dtype.itemsize
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(stored.dtype.kind == "i")
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    for name, value in changes.items():
        setattr(data, name, value)
    if "BitsStored" in changes and "HighBit" not in changes:
        data.HighBit = data.BitsStored - 1
    raw = stored.astype(stored.dtype.newbyteorder(">" if big else "<")).tobytes()
    data.PixelData = raw + b"\0" * (len(raw) % 2)
    data["PixelData"].VR = "OW"
    if packed:
        data.compress(RLELossless, generate_instance_uid=False)
    pydicom.dcmwrite(path, data, little_endian=not big, implicit_vr=False, enforce_file_format=True)
    header = read_header(path)
    assert isinstance(header, SliceHeader)
    return header


def hu_of(header: SliceHeader) -> np.ndarray:
    out = np.full(header.size_xy[::-1], 77, np.int16 if header.pixels.is_whole else np.float32)
    read_hu(header.path, header.pixels, out)
    return out


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_hu_are_those_of_pydicom(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("pixels") / "a"
    kind = data.draw(st.sampled_from(["u1", "u2", "i2"]))
    bits = data.draw(st.integers(2, 8 * int(kind[1])) | st.sampled_from([8, 12, 16][: 2 * int(kind[1]) - 1]))
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind == "i2" else (0, (1 << bits) - 1)
    values = data.draw(st.lists(st.integers(low, high), min_size=15, max_size=15))
    slope = data.draw(st.sampled_from([1, 2, -1, 3, 40, 0.5, 1.37]))
    intercept = data.draw(st.sampled_from([0, -1024, -8192, -32768, 1000, 40000, -1023.5]))
    packed = (kind, bits) in GDCM_DECODES and data.draw(st.booleans())
    header = written(
        path,
        np.resize(np.array(values, kind), SHAPE),
        big=kind == "u2" and not packed and data.draw(st.booleans()),
        packed=packed,
        BitsStored=bits,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        PhotometricInterpretation="MONOCHROME2"
        if packed
        else data.draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
    )
    assert (header.pixels.offset is None) == packed
    expected = pydicom.dcmread(path).pixel_array.astype(np.float64) * slope + intercept
    if header.pixels.is_whole:
        expected = expected.clip(-32768, 32767)
    np.testing.assert_allclose(hu_of(header), expected, rtol=1e-6, atol=1e-3)


def test_bits_above_the_stored_ones_are_an_overlay(tmp_path: Path) -> None:
    header = written(tmp_path / "a", np.full(SHAPE, 0xF123, np.uint16), BitsStored=12, RescaleIntercept=-1000)
    assert hu_of(header)[0, 0] == 0x123 - 1000
    header = written(tmp_path / "a", np.full(SHAPE, 0x0FFE, np.int16), BitsStored=12)
    assert hu_of(header)[0, 0] == -2


@pytest.mark.parametrize(("kind", "bits"), [("u2", 12), ("u2", 16), ("i2", 16)])
def test_what_is_shown_inverted_has_the_same_hu(tmp_path: Path, kind: str, bits: int) -> None:
    stored = np.resize(np.array([0, 1, 100, 3000], kind), (64, 64))
    for packed in (False, True):
        changes = {"BitsStored": bits, "PhotometricInterpretation": "MONOCHROME1", "RescaleIntercept": -1000}
        header = written(tmp_path / "a", stored, packed=packed, **changes)
        assert (hu_of(header) == stored.astype(int) - 1000).all()


def test_pixels_in_high_bits(tmp_path: Path) -> None:
    header = written(tmp_path / "a", np.full(SHAPE, 0x123F, np.uint16), BitsStored=12, HighBit=15)
    assert hu_of(header)[0, 0] == 0x123


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("stored", "padding", "limit", "kind", "stored_bits"),
    [
        (65535, 65535, None, "u2", 16),  # unsigned: 64,511 HU if taken at its word
        (63536, 63536, None, "u2", 16),  # -2000 written into an unsigned tag
        (-2000, -2000, None, "i2", 16),
        (64000, 63000, 65535, "u2", 16),  # a range of padding values
    ],
)
def test_padding_is_air(
    tmp_path: Path, stored: int, padding: int, limit: int | None, kind: str, stored_bits: int, packed: bool
) -> None:
    pixels = np.full(SHAPE, 1064, kind)
    pixels[0, 1] = stored
    changes: dict[str, Any] = {"BitsStored": stored_bits, "RescaleIntercept": -1024, "PixelPaddingValue": padding}
    if limit is not None:
        changes["PixelPaddingRangeLimit"] = limit
    hu = hu_of(written(tmp_path / "a", pixels, packed=packed, **changes))
    assert hu[0, 1] == -1000
    assert (np.delete(hu.ravel(), 1) == 40).all()


def test_slices_cut_short_are_refused(tmp_path: Path) -> None:
    header = written(tmp_path / "a", np.zeros(SHAPE, np.uint16))
    header.path.write_bytes(header.path.read_bytes()[:-4])
    with pytest.raises(BrokenDicom, match="fewer pixels"):
        hu_of(header)
    packed = written(tmp_path / "b", np.zeros(SHAPE, np.uint16), packed=True)
    packed.path.write_bytes(packed.path.read_bytes()[:-30])
    with pytest.raises(BrokenDicom, match="not decodable"):
        hu_of(packed)


@pytest.mark.parametrize("changes", [{"RescaleSlope": 0}, {"RescaleSlope": 1e30}, {"RescaleIntercept": -1e9}])
def test_rescale_that_means_nothing_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        written(tmp_path / "a", np.zeros(SHAPE, np.uint16), **changes)
    assert read_header(tmp_path / "a") == "no usable rescale slope"


@pytest.mark.real
@pytest.mark.parametrize("name", ["small_volumes/j2k_dicom", "refuse_mixed_planes_dicom"])
def test_real_compressed_slices_are_in_hu(real_data: Path, name: str) -> None:
    """JPEG-2000 and lossless JPEG; the same as GDCM says, and as a chest is: much air, much soft tissue."""
    for path in sorted((real_data / name).iterdir())[::5]:
        header = read_header(path)
        assert isinstance(header, SliceHeader)
        assert header.pixels.offset is None
        hu = hu_of(header)
        oracle = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO"))[0]
        assert (hu == oracle.clip(-32768, 32767)).all()
        assert ((hu > -20) & (hu < 80)).mean() > 0.1
        assert -1100 < np.percentile(hu, 5) < -700
