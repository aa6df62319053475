"""Writes small DICOM series for tests, with identifiers that must never come out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SERIES = "1.2.826.0.1.3680043.2.1125.77.1"
PATIENT = "DOE-4711"
SECRETS = (SERIES, PATIENT, "Doe^Jane", "20240131", "SECRETSTUDY")


def write_slice(path: Path, z_mm: float, **changes: Any) -> None:
    """One 6 x 5 slice whose stored values are 1000 + z, slope 2, intercept -3000."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    data.SeriesInstanceUID, data.StudyInstanceUID = SERIES, "1.2.826.0.1.3680043.2.1125.77"
    data.PatientID, data.PatientName, data.StudyDate, data.StudyID = PATIENT, "Doe^Jane", "20240131", "SECRETSTUDY"
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.InstanceNumber = int(1000 - z_mm)
    data.ImagePositionPatient = [-20.0, -30.0, z_mm]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [0.8, 0.7], 2.5
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 6, 5, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept = 2, -3000
    data.PixelData = np.full((6, 5), 1000 + z_mm, np.uint16).tobytes()
    for name, value in changes.items():
        setattr(data, name, value)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID or "1.2"
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def write_volume(folder: Path, hu: np.ndarray, spacing_mm_zyx: tuple[float, float, float], **changes: Any) -> list[str]:
    """One file per slice of a (Z, Y, X) int16 volume, feet first in shuffled order; its SOPInstanceUIDs by slice.

    ``changes`` may be functions of the slice number. Without ``ImagePositionPatient`` the first voxel lies at -20, -30,
    100 mm.
    """
    step, dy, dx = spacing_mm_zyx
    stored = hu.astype(np.int32) + 1024
    uids = []
    for z, plane in enumerate(stored.astype(np.uint16)):
        own = {name: value(z) if callable(value) else value for name, value in changes.items()}
        uids.append(own.pop("SOPInstanceUID", f"{SERIES}.9.{z}"))
        fields = {
            "SOPInstanceUID": uids[-1],
            "ImagePositionPatient": [-20.0, -30.0, 100.0 + z * step],
            "PixelSpacing": [dy, dx],
            "Rows": plane.shape[0],
            "Columns": plane.shape[1],
            "RescaleSlope": 1,
            "RescaleIntercept": -1024,
            "InstanceNumber": z + 1,
            "PixelData": plane.tobytes(),
            **own,
        }
        write_slice(folder / f"{(z * 7) % len(stored):03d}", 0.0, **fields)
    return uids


def write_series(folder: Path, heights_mm: list[float], **changes: Any) -> None:
    """One file per height, named so that the order of names is not that of slices."""
    for number, z_mm in enumerate(heights_mm):
        write_slice(folder / f"{(number * 7) % 11:02d}-{number}", z_mm, **changes)
