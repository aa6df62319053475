"""Writes LIDC-IDRI trees for tests: DICOM series with balls in them, and the readers' XML around these balls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from .dicom_writer import SERIES, write_volume

SPACING_ZYX = (2.5, 0.8, 0.7)
SHAPE = (20, 64, 72)
ORIGIN_XYZ = (-20.0, -30.0, 100.0)
CHARACTERISTICS = {
    "subtlety": 5,
    "internalStructure": 1,
    "calcification": 6,
    "sphericity": 4,
    "margin": 3,
    "lobulation": 2,
    "spiculation": 1,
    "texture": 5,
    "malignancy": 4,
}


@dataclass(frozen=True)
class Ball:
    """A nodule: centre in fractional voxels (z, y, x), radius in mm, and what some readers say."""

    center_zyx: tuple[float, float, float]
    radius_mm: float
    said: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    hole_mm: float = 0.0

    def distance_mm(self) -> np.ndarray:
        """(Z, Y, X) distance of every voxel's centre from the ball's."""
        index = np.indices(SHAPE).transpose(1, 2, 3, 0)
        return np.asarray(np.linalg.norm((index - self.center_zyx) * SPACING_ZYX, axis=-1))

    @property
    def center_lps_mm(self) -> np.ndarray:
        return np.array(ORIGIN_XYZ) + np.array(self.center_zyx[::-1]) * SPACING_ZYX[::-1]


def scan_hu(balls: Sequence[Ball], seed: int = 0) -> np.ndarray:
    """Lung with balls of 50 HU, soft at their edge, and noise so that no two scans are alike."""
    hu = np.random.default_rng(seed).normal(-850, 5, SHAPE)
    for ball in balls:
        inside = np.clip((ball.radius_mm - ball.distance_mm()) / SPACING_ZYX[2] + 0.5, 0, 1)
        hu = hu * (1 - inside) + 50 * inside
    return np.rint(hu).astype(np.int16)


def write_lidc(
    folder: Path, balls: Sequence[Ball], *, series_uid: str = SERIES, patient: str = "LIDC-IDRI-0001", **changes: Any
) -> list[str]:
    """One patient: ``<patient>/<study>/<series>/`` with DICOM files and one XML; the SOPInstanceUIDs by slice."""
    place = folder / patient / "1.2.3" / series_uid
    uids = write_volume(place, scan_hu(balls), SPACING_ZYX, SeriesInstanceUID=series_uid, PatientID=patient, **changes)
    (place / "069.xml").write_text(reading_xml(balls, uids, series_uid))
    return uids


def reading_xml(balls: Sequence[Ball], uids: Sequence[str], series_uid: str, extra: str = "") -> str:
    """A reading by four readers; ``extra`` goes into the first one's session."""
    sessions = []
    for reader in range(4):
        nodules = "".join(
            _nodule(ball, f"Nodule {n:03d}", uids, reader) for n, ball in enumerate(balls) if reader in ball.said
        )
        more = extra if reader == 0 else ""
        sessions.append(
            f"<readingSession><servicingRadiologistID>anon{reader}</servicingRadiologistID>{nodules}{more}</readingSession>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<LidcReadMessage uid="1.3.6.1.4.1.14519.5.2.1.6279.6001.1307390687803.0" xmlns="http://www.nih.gov" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
        "<ResponseHeader><Version>1.8.1</Version><DateService>2005-11-03</DateService>"
        f"<SeriesInstanceUid>{series_uid}</SeriesInstanceUid></ResponseHeader>{''.join(sessions)}</LidcReadMessage>"
    )


def _nodule(ball: Ball, name: str, uids: Sequence[str], reader: int) -> str:
    said = {**CHARACTERISTICS, **ball.said[reader]}
    ratings = "".join(f"<{key}>{value}</{key}>" for key, value in said.items())
    distance = ball.distance_mm()
    rois = []
    for z, plane in enumerate(distance):
        for radius, inclusion in ((ball.radius_mm, "TRUE"), (ball.hole_mm, "FALSE")):
            if (plane < radius).any():
                rois.append(roi(outer_ring(plane < radius), uids[z], ORIGIN_XYZ[2] + z * SPACING_ZYX[0], inclusion))
    return (
        f"<unblindedReadNodule><noduleID>{name}</noduleID><characteristics>{ratings}</characteristics>"
        f"{''.join(rois)}</unblindedReadNodule>"
    )


def roi(points_xy: Sequence[tuple[int, int]], uid: str, z_mm: float, inclusion: str = "TRUE") -> str:
    edge = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points_xy)
    return (
        f"<roi><imageZposition>{z_mm:.6f} </imageZposition><imageSOP_UID>{uid}</imageSOP_UID>"
        f"<inclusion>{inclusion}</inclusion>{edge}</roi>"
    )


def outer_ring(mask: np.ndarray) -> list[tuple[int, int]]:
    """The first pixels outside a round mask, in order around it, closed by the first one again."""
    ring = ndimage.binary_dilation(mask, np.ones((3, 3))) & ~mask
    rows, columns = np.nonzero(ring)
    y, x = (axis.mean() for axis in np.nonzero(mask))
    order = np.argsort(np.arctan2(rows - y, columns - x))
    points = [(int(columns[n]), int(rows[n])) for n in order]
    return [*points, points[0]]
