"""The slices of one DICOM series -> one volume: put in order by position, checked, straightened, in HU.

A series is refused rather than guessed at: mixed orientations, missing slices, uneven spacing and several volumes that
no tag tells apart are errors that say what is wrong. ``name`` stands for the series in messages.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.io.dicom import VOLUME_TAGS, SliceHeader
from lungct.io.dicom_elements import BrokenDicom
from lungct.io.dicom_pixels import AIR_HU, read_hu
from lungct.types import FloatArray, Grid, Volume

logger = logging.getLogger("lungct")
SAME_POSITION_MM = 0.01
UNEVEN_FRACTION = 0.02
ORIENTATION_TOLERANCE = 1e-3
STRAIGHT_PX = 0.5
"""Sideways shift over a whole series, or off a straight line, that is taken for rounding."""
MOST_THREADS = 4


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal, and the straight grid that they fill.

    Attributes:
        shift_px_xy: (Z, 2) where pixel (0, 0) of each slice lies on the grid; None where it is (0, 0) throughout.
    """

    slices: tuple[SliceHeader, ...]
    grid: Grid
    shift_px_xy: FloatArray | None = None


def split_volumes(headers: Sequence[SliceHeader]) -> list[tuple[str, tuple[SliceHeader, ...]]]:
    """The volumes that share a series UID, each with what names it, empty where there is only one.

    Where at least half of the positions are taken twice it is not a matter of a few repeated slices: the first of
    :data:`~lungct.io.dicom.VOLUME_TAGS` whose values part the slices into stacks without a repeated position does so
    (phases of the breath or heart, contrast passes, kernels). Where none does, they stay together and
    :func:`arrange` refuses them. Copies of one file (same SOPInstanceUID) are no second volume.
    """
    once = _without_copies(headers)
    if not _holds_several(once):
        return [("", tuple(headers))]
    for number in range(len(VOLUME_TAGS)):
        groups: dict[str, list[SliceHeader]] = defaultdict(list)
        for header in once:
            groups[header.volume_marks[number]].append(header)
        if len(groups) > 1 and all(len(one) > 1 and len(_positions(one)) == len(one) for one in groups.values()):
            return [(f"{number}/{mark}", tuple(slices)) for mark, slices in sorted(groups.items())]
    return [("", tuple(headers))]


def _without_copies(headers: Sequence[SliceHeader]) -> list[SliceHeader]:
    return list({header.sop_uid or str(header.path): header for header in headers}.values())


def _positions(headers: Sequence[SliceHeader]) -> Counter[tuple[float, ...]]:
    return Counter(tuple(round(one, 2) for one in header.position_lps_mm) for header in headers)


def _holds_several(headers: Sequence[SliceHeader]) -> bool:
    taken = _positions(headers)
    return len(taken) > 1 and 2 * sum(count > 1 for count in taken.values()) >= len(taken)


def read_series(headers: Sequence[SliceHeader], name: str) -> Volume:
    """Stack the slices of one series by their position; HU by each slice's own rescale slope and intercept.

    Raises:
        InputError: see :func:`arrange`; a file that cannot be decoded.
    """
    return read_stack(arrange(headers, name), name)


def arrange(headers: Sequence[SliceHeader], name: str) -> Stack:
    """The slices of one series in order, and their grid; reads no pixels.

    Of slices at one position the one of lowest InstanceNumber is kept. Slices that shift sideways evenly (a tilted
    gantry) fill a straight grid that is wider by the shift.

    Raises:
        InputError: fewer than two slices, mixed orientations, sizes or pixel spacings, several volumes, missing slices,
            uneven spacing, slices that shift sideways unevenly.
    """
    direction = _direction(headers, name)
    kept, position_mm = _in_order(headers, direction, name)
    step_mm = _step(position_mm, name)
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
    grid = Grid((len(kept), height, width), spacing, (x, y, z), tuple(direction.ravel().tolist()))
    return Stack(tuple(kept), grid, shift_px)


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
    once = _without_copies(headers)
    if _holds_several(once):
        most = max(_positions(once).values())
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


def read_stack(stack: Stack, name: str) -> Volume:
    """The voxels of an arranged series, int16 where every HU is a whole number, else float32.

    Raises:
        InputError: a file that cannot be decoded.
    """
    whole = all(header.pixels.is_whole for header in stack.slices)
    hu: NDArray[Any] = np.empty(stack.grid.shape_zyx, np.int16 if whole else np.float32)

    def fill(number: int) -> None:
        header = stack.slices[number]
        try:
            if stack.shift_px_xy is None:
                read_hu(header.path, header.pixels, hu[number])
            else:
                plane = np.empty(header.size_xy[::-1], np.float32)
                read_hu(header.path, header.pixels, plane)
                _place(plane, stack.shift_px_xy[number], hu[number])
        except BrokenDicom as problem:
            raise InputError.of(name, f"slice {number + 1} of {len(hu)} cannot be read ({problem})") from None

    numbers = range(len(stack.slices))
    # GDCM lets go of the interpreter while it decompresses; native pixels are read faster than threads start.
    threads = min(MOST_THREADS, os.cpu_count() or 1) if multiprocessing.parent_process() is None else 1
    if threads > 1 and any(header.pixels.offset is None for header in stack.slices):
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, numbers))
    else:
        for number in numbers:
            fill(number)
    return Volume(hu, stack.grid)


def read_slice(header: SliceHeader, name: str) -> NDArray[np.int16]:
    """(Y, X) HU of one slice by itself.

    Raises:
        InputError: a file that cannot be decoded.
    """
    hu: NDArray[Any] = np.empty(header.size_xy[::-1], np.int16 if header.pixels.is_whole else np.float32)
    try:
        read_hu(header.path, header.pixels, hu)
    except BrokenDicom as problem:
        raise InputError.of(name, f"cannot be read ({problem})") from None
    return hu if hu.dtype == np.int16 else np.rint(hu).clip(-32768, 32767).astype(np.int16)


def _place(plane: FloatArray, shift_px_xy: FloatArray, out: NDArray[Any]) -> None:
    """Put a slice, moved by whole pixels and linearly by the rest, into a larger one of air."""
    (x, y), (part_x, part_y) = np.floor(shift_px_xy).astype(int), shift_px_xy - np.floor(shift_px_xy)
    height, width = plane.shape
    padded = np.pad(plane, 1, constant_values=AIR_HU)
    moved = (1 - part_x) * padded[:, 1:] + part_x * padded[:, :-1]
    moved = (1 - part_y) * moved[1:] + part_y * moved[:-1]
    moved = moved[: out.shape[0] - y, : out.shape[1] - x]
    out[...] = AIR_HU
    out[y : y + height + 1, x : x + width + 1] = np.rint(moved) if out.dtype == np.int16 else moved
