"""Lung masks: a method's labels from a coarse grid, brought back to the grid that is asked for."""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungct.ct.axial import Axial
from lungct.ct.geometry import cropped
from lungct.ct.hu import clip_hu
from lungct.ct.pieces import box_of
from lungct.ct.resample import place_on, planes_on
from lungct.registry import LUNG_MASKS
from lungct.types import Grid, Triple, Volume

LOWEST_HU, HIGHEST_HU = -3000, 3071
EDGE_HU_REACH = 300


class Method(Protocol):
    """What each module of a method offers.

    Attributes:
        STEP_MM_ZYX: about how far apart the voxels are that it works on.
        EDGE_HU: where the lung's edge lies between two of them; None halfway.
    """

    STEP_MM_ZYX: Triple
    EDGE_HU: int | None

    def segment(self, hu: NDArray[np.int16], spacing_mm_zyx: Triple) -> NDArray[np.uint8]:
        """(Z, Y, X) labels from LPS-canonical HU: 1 right lung, 2 left lung of the patient, 0 neither."""


def lung_mask(volume: Volume, grid: Grid, method: str = "default") -> Volume:
    """The lungs of a scan on ``grid``: (Z, Y, X) uint8, 1 the patient's right lung and 2 the left, 0 neither.

    Args:
        volume: LPS-canonical, see :func:`lungct.ct.geometry.to_canonical`; HU neither clipped nor enhanced.
        grid: of the same directions as the volume's.
        method: one of ``LUNG_MASKS``.
    """
    chosen = cast(Method, importlib.import_module(LUNG_MASKS[method].module))
    coarse = _coarse(volume, chosen.STEP_MM_ZYX)
    labels = chosen.segment(coarse.hu, coarse.grid.spacing_mm_zyx)
    return _brought_to(grid, labels, coarse, chosen.EDGE_HU)


def lungs_of_planes(scan: Axial, method: str = "default") -> Volume:
    """The lungs of a scan on the coarse grid that the method works on; labels as :func:`lung_mask`'s.

    Of the planes every n-th is read, and of the scan no more is held than the coarse grid.
    """
    chosen = cast(Method, importlib.import_module(LUNG_MASKS[method].module))
    z, y, x = _every_nth(scan.grid, chosen.STEP_MM_ZYX)
    wanted = set(range(scan.grid.shape_zyx[0])[z])
    read = {
        at: _within_range(scan.stored.read(number)[y, x].copy())  # a view would keep the whole plane
        for number, at in enumerate(scan.order)
        if at in wanted
    }
    grid = cropped(Volume(np.broadcast_to(np.int16(0), scan.grid.shape_zyx), scan.grid), (z, y, x)).grid
    return Volume(chosen.segment(np.stack([read[at] for at in sorted(read)]), grid.spacing_mm_zyx), grid)


def _coarse(volume: Volume, step_mm_zyx: Triple) -> Volume:
    thinned = cropped(volume, _every_nth(volume.grid, step_mm_zyx))
    return Volume(_within_range(thinned.hu), thinned.grid)


def _every_nth(grid: Grid, step_mm_zyx: Triple) -> tuple[slice, slice, slice]:
    """Every n-th voxel along each axis, the middle one of n, so that they lie about as far apart as wanted."""
    steps = [max(1, round(wanted / mm)) for wanted, mm in zip(step_mm_zyx, grid.spacing_mm_zyx, strict=True)]
    starts = [min((step - 1) // 2, size - 1) for step, size in zip(steps, grid.shape_zyx, strict=True)]
    z, y, x = (slice(start, None, step) for start, step in zip(starts, steps, strict=True))
    return z, y, x


def _within_range(hu: NDArray[Any]) -> NDArray[np.int16]:
    return clip_hu(hu, (LOWEST_HU, HIGHEST_HU))


def _brought_to(grid: Grid, labels: NDArray[np.uint8], coarse: Volume, edge_hu: int | None) -> Volume:
    out = np.zeros(grid.shape_zyx, np.uint8)
    place = [place_on(coarse.grid, grid, axis) for axis in range(3)]
    lungs = box_of(labels > 0)
    if lungs is None:
        return Volume(out, grid)
    box = [slice(max(one.start - 1, 0), one.stop + 1) for one in lungs]
    around = [slice(*np.searchsorted(p, (one.start, one.stop - 1)).tolist()) for p, one in zip(place, box, strict=True)]
    around = [slice(max(one.start - 1, 0), one.stop + 1) for one in around]
    target = cropped(Volume(out, grid), around)
    depth = Volume(_depth(labels[tuple(box)], coarse.hu[tuple(box)], edge_hu), cropped(coarse, box).grid)
    # Between the lungs the edge may lie nearer to a voxel outside than to one inside.
    grown = np.where(labels > 0, labels, ndimage.maximum_filter(labels, 3))
    z, y, x = (
        np.clip(np.rint(p[one]), 0, size - 1).astype(np.intp)
        for p, one, size in zip(place, around, labels.shape, strict=True)
    )
    near, nearest = np.empty((len(y), len(x)), np.uint8), -1
    for number, plane in enumerate(planes_on(depth, target.grid, lowest=-EDGE_HU_REACH)):
        if z[number] != nearest:
            nearest = z[number]
            near = grown[nearest].take(y, axis=0).take(x, axis=1)
        np.multiply(plane > 0, near, out=target.hu[number])
    return Volume(out, grid)


def _depth(labels: NDArray[np.uint8], hu: NDArray[Any], edge_hu: int | None) -> NDArray[np.float32]:
    """A field that is positive in the lungs and 0 at their edge, which between air and tissue lies at ``edge_hu``."""
    inside = labels > 0
    full = np.where(inside, EDGE_HU_REACH, -EDGE_HU_REACH).astype(np.float32)
    if edge_hu is None:
        return full
    below = np.clip(edge_hu - hu.astype(np.float32), -EDGE_HU_REACH, EDGE_HU_REACH)
    return np.where((below > 0) == inside, below, full)
