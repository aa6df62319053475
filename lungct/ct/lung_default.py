"""Lungs on a coarse grid: air enclosed by the body, without airways, closed so that nodules at the pleura stay in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungct.ct.airways import large_airways
from lungct.ct.morphology import ALL_AXES, IN_SLICE_AXES, grown, worn
from lungct.ct.pieces import box_of, filled_in_slices, sizes_of, without_crumbs
from lungct.ct.sides import LEFT, RIGHT, spine_x, tell_sides
from lungct.types import BoolArray, Triple

STEP_MM_ZYX = (2.8, 2.8, 2.8)
AIR_HU, AIRWAY_HU = -400, -600
EDGE_HU = AIR_HU
GAS_HU = -950
GAS_AT_MOST_ML = 1000.0
LEAST_ML = 10.0
LEAST_SHARE = 0.05
AT_EDGE_SHARE, OF_EDGE_SHARE = 0.1, 0.15
IN_BODY_SHARE = 0.5
CLOSING_MM = 12.0


def segment(hu: NDArray[Any], spacing_mm_zyx: Triple) -> NDArray[np.uint8]:
    """(Z, Y, X) labels, 1 right and 2 left lung of the patient, from LPS-canonical HU of about ``STEP_MM_ZYX``.

    1. Pieces of air (below -400 HU, joined by faces) are lung if the body, the largest solid piece, is round them.
       Those that lie along the image's edge (with a tenth of their voxels, or on 15 % of the edge), or that are as dark
       as gas and smaller than a litre, are not. So a lung that the edge cuts stays.
    2. The trachea and main bronchi are taken away, and what is below a twentieth of the largest piece left.
    3. Each lung is closed by a ball of 12 mm, which keeps vessels and nodules that sit on the pleura, and its holes are
       filled; neither lung grows into other air.
    """
    labels = np.zeros(hu.shape, np.uint8)
    lungs = _enclosed(hu < AIR_HU, hu, float(np.prod(spacing_mm_zyx)) / 1000)
    box = box_of(lungs)
    if box is not None:
        spine = spine_x(hu, spacing_mm_zyx) - box[2].start
        labels[box] = _in_box(lungs[box], hu[box], spine, spacing_mm_zyx)
    return labels


def _in_box(lungs: BoolArray, hu: NDArray[Any], spine: int, spacing_mm_zyx: Triple) -> NDArray[np.uint8]:
    airways = large_airways(lungs & (hu < AIRWAY_HU), spacing_mm_zyx)
    lungs = lungs & ~grown(airways, IN_SLICE_AXES)
    labels = tell_sides(without_crumbs(lungs, LEAST_SHARE), spine, spacing_mm_zyx)
    other_air = (hu < AIR_HU) & (labels == 0)
    for side in (RIGHT, LEFT):
        _close(labels, side, other_air, spacing_mm_zyx)
    return labels


def _enclosed(air: BoolArray, hu: NDArray[Any], voxel_ml: float) -> BoolArray:
    """Pieces of air that lie in the body."""
    padding = _padding(hu)
    pieces, count = ndimage.label(air & ~padding)
    sizes, boxes = sizes_of(pieces, count), ndimage.find_objects(pieces)
    edge = _edge(padding)
    at_edge, edge_of_slice = np.bincount(pieces[edge], minlength=count + 1), edge.sum(axis=(1, 2))
    body = _body(~air)
    keep = np.zeros(count + 1, dtype=bool)
    for piece in np.flatnonzero(sizes * voxel_ml >= LEAST_ML):
        box = boxes[piece - 1]
        if at_edge[piece] > min(AT_EDGE_SHARE * sizes[piece], OF_EDGE_SHARE * edge_of_slice[box[0]].sum()):
            continue
        around = tuple(slice(max(one.start - 1, 0), one.stop + 1) for one in box)
        inside = pieces[around] == piece
        gas = sizes[piece] * voxel_ml < GAS_AT_MOST_ML and np.median(hu[around][inside]) < GAS_HU
        shell = grown(inside) & ~air[around]
        keep[piece] = not gas and body[around][shell].sum() >= IN_BODY_SHARE * max(shell.sum(), 1)
    return np.asarray(keep[pieces])


def _padding(hu: NDArray[Any]) -> BoolArray:
    """What lies outside a round field of view: the value that all corners have, if it is below that of air."""
    corner = hu[0, 0, 0]
    if corner < -1000 and (hu[:, [0, 0, -1, -1], [0, -1, 0, -1]] == corner).all():
        return np.asarray(hu == corner)
    return np.zeros(hu.shape, dtype=bool)


def _edge(padding: BoolArray) -> BoolArray:
    """The outermost pixels of the field of view in every slice."""
    edge = np.ones(padding.shape, dtype=bool)
    edge[:, 1:-1, 1:-1] = padding[:, :-2, 1:-1] | padding[:, 2:, 1:-1] | padding[:, 1:-1, :-2] | padding[:, 1:-1, 2:]
    return edge & ~padding


def _body(solid: BoolArray) -> BoolArray:
    """The largest solid piece once thin bridges to the table are cut, as thick as it was."""
    core = worn(solid, outside=True)
    pieces, count = ndimage.label(core)
    if count == 0:
        return solid
    largest = sizes_of(pieces, count).argmax()
    return grown(grown(pieces == largest)) & solid


def _close(labels: NDArray[np.uint8], side: int, other_air: BoolArray, spacing_mm_zyx: Triple) -> None:
    """Close one lung and fill its holes, in place, without taking from the other lung or from other air."""
    found = box_of(labels == side)
    if found is None:
        return
    radii = [round(CLOSING_MM / step) for step in spacing_mm_zyx]
    around = tuple(slice(max(one.start - r, 0), one.stop + r) for one, r in zip(found, radii, strict=True))
    free = (labels[around] == 0) & ~other_air[around]
    lung = labels[around] == side
    closed = filled_in_slices(_closed(lung, radii))
    labels[around][closed & free] = side


def _closed(mask: BoolArray, radii: Sequence[int]) -> BoolArray:
    """Closing by a ball of ``radii`` voxels: steps by crosses and cubes in turn, which comes near to one."""
    steps = [[axis for axis in ALL_AXES if step < radii[axis]] for step in range(max(radii))]
    pad = [(r, r) for r in radii]
    result = np.pad(mask, pad)
    for change in (grown, worn):
        for step, axes in enumerate(steps):
            result = change(result, axes, corners=step % 2 == 1)
    return result[tuple(slice(r, size - r) for r, size in zip(radii, result.shape, strict=True))]
