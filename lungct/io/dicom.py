"""DICOM slices -> headers and volumes, by SimpleITK's GDCM; messages hold no identifier, UID or date.

A series is refused rather than guessed at: mixed orientations, missing slices, uneven spacing and a tilted gantry are
errors that say what is wrong.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.types import FloatArray, Grid, Volume

logger = logging.getLogger("lungct")
SAME_POSITION_MM = 0.01
UNEVEN_FRACTION = 0.02
ORIENTATION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class SliceHeader:
    """What one DICOM file says of its slice; positions and directions in LPS."""

    path: Path
    series_uid: str
    patient_id: str
    instance_number: int
    position_lps_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    size_xy: tuple[int, int]
    spacing_mm_xy: tuple[float, float]
    sop_uid: str = ""


def is_dicom(path: Path) -> bool:
    """Whether a file has DICOM's four letters behind its preamble."""
    try:
        with open(path, "rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_headers(folder: Path) -> tuple[list[SliceHeader], Counter[str]]:
    """The CT slices below ``folder``, by path, and how many files were left out for each reason."""
    headers, skipped = [], Counter[str]()
    for path in sorted(_files(folder)):
        found = _read_header(path)
        if isinstance(found, SliceHeader):
            headers.append(found)
        else:
            skipped[found] += 1
    return headers, skipped


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _read_header(path: Path) -> SliceHeader | str:
    """The header, or the reason why the file is no CT slice."""
    if not is_dicom(path):
        return "no DICOM"
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return "no image"

    def tag(key: str) -> str:
        return str(reader.GetMetaData(key)).strip(" \0") if reader.HasMetaDataKey(key) else ""

    size = reader.GetSize()
    if "LOCALIZER" in tag("0008|0008").upper():
        return "localizer"
    if tag("0008|0060") not in ("CT", ""):
        return "not CT"
    if reader.GetNumberOfComponents() != 1:
        return "colour"
    if len(size) > 2 and size[2] != 1:
        return "several frames in one file"
    try:
        position, orientation = (tuple(map(float, tag(key).split("\\"))) for key in ("0020|0032", "0020|0037"))
    except ValueError:
        return "no position"
    if len(position) != 3 or len(orientation) != 6 or not np.isfinite(position + orientation).all():
        return "no position"
    number = tag("0020|0013")
    return SliceHeader(
        path=path,
        series_uid=tag("0020|000e"),
        patient_id=tag("0010|0020"),
        instance_number=int(number) if number.lstrip("-").isdigit() else 0,
        position_lps_mm=position,
        orientation=orientation,
        size_xy=(size[0], size[1]),
        spacing_mm_xy=reader.GetSpacing()[:2],
        sop_uid=tag("0008|0018"),
    )


def read_series(headers: Sequence[SliceHeader], name: str) -> Volume:
    """Stack the slices of one series by their position; HU by each slice's own rescale slope and intercept.

    ``name`` stands for the series in messages. Of slices at one position the one of lowest InstanceNumber is kept.

    Raises:
        InputError: fewer than two slices, mixed orientations, sizes or pixel spacings, missing slices, uneven spacing,
            a tilted gantry, a file that cannot be decoded.
    """
    direction = _direction(headers, name)
    kept, position_mm = _in_order(headers, direction, name)
    step_mm = _step(position_mm, name)
    _refuse_tilt(kept, direction, name)
    width, height = kept[0].size_xy
    hu = _read_slices(kept, name)
    spacing = (step_mm, float(kept[0].spacing_mm_xy[1]), float(kept[0].spacing_mm_xy[0]))
    x, y, z = kept[0].position_lps_mm
    return Volume(hu, Grid((len(kept), height, width), spacing, (x, y, z), tuple(direction.ravel().tolist())))


def _direction(headers: Sequence[SliceHeader], name: str) -> FloatArray:
    if len(headers) < 2:
        raise InputError.of(name, "only one slice in the series, no volume")
    first = headers[0]
    orientations = np.array([header.orientation for header in headers])
    planes: list[FloatArray] = []
    for one in orientations:
        if all(np.abs(one - plane).max() > ORIENTATION_TOLERANCE for plane in planes):
            planes.append(one)
    if len(planes) > 1:
        hint = "split it into one folder per orientation, or leave the series out"
        raise InputError.of(name, f"{len(headers)} slices of {len(planes)} orientations under one series UID", hint)
    for what, values in (
        ("image sizes", {header.size_xy for header in headers}),
        ("pixel spacings", {tuple(np.round(header.spacing_mm_xy, 4)) for header in headers}),
    ):
        if len(values) > 1:
            raise InputError.of(name, f"slices of {len(values)} {what} in one series")
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    if abs(np.linalg.norm(row) - 1) > 0.01 or abs(np.linalg.norm(column) - 1) > 0.01 or abs(row @ column) > 0.01:
        raise InputError.of(name, "ImageOrientationPatient is no pair of unit vectors at right angles")
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return np.stack([row, np.cross(normal, row), normal], axis=1)


def _in_order(headers: Sequence[SliceHeader], direction: FloatArray, name: str) -> tuple[list[SliceHeader], FloatArray]:
    places = {header.path: float(np.dot(header.position_lps_mm, direction[:, 2])) for header in headers}
    kept: list[SliceHeader] = []
    for header in sorted(headers, key=lambda one: (places[one.path], one.instance_number)):
        if kept and places[header.path] - places[kept[-1].path] < SAME_POSITION_MM:
            kept[-1] = min(kept[-1], header, key=lambda one: one.instance_number)
        else:
            kept.append(header)
    if len(kept) < len(headers):
        logger.warning("%s: %d slices at a position taken already are left out", name, len(headers) - len(kept))
    if len(kept) < 2:
        raise InputError.of(name, f"all {len(headers)} slices lie at one position, no volume")
    return kept, np.array([places[header.path] for header in kept])


def _step(position_mm: FloatArray, name: str) -> float:
    gaps = np.diff(position_mm)
    usual = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - usual)))
    if abs(gaps[worst] - usual) <= UNEVEN_FRACTION * usual + SAME_POSITION_MM:
        return float(position_mm[-1] - position_mm[0]) / len(gaps)
    missing = int(np.rint(gaps / usual - 1).clip(0).sum())
    if missing and np.abs(gaps / usual - np.rint(gaps / usual)).max() <= 0.1:
        first = int(np.argmax(gaps > 1.5 * usual)) + 1
        problem = f"{missing} of {len(position_mm) + missing} slices missing, the first after slice {first}"
    else:
        problem = f"uneven slice spacing, {gaps.min():.2f} to {gaps.max():.2f} mm"
    raise InputError.of(name, problem, "export the series anew; gaps are not filled in")


def _refuse_tilt(kept: Sequence[SliceHeader], direction: FloatArray, name: str) -> None:
    offsets = np.array([header.position_lps_mm for header in kept]) - kept[0].position_lps_mm
    drift = np.abs(offsets @ direction[:, :2])
    if (drift > 0.5 * np.asarray(kept[0].spacing_mm_xy)).any():
        hint = "resample it to a straight grid first"
        raise InputError.of(name, f"slices shift sideways by up to {drift.max():.1f} mm (tilted gantry)", hint)


def _read_slices(kept: Sequence[SliceHeader], name: str) -> NDArray[Any]:
    import SimpleITK

    planes = []
    for number, header in enumerate(kept, 1):
        try:
            image = SimpleITK.ReadImage(str(header.path), imageIO="GDCMImageIO")
        except RuntimeError:
            raise InputError.of(name, f"slice {number} of {len(kept)} cannot be decoded") from None
        plane = SimpleITK.GetArrayFromImage(image)
        plane = plane.reshape(plane.shape[-2:])
        planes.append(_narrowed(plane))
    return np.stack(planes)


def _narrowed(plane: NDArray[Any]) -> NDArray[Any]:
    """Whole HU as int16, fractions as float32."""
    if plane.dtype.kind not in "iu":
        return plane.astype(np.float32)
    limits = np.iinfo(np.int16)
    return np.asarray(np.clip(plane, limits.min, limits.max), dtype=np.int16)
