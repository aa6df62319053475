"""Render one phantom patient: chest, vessels, airways, nodules, then the scanner's noise; int16 HU and exact truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungct.phantom.anatomy import Chest, build_chest
from lungct.phantom.lattice import Float32, Lattice, Upsampler
from lungct.phantom.nodule import Canvas, draw_nodule_at
from lungct.phantom.placing import Room, place_nodules
from lungct.phantom.sampling import (
    MEDIAN_MM,
    Body,
    NoduleDraw,
    Scanner,
    draw_body,
    draw_nodules,
    draw_scanner,
    has_nodules,
)
from lungct.phantom.stamp import stamp_balls
from lungct.phantom.vessels import Balls, grow_vessels
from lungct.types import Grid, Triple, Volume

AIR_HU, PADDING_HU, HU_LIMITS = -1000.0, -1024, (-1024, 3071)
VESSEL_HU, WALL_HU, LUMEN_HU = 40.0, 10.0, -985.0
SMALLEST_PX = 2.6
"""A nodule is at least this many voxels across, so that its truth means something on coarse grids too."""


@dataclass(frozen=True)
class PlacedNodule:
    """One nodule as it was drawn, and its exact box in world LPS mm."""

    draw: NoduleDraw
    center_lps_mm: Triple
    size_mm: Triple


@dataclass(frozen=True, eq=False)
class Phantom:
    """One rendered patient.

    Attributes:
        volume: (Z, Y, X) int16 HU.
        labels: the same grid, uint8; 0 background, i the i-th of ``nodules``.
        nodules: in the order of their labels.
        scanner: how it was scanned.
    """

    volume: Volume
    labels: Volume
    nodules: tuple[PlacedNodule, ...]
    scanner: Scanner


def render_phantom(
    seed: int, patient_index: int, *, size: int = 256, slices: int = 120, median_mm: float = MEDIAN_MM
) -> Phantom:
    """The phantom of one patient, which depends on nothing but the arguments.

    Args:
        size: pixels along x and y.
        slices: slices along z.
        median_mm: median diameter that nodules are drawn with.
    """
    draws, shapes, noise = (np.random.default_rng([seed, patient_index, stream]) for stream in range(3))
    body = draw_body(draws)
    scanner = draw_scanner(draws, body, size, slices)
    lattice = Lattice.over(scanner.grid)
    isocenter = np.asarray(scanner.isocenter_lps_mm)
    chest = build_chest(body, lattice, isocenter, shapes)
    vessels, airways = grow_vessels(shapes, lattice, chest.lung, lattice.points_lps_mm(isocenter))
    vessels = Balls(vessels.points_mm + isocenter, vessels.radii_mm)
    airways = Balls(airways.points_mm + isocenter, airways.radii_mm)
    hu = _compose(chest, lattice, body, isocenter)
    _draw_tubes(hu, scanner.grid, vessels, airways)
    labels = np.zeros(scanner.grid.shape_zyx, dtype=np.uint8)
    placed: tuple[PlacedNodule, ...] = ()
    if has_nodules(seed, patient_index):
        canvas = Canvas(hu, labels, lattice, chest.lung)
        placed = _draw_nodules(canvas, Room.of(lattice, chest.lung, vessels), (draws, shapes), median_mm)
    voxels = _scan(hu, scanner, noise)
    return Phantom(Volume(voxels, scanner.grid), Volume(labels, scanner.grid), placed, scanner)


def _draw_nodules(
    canvas: Canvas, room: Room, randoms: tuple[np.random.Generator, np.random.Generator], median_mm: float
) -> tuple[PlacedNodule, ...]:
    draws, shapes = randoms
    grid = canvas.lattice.grid
    smallest = max(4.0, SMALLEST_PX * grid.spacing_mm_zyx[2], SMALLEST_PX * 0.5 * grid.spacing_mm_zyx[0])
    wanted = draw_nodules(draws, median_mm=median_mm, smallest_mm=smallest)
    placed: list[PlacedNodule] = []
    for draw, center in place_nodules(room, wanted, smallest, draws):
        box = draw_nodule_at(canvas, draw, center, len(placed) + 1, shapes)
        if box is not None:
            placed.append(PlacedNodule(draw, *box))
    return tuple(placed)


def _compose(chest: Chest, lattice: Lattice, body: Body, isocenter: NDArray[np.float64]) -> Float32:
    grid, upsample = lattice.grid, Upsampler(lattice)
    hu = np.empty(grid.shape_zyx, dtype=np.float32)
    edge_mm = grid.spacing_mm_zyx[2]
    for z_index in range(grid.shape_zyx[0]):
        skin, lung, bone, soft, parenchyma = (
            upsample.slice_at(one, z_index)
            for one in (chest.body, chest.lung, chest.bone, chest.soft_hu, chest.lung_hu)
        )
        parenchyma += _fissures(grid, z_index, isocenter, edge_mm)
        soft += np.clip(1.6 - skin, 0.0, 1.0) * (20.0 - soft)
        plane = AIR_HU + _ramp(skin, edge_mm) * (soft - AIR_HU)
        plane += _ramp(bone, edge_mm) * (200.0 + 420.0 * np.clip(2.6 - bone, 0.0, 1.0) - plane)
        plane += _ramp(lung, edge_mm) * (parenchyma - plane)
        hu[z_index] = plane
    return hu


def _ramp(distance_mm: Float32, edge_mm: float) -> Float32:
    return np.asarray(np.clip(distance_mm * (1.0 / edge_mm) + 0.5, 0.0, 1.0), dtype=np.float32)


def _fissures(grid: Grid, z_index: int, isocenter: NDArray[np.float64], edge_mm: float) -> Float32:
    """The interlobar fissures of one slice, as HU above the parenchyma; thinner than a pixel, so faint."""
    affine = grid.affine_lps.astype(np.float32)
    _, rows, columns = grid.shape_zyx
    column, row = np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)[:, None]
    start = affine[:3, 2] * z_index + affine[:3, 3] - isocenter.astype(np.float32)
    x, y, z = (start[axis] + affine[axis, 0] * column + affine[axis, 1] * row for axis in range(3))
    oblique = (z - 12.0 - 1.05 * (y - 10.0) + 0.0035 * np.square(np.abs(x) - 75.0)) * 0.69
    level = np.where((x < 0) & (oblique > 0), z - 2.0 + 0.0022 * np.square(x + 80.0) - 0.1 * y, 99.0)
    width = 0.45 + 0.5 * edge_mm
    sheet = np.maximum(1.0 - np.abs(oblique) / width, 1.0 - np.abs(level) / (width + 0.4))
    return np.asarray(np.maximum(sheet, 0.0) * (210.0 / (1.0 + edge_mm)), dtype=np.float32)


def _draw_tubes(hu: Float32, grid: Grid, vessels: Balls, airways: Balls) -> None:
    wall = airways.radii_mm + 0.5 + 0.09 * airways.radii_mm
    layers = (
        (vessels.points_mm, vessels.radii_mm, VESSEL_HU),
        (airways.points_mm, wall, WALL_HU),
        (airways.points_mm, airways.radii_mm, LUMEN_HU),
    )
    for points, radii, target in layers:
        cover = stamp_balls(grid, grid.to_index(points), radii)
        touched = np.flatnonzero(cover)
        flat = hu.reshape(-1)
        before = flat[touched]
        after = before + cover.reshape(-1)[touched] * np.float32(1 / 255) * (np.float32(target) - before)
        flat[touched] = after if target < -500 else np.maximum(before, after)


def _scan(hu: Float32, scanner: Scanner, rng: np.random.Generator) -> NDArray[np.int16]:
    """Add correlated noise, louder in the middle of the body and in the lungs' fine texture; clip to int16."""
    grid = scanner.grid
    _, rows, columns = grid.shape_zyx
    y, x = np.linspace(-1, 1, rows, dtype=np.float32)[:, None], np.linspace(-1, 1, columns, dtype=np.float32)
    radius = x * x + y * y
    level = (scanner.noise_hu * (1.15 - 0.35 * np.minimum(radius, 1.0))).astype(np.float32)
    outside = radius > 1.0 if scanner.padded else np.zeros(radius.shape, dtype=bool)
    side = np.float32(0.45 * (1.0 - scanner.sharpness) + 0.05)
    voxels = np.empty(grid.shape_zyx, dtype=np.int16)
    last = _grain(rng, (rows, columns), side)
    for z_index, plane in enumerate(hu):
        last = np.float32(0.3) * last + np.float32(0.954) * _grain(rng, (rows, columns), side)
        noisy = np.clip(np.rint(plane + last * level), *HU_LIMITS)
        noisy[outside] = PADDING_HU
        voxels[z_index] = noisy
    return voxels


def _grain(rng: np.random.Generator, shape: tuple[int, int], side: np.float32) -> Float32:
    """White noise smoothed by (side, 1, side) along both axes and scaled back to unit variance."""
    grain = rng.standard_normal((shape[0] + 2, shape[1] + 2), dtype=np.float32)
    grain = grain[1:-1] + side * (grain[:-2] + grain[2:])
    grain = grain[:, 1:-1] + side * (grain[:, :-2] + grain[:, 2:])
    grain *= np.float32(1.0) / (np.float32(1.0) + np.float32(2.0) * side * side)
    return grain
