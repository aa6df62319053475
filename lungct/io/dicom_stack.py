"""The slices of one DICOM series in order by position, checked, and the straight grid that they fill; reads no pixels.

A series is refused rather than guessed at: mixed orientations, missing slices, uneven spacing and several volumes that
no tag tells apart are errors that say what is wrong. ``name`` stands for the series in messages.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungct.errors import InputError
from lungct.io.dicom import SliceHeader
from lungct.io.dicom_split import holds_several, positions, without_copies
from lungct.registry import LONGEST_GAP_MM
from lungct.types import FloatArray, Grid, IntArray

logger = logging.getLogger("lungct")
SAME_POSITION_MM = 0.01
UNEVEN_FRACTION = 0.02
MULTIPLE_TOLERANCE = 0.1
"""Off a whole number of slices, at a place where slices are missing."""
ORIENTATION_TOLERANCE = 1e-3
STRAIGHT_PX = 0.5
"""Sideways shift over a whole series, or off a straight line, that is taken for rounding."""


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal, and the straight grid that they fill.

    Attributes:
        slices: those that there are.
        z_of_slice: (len(slices),) which slice of the grid each one is; without gaps they are all of them.
        shift_px_xy: (len(slices), 2) where pixel (0, 0) of each slice lies on the grid; None where it is (0, 0)
            throughout.
    """

    slices: tuple[SliceHeader, ...]
    grid: Grid
    z_of_slice: IntArray
    shift_px_xy: FloatArray | None = None

    @property
    def gaps(self) -> tuple[int, ...]:
        """The slices of the grid that no file holds."""
        return tuple(sorted(set(range(self.grid.shape_zyx[0])).difference(self.z_of_slice.tolist())))


def arrange(headers: Sequence[SliceHeader], name: str, *, fill_gaps: bool = False) -> Stack:
    """The slices of one series in order, and their grid.

    Of slices at one position the one of lowest InstanceNumber is kept. Slices that shift sideways evenly (a tilted
    gantry) fill a straight grid that is wider by the shift. With ``fill_gaps`` slices may be missing within a series,
    as long as no gap is longer than 10 mm; the grid then has a place for each of them.

    Raises:
        InputError: fewer than two slices, mixed orientations, sizes or pixel spacings, several volumes, missing slices,
            uneven spacing, slices that shift sideways unevenly.
    """
    direction = _direction(headers, name)
    kept, position_mm = _in_order(headers, direction, name)
    z_of_slice, step_mm = _places(position_mm, name, fill_gaps=fill_gaps)
    shift_px = _shift(kept, direction, position_mm, name)
    width, height = kept[0].size_xy
    spacing_xy = np.asarray(kept[0].spacing_mm_xy)
    origin = np.asarray(kept[0].position_lps_mm)
    if shift_px is not None:
        low, high = np.floor(shift_px.min(axis=0)), np.ceil(shift_px.max(axis=0))
        origin = origin + direction[:, :2] @ (low * spacing_xy)
        width, height = (int(size + extra) for size, extra in zip((width, height), high - low, strict=True))
        shift_px = shift_px - low
    spacing = (step_mm, float(spacing_xy[1]), float(spacing_xy[0]))
    x, y, z = (float(one) for one in origin)
    depth = int(z_of_slice[-1]) + 1
    grid = Grid((depth, height, width), spacing, (x, y, z), tuple(direction.ravel().tolist()))
    return Stack(tuple(kept), grid, z_of_slice, shift_px)


def _direction(headers: Sequence[SliceHeader], name: str) -> FloatArray:
    if len(headers) < 2:
        raise InputError.of(name, "only one slice in the series, no volume")
    first = headers[0]
    planes: list[FloatArray] = []
    for one in np.unique([header.orientation for header in headers], axis=0):
        if all(np.abs(one - plane).max() > ORIENTATION_TOLERANCE for plane in planes):
            planes.append(one)
    if len(planes) > 1:
        hint = "split it into one folder per orientation, or leave the series out"
        raise InputError.of(name, f"{len(headers)} slices of {len(planes)} orientations under one series UID", hint)
    for what, values in (
        ("image sizes", {header.size_xy for header in headers}),
        ("pixel spacings", {tuple(round(one, 4) for one in header.spacing_mm_xy) for header in headers}),
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
    once = without_copies(headers)
    if holds_several(once):
        most = max(positions(once).values())
        hint = "export each volume as a series of its own"
        raise InputError.of(name, f"up to {most} slices at each position that no tag tells apart", hint)
    places = {header.path: float(np.dot(header.position_lps_mm, direction[:, 2])) for header in once}
    kept: list[SliceHeader] = []
    for header in sorted(once, key=lambda one: (places[one.path], one.instance_number)):
        if kept and places[header.path] - places[kept[-1].path] < SAME_POSITION_MM:
            kept[-1] = min(kept[-1], header, key=lambda one: one.instance_number)
        else:
            kept.append(header)
    if len(kept) < len(headers):
        logger.warning("%s: %d slices at a position taken already are left out", name, len(headers) - len(kept))
    if len(kept) < 2:
        raise InputError.of(name, f"all {len(headers)} slices lie at one position, no volume")
    return kept, np.array([places[header.path] for header in kept])


def _places(position_mm: FloatArray, name: str, *, fill_gaps: bool) -> tuple[IntArray, float]:
    """Which slice of an even stack each position is, and the step of the stack in mm."""
    gaps = np.diff(position_mm)
    usual = float(np.median(gaps))
    steps = gaps / usual
    if np.abs(gaps - usual).max() <= UNEVEN_FRACTION * usual + SAME_POSITION_MM:
        return np.arange(len(position_mm)), float(position_mm[-1] - position_mm[0]) / len(gaps)
    whole = np.rint(steps).astype(np.int64)
    z_of_slice = np.concatenate([[0], np.cumsum(whole)])
    step_mm = float(position_mm[-1] - position_mm[0]) / max(1, int(z_of_slice[-1]))
    off = np.abs(position_mm - position_mm[0] - z_of_slice * step_mm).max() / usual
    if max(off, np.abs(steps - whole).max()) > MULTIPLE_TOLERANCE or whole.min() < 1 or whole.max() == 1:
        problem = f"uneven slice spacing, {gaps.min():.2f} to {gaps.max():.2f} mm"
        raise InputError.of(name, problem, "export the series anew, or resample it to an even spacing first")
    missing, first = int((whole - 1).sum()), int(np.argmax(whole > 1)) + 1
    problem = f"{missing} of {len(position_mm) + missing} slices missing, the first after slice {first}"
    if not fill_gaps:
        hint = "export the series anew, or fill short gaps by preprocess --missing-slices interpolate"
        raise InputError.of(name, problem, hint)
    if gaps.max() > LONGEST_GAP_MM + SAME_POSITION_MM:
        problem += f", the longest gap {gaps.max():.1f} mm"
        raise InputError.of(name, problem, f"export the series anew; gaps of at most {LONGEST_GAP_MM:g} mm are filled")
    return z_of_slice, step_mm


def _shift(kept: Sequence[SliceHeader], direction: FloatArray, position_mm: FloatArray, name: str) -> FloatArray | None:
    """(Z, 2) sideways shift of each slice against the first, in pixels; None where it is none but for rounding."""
    offsets = np.array([header.position_lps_mm for header in kept]) - kept[0].position_lps_mm
    shift_mm: FloatArray = offsets @ direction[:, :2]
    shift_px: FloatArray = np.round(shift_mm / np.asarray(kept[0].spacing_mm_xy), 3)
    if np.abs(shift_px).max() <= STRAIGHT_PX:
        return None
    share = (position_mm - position_mm[0]) / (position_mm[-1] - position_mm[0])
    if np.abs(shift_px - share[:, None] * shift_px[-1]).max() > STRAIGHT_PX:
        problem = f"slices shift sideways unevenly, by up to {np.abs(shift_mm).max():.1f} mm"
        raise InputError.of(name, problem, "export the series anew, or resample it to a straight grid first")
    angle = math.degrees(math.atan2(float(np.linalg.norm(shift_mm[-1])), float(position_mm[-1] - position_mm[0])))
    if angle > 45:
        raise InputError.of(name, f"slices shift sideways by {angle:.0f} degrees, more than a gantry tilts")
    logger.info("%s: gantry tilted by %.1f degrees, slices are put on a straight grid", name, angle)
    return shift_px
