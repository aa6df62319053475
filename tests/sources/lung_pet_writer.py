"""Writes Lung-PET-CT-Dx trees for tests: DICOM series with a disc on every slice, and VOC XML around these discs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .dicom_writer import SERIES, write_volume

SHAPE, SPACING = (4, 48, 56), (5.0, 0.8, 0.7)
CENTERS_YX = [(20.0, 30.0), (20.5, 30.5), (21.0, 31.0), (33.0, 14.0)]
RADIUS_PX = 8.0


def disk_hu(center_yx: tuple[float, float], radius_px: float = RADIUS_PX) -> np.ndarray:
    y, x = np.indices(SHAPE[1:])
    inside = np.clip(radius_px + 0.5 - np.hypot(y - center_yx[0], x - center_yx[1]), 0, 1)
    return np.asarray(np.rint(-850 + 900 * inside))


def box_around(center_yx: tuple[float, float]) -> tuple[float, float, float, float]:
    """xmin, ymin, xmax, ymax in pixel edges, centres lying at .5."""
    y, x = center_yx[0] + 0.5, center_yx[1] + 0.5
    return x - RADIUS_PX, y - RADIUS_PX, x + RADIUS_PX, y + RADIUS_PX


def voc(*boxes: tuple[str, tuple[float, ...]], size: tuple[int, int] = (SHAPE[2], SHAPE[1])) -> str:
    objects = "".join(
        f"<object><name>{name}</name><pose>Unspecified</pose><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
        f"<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for name, box in boxes
    )
    return (
        f"<annotation><folder>Doe</folder><filename>Jane.jpg</filename><path>/home/Doe/Jane.jpg</path><size>"
        f"<width>{size[0]}</width><height>{size[1]}</height><depth>1</depth></size>{objects}</annotation>"
    )


def write_patient(folder: Path, patient: str, number: int, patient_id: str | None = None) -> list[str]:
    """A CT series of four slices, of which the last has two boxes and the second last no XML."""
    series = f"{SERIES}.{number}"
    place = folder / "Lung-PET-CT-Dx" / f"Lung_Dx-{patient}" / "04-04-2007-PET" / "2.000000-A phase"
    hu = np.stack([disk_hu(one) for one in CENTERS_YX])
    hu += np.random.default_rng(number).integers(-5, 5, hu.shape)
    notes = folder / "Annotation" / patient
    notes.mkdir(parents=True)
    uids = write_volume(
        place,
        hu,
        SPACING,
        SeriesInstanceUID=series,
        PatientID=f"Lung_Dx-{patient}" if patient_id is None else patient_id,
        SOPInstanceUID=lambda z: f"{series}.9.{z}",
    )
    for z in (0, 1, 3):
        more = [(patient[0].lower(), (1, 2, 5, 9))] if z == 3 else []
        (notes / f"{uids[z]}.xml").write_text(voc((patient[0], box_around(CENTERS_YX[z])), *more))
    return uids
