"""Real scans of five sources come out where other programs, or their annotators, say they are."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from scipy import ndimage

from lungct.errors import InputError
from lungct.io.coco import read_truth
from lungct.io.npz import read_slice
from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.scans import VolumeOptions
from lungct.preprocessing.select_slices import select_slices

pytestmark = pytest.mark.real
NATIVE = PreprocessOptions(volume=VolumeOptions(None))


def written(source: Path, out: Path, options: PreprocessOptions = PreprocessOptions()) -> Path:
    """Preprocess a source of one scan; the path of the scan."""
    preprocess(source, out, options)
    (scan,) = (out / "scans").glob("*.nii.gz")
    return scan


def test_cptac_mass_lies_at_its_published_index(real_data: Path, tmp_path: Path) -> None:
    """pydicom gives place and HU of the raw series, nibabel those of what we wrote."""
    raw = [pydicom.dcmread(path) for path in (real_data / "cptac_C3N-00247_dicom").iterdir()]
    raw.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    image = nibabel.load(written(real_data / "cptac_C3N-00247_dicom", tmp_path / "out"))
    data = np.asanyarray(image.dataobj)
    x0, y0, z0 = map(float, raw[0].ImagePositionPatient)
    dy, dx = map(float, raw[0].PixelSpacing)
    mass_lps = np.array([x0 + 108.8 * dx, y0 + 169.8 * dy, z0 + 32.1 * 3.0])
    voxel = (np.linalg.inv(image.affine) @ [*(mass_lps * [-1, -1, 1]), 1])[:3]
    stack = np.stack([one.pixel_array * one.RescaleSlope + one.RescaleIntercept for one in raw])
    near = np.stack(np.meshgrid(*(np.rint(v) + np.arange(-20, 21, 4) for v in voxel), indexing="ij"), -1).reshape(-1, 3)
    world = (near @ image.affine[:3, :3].T + image.affine[:3, 3]) * [-1, -1, 1]
    index_zyx = ((world - [x0, y0, z0]) / [dx, dy, 3.0])[:, ::-1]
    expected = np.clip(ndimage.map_coordinates(stack, index_zyx.T, order=1), -1000, 500)
    assert np.abs(data[tuple(near.astype(int).T)] - expected).max() <= 1
    soft = data[tuple(slice(int(v) - 22, int(v) + 23) for v in voxel)] > -400
    core = ndimage.binary_opening(soft, iterations=5)
    labels, _ = ndimage.label(core)
    assert labels[22, 22, 22] > 0


def test_dlcs_rows_lie_on_their_mask(real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(real_data / "dlcs24" / "DLCS_0001_nodule_mask.nii.gz", tmp_path / "in" / "DLCS_0001.nii.gz")
    shutil.copy(real_data / "dlcs24" / "DLCSD24_Annotations.csv", tmp_path / "in")
    image = nibabel.load(written(tmp_path / "in", tmp_path / "out", PreprocessOptions(hu_clip=(0, 2))))
    mask = np.asanyarray(image.dataobj) > 0
    with open(tmp_path / "out" / "nodules.csv") as stream:
        for row in csv.DictReader(stream):
            ras = [-float(row["coordX"]), -float(row["coordY"]), float(row["coordZ"]), 1]
            voxel = (np.linalg.inv(image.affine) @ ras)[:3]
            corner = np.rint(voxel).astype(int) - 12
            found = ndimage.center_of_mass(mask[tuple(slice(one, one + 25) for one in corner)]) + corner
            assert np.linalg.norm(found - voxel) <= 1.5


def test_dicom_and_nrrd_of_one_scan_agree(real_data: Path, tmp_path: Path) -> None:
    sources = [real_data / "small_volumes" / name for name in ("ct-64.nrrd", "acil_ct64_dicom")]
    for number, options in enumerate((NATIVE, PreprocessOptions())):
        one, other = (
            nibabel.load(written(source, tmp_path / f"{number}-{source.name}", options)) for source in sources
        )
        difference = np.abs(np.asanyarray(one.dataobj).astype(int) - np.asanyarray(other.dataobj))
        assert difference.max() <= number  # the files' own spacings differ by 5e-6 mm
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-3)


@pytest.mark.parametrize("name", ["example_ct_sm.nii.gz", "3DCT_lung_baseline.mha", "j2k_dicom"])
def test_other_formats_agree_with_itk(real_data: Path, tmp_path: Path, name: str) -> None:
    path = written(real_data / "small_volumes" / name, tmp_path / "out", NATIVE)
    image, itk = nibabel.load(path), SimpleITK.ReadImage(str(path))
    for index in ((0, 0, 0), (image.shape[0] - 1, 3, image.shape[2] - 1)):
        ras = (image.affine @ [*index, 1])[:3]
        np.testing.assert_allclose(itk.TransformIndexToPhysicalPoint(index), ras * [-1, -1, 1], atol=1e-3)
    if name == "j2k_dicom":
        files = [str(one) for one in (real_data / "small_volumes" / name).iterdir()]
        files.sort(key=lambda one: float(pydicom.dcmread(one).ImagePositionPatient[2]))
        source = SimpleITK.ReadImage(files, imageIO="GDCMImageIO")
    else:
        source = SimpleITK.ReadImage(str(real_data / "small_volumes" / name))
    rng = np.random.default_rng(0)
    for _ in range(200):
        index = [int(rng.integers(size)) for size in image.shape]
        value = source[source.TransformPhysicalPointToIndex(itk.TransformIndexToPhysicalPoint(index))]
        assert itk[index] == round(min(max(value, -1000), 500))


def test_mixed_planes_are_refused_in_one_line(real_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="20 slices of 2 orientations") as caught:
        preprocess(real_data / "refuse_mixed_planes_dicom", tmp_path / "out")
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def test_luna_slices_from_jpeg_to_splits(real_data: Path, tmp_path: Path) -> None:
    for name in ("images", "annotations"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for path in sorted((real_data / "luna16_slices" / name).iterdir())[:40]:
            shutil.copy(path, tmp_path / "in" / name)
    shutil.copy(real_data / "luna16_slices" / "slices.csv", tmp_path / "in")
    preprocess(tmp_path / "in", tmp_path / "out")
    summary = select_slices(tmp_path / "out", tmp_path / "slices", SelectOptions(context=3))
    assert sum(summary.images.values()) == sum(summary.boxes.values()) == 40
    assert min(summary.images.values()) > 0
    brighter = []
    for split in ("train", "val", "test"):
        truth = read_truth(tmp_path / "slices" / f"{split}.json")
        for note in truth.annotations:
            image = next(one for one in truth.images if one.id == note.image_id)
            hu = read_slice(tmp_path / "slices" / image.file_name)
            assert hu.shape == (3, image.height, image.width)
            x1, y1, x2, y2 = (int(value) for value in note.box_xyxy_px)
            brighter.append(hu[1, y1 + 1 : y2, x1 + 1 : x2].mean() > np.median(hu[1, y1 - 8 : y2 + 8, x1 - 8 : x2 + 8]))
    assert np.mean(brighter) > 0.9
    assert "1.3.6.1.4" not in (tmp_path / "slices" / "train.json").read_text()
