"""What preprocessing one 512 x 512 x 300 scan costs, beside the straightforward pipeline and MONAI's: run it.

From DICOM every way counts its reading: ours and MONAI's (PydicomReader) take the folder; nibabel reads no DICOM, so
the straightforward way converts by SimpleITK to an uncompressed NIfTI first, the cheapest way there is. From NIfTI all
start at the same ``.nii.gz``. All write int16 ``.nii.gz`` at one spacing. Imports are not counted.
"""
# ruff: noqa: T201

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import measured
import numpy as np

SPACING_XYZ = (0.703125, 0.703125, 1.25)
CLIP = (-1000, 500)
SIZE, SLICES, SPACING_IN = 512, 300, (0.75, 0.75, 1.0)


def write_scan(folder: Path) -> None:
    """A phantom of full size, as a DICOM series and as NIfTI, its axes along the world's."""
    import nibabel
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    from lungct.phantom.scan import render_phantom

    hu = render_phantom(0, 3, size=SIZE, slices=SLICES).volume.hu
    (folder / "dicom").mkdir()
    series, study = generate_uid(entropy_srcs=["series"]), generate_uid(entropy_srcs=["study"])
    for number, plane in enumerate(hu):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        uid = generate_uid(entropy_srcs=[str(number)])
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
        data.SeriesInstanceUID, data.StudyInstanceUID, data.PatientID = series, study, "bench"
        data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.InstanceNumber = SLICES - number
        data.ImagePositionPatient = [-190.0, -200.0, -300.0 + number * SPACING_IN[2]]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = list(SPACING_IN[:2]), SPACING_IN[2]
        data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = SIZE, SIZE, 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelData = (plane + 1024).astype(np.int16).tobytes()
        data.save_as(folder / "dicom" / f"{(number * 7) % SLICES:04d}.dcm", enforce_file_format=True)
    affine = np.diag([*SPACING_IN, 1.0]) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:3, 3] = (190.0, 200.0, -300.0)
    (folder / "nifti").mkdir()
    nibabel.save(nibabel.Nifti1Image(hu.transpose(2, 1, 0), affine), folder / "nifti" / "case_0001.nii.gz")


def ours(source: Path, out: Path) -> None:
    """The library call behind ``lungct preprocess``."""
    from lungct.preprocessing.preprocess import preprocess

    preprocess(source, out / "ours")


def ours_reading(source: Path, out: Path) -> None:
    """Of ours, what finding and decoding the slices takes."""
    from lungct.sources.source import read_source

    read_source(source).scans[0].load()


def straightforward(source: Path, out: Path) -> None:
    """nibabel get_fdata, scipy.ndimage.zoom of order 1, clip, nibabel save."""
    import nibabel
    import SimpleITK
    from scipy import ndimage

    if source.name == "dicom":
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source)))
        path = out / "converted.nii"
        SimpleITK.WriteImage(reader.Execute(), str(path))
    else:
        path = source / "case_0001.nii.gz"
    image = nibabel.as_closest_canonical(nibabel.load(path))
    zoom = np.asarray(image.header.get_zooms()) / SPACING_XYZ
    data = np.clip(ndimage.zoom(image.get_fdata(), zoom, order=1), *CLIP).astype(np.int16)
    affine = image.affine @ np.diag([*(1 / zoom), 1.0])
    nibabel.save(nibabel.Nifti1Image(data, affine), out / "straightforward.nii.gz")


def monai(source: Path, out: Path) -> None:
    """LoadImage, Orientation, Spacing, ScaleIntensityRange (as a clip), SaveImage."""
    from monai.transforms import (
        Compose,
        EnsureChannelFirst,
        LoadImage,
        Orientation,
        SaveImage,
        ScaleIntensityRange,
        Spacing,
    )

    dicom = source.name == "dicom"
    Compose(
        [
            LoadImage(reader="PydicomReader" if dicom else "NibabelReader", image_only=True),
            EnsureChannelFirst(),
            Orientation(axcodes="RAS"),
            Spacing(pixdim=SPACING_XYZ, mode="bilinear"),
            ScaleIntensityRange(*CLIP, *CLIP, clip=True),
            SaveImage(output_dir=str(out), output_dtype=np.int16, print_log=False, separate_folder=False),
        ]
    )(str(source if dicom else source / "case_0001.nii.gz"))


WAYS = {"ours": ours, "ours, reading only": ours_reading, "straightforward": straightforward, "MONAI": monai}


def main() -> None:
    """Write the scan, measure every way from DICOM and from NIfTI, print."""
    ways = [way for way in WAYS if way != "MONAI" or importlib.util.find_spec("monai")]
    with tempfile.TemporaryDirectory() as folder:
        write_scan(Path(folder))
        for kind in ("dicom", "nifti"):
            print(f"from {kind}, {SIZE} x {SIZE} x {SLICES}")
            print(measured.table(measured.in_turn(Path(__file__), ways, str(Path(folder) / kind)), "ours"), flush=True)


def one_run(way: str, source: Path) -> None:
    """The process of one run: import what the way needs, then measure."""
    import nibabel  # noqa: F401
    import SimpleITK  # noqa: F401
    from scipy import ndimage  # noqa: F401

    import lungct.preprocessing.preprocess  # noqa: F401

    if way == "MONAI":
        import monai.transforms  # noqa: F401

    with tempfile.TemporaryDirectory() as out:

        def work() -> Mapping[str, Any] | None:
            WAYS[way](source, Path(out))
            return None

        measured.report_self(work)


if __name__ == "__main__":
    one_run(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) == 3 else main()
