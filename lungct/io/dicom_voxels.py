"""An arranged DICOM series -> its voxels in HU, and a single slice by itself; ``name`` stands for them in messages."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct.errors import InputError
from lungct.io.dicom import SliceHeader
from lungct.io.dicom_elements import BrokenDicom
from lungct.io.dicom_pixels import AIR_HU, read_hu
from lungct.io.dicom_stack import Stack, arrange
from lungct.types import FloatArray, Planes, Volume

MOST_THREADS = 4


def read_series(headers: Sequence[SliceHeader], name: str, *, fill_gaps: bool = False) -> Volume:
    """Stack the slices of one series by their position; HU by each slice's own rescale slope and intercept.

    Raises:
        InputError: see :func:`~lungct.io.dicom_stack.arrange`; a file that cannot be decoded.
    """
    return read_stack(arrange(headers, name, fill_gaps=fill_gaps), name)


def read_stack(stack: Stack, name: str) -> Volume:
    """The voxels of an arranged series, int16 where every HU is a whole number, else float32; gaps are interpolated.

    Raises:
        InputError: a file that cannot be decoded.
    """
    hu: NDArray[Any] = np.empty(stack.grid.shape_zyx, _number_type(stack))

    def fill(number: int) -> None:
        _fill(stack, number, name, hu[stack.z_of_slice[number]])

    numbers = range(len(stack.slices))
    # GDCM lets go of the interpreter while it decompresses; native pixels are read faster than threads start.
    threads = min(MOST_THREADS, os.cpu_count() or 1) if multiprocessing.parent_process() is None else 1
    if threads > 1 and any(header.pixels.offset is None for header in stack.slices):
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, numbers))
    else:
        for number in numbers:
            fill(number)
    _interpolate(hu, stack)
    return Volume(hu, stack.grid, stack.gaps)


def _interpolate(hu: NDArray[Any], stack: Stack) -> None:
    """Fill every gap of a stack linearly between the slices on its two sides."""
    for below, above in pairwise(stack.z_of_slice.tolist()):
        for z in range(below + 1, above):
            hu[z] = _between(hu[below], hu[above], (z - below) / (above - below))


def _between(below: NDArray[Any], above: NDArray[Any], share: float) -> NDArray[Any]:
    plane = below * np.float32(1 - np.float32(share)) + above * np.float32(share)
    return np.rint(plane) if below.dtype == np.int16 else plane


def _number_type(stack: Stack) -> type[np.generic]:
    whole = all(header.pixels.is_whole for header in stack.slices)
    return np.int16 if whole else np.float32


def _fill(stack: Stack, number: int, name: str, out: NDArray[Any]) -> None:
    """Read one slice of a series into the (Y, X) ``out``."""
    header = stack.slices[number]
    try:
        if stack.shift_px_xy is None:
            read_hu(header.path, header.pixels, out)
        else:
            plane = np.empty(header.size_xy[::-1], np.float32)
            read_hu(header.path, header.pixels, plane)
            _place(plane, stack.shift_px_xy[number], out)
    except (BrokenDicom, OSError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise InputError.of(name, f"slice {number + 1} of {len(stack.slices)} cannot be read ({reason})") from None


@contextmanager
def series_planes(headers: Sequence[SliceHeader], name: str, *, fill_gaps: bool = False) -> Iterator[Planes]:
    """What :func:`read_series` reads, plane by plane while the block runs.

    Raises:
        InputError: as :func:`read_series`; a file that cannot be decoded, when its plane is read.
    """
    stack = arrange(headers, name, fill_gaps=fill_gaps)
    kind = _number_type(stack)

    def slice_at(number: int) -> NDArray[Any]:
        plane: NDArray[Any] = np.empty(stack.grid.shape_zyx[1:], kind)
        _fill(stack, number, name, plane)
        return plane

    def read(z: int) -> NDArray[Any]:
        number = int(np.searchsorted(stack.z_of_slice, z))
        above = int(stack.z_of_slice[number])
        if above == z:
            return slice_at(number)
        below = int(stack.z_of_slice[number - 1])
        plane = _between(slice_at(number - 1), slice_at(number), (z - below) / (above - below))
        return plane.astype(kind, copy=False)

    yield Planes(stack.grid, read)


def read_slice(header: SliceHeader, name: str) -> NDArray[np.int16]:
    """(Y, X) HU of one slice by itself.

    Raises:
        InputError: a file that cannot be decoded.
    """
    hu: NDArray[Any] = np.empty(header.size_xy[::-1], np.int16 if header.pixels.is_whole else np.float32)
    try:
        read_hu(header.path, header.pixels, hu)
    except (BrokenDicom, OSError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise InputError.of(name, f"cannot be read ({reason})") from None
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
