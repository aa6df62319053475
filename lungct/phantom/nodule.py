"""Draw one nodule into a scan and measure the box of the voxels it covers, in the world."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungct.phantom.lattice import Float32, Lattice
from lungct.phantom.sampling import NoduleDraw
from lungct.types import BoolArray, FloatArray, Grid, Triple

SPIKES_FROM = 0.3
REACH = 1.8
"""No spike reaches farther than this many radii of the body it stands on."""
LOBES = 6
LOBE_HEIGHT = 0.12
OBLONG = 0.14


@dataclass(frozen=True, eq=False)
class Shape:
    """A star-shaped body: its radius in every direction.

    Attributes:
        radius_mm: of the sphere it deviates from.
        stretch: (3, 3) takes an offset in mm to one in which the body is round.
        bumps: (K, 3) unit directions of lobes and spikes.
        heights: (K,) of radius_mm.
        widths: (K,) concentration of each bump; large is a thin spike.
    """

    radius_mm: float
    stretch: FloatArray
    bumps: FloatArray
    heights: FloatArray
    widths: FloatArray

    def depth_mm(self, offset_mm: FloatArray) -> FloatArray:
        """(...) signed distance along the ray from the centre to the surface at (..., 3) offsets, positive inside."""
        round_mm = offset_mm @ self.stretch.T
        length = np.linalg.norm(round_mm, axis=-1)
        unit = round_mm / np.maximum(length, 1e-6)[..., None]
        relief = np.exp(self.widths * (unit @ self.bumps.T - 1.0)) @ self.heights
        return np.asarray(self.radius_mm * np.minimum(1.0 + relief, REACH) - length)


def reach_mm(draw: NoduleDraw) -> float:
    """No part of a nodule lies farther from its centre than this."""
    relief = REACH if draw.spiculation >= SPIKES_FROM else min(REACH, 1.0 + LOBES * LOBE_HEIGHT)
    return draw.diameter_mm / 2 * relief * math.exp(4 / 3 * OBLONG)


def draw_shape(rng: np.random.Generator, radius_mm: float, spiculation: float) -> Shape:
    """A slightly oblong, lobulated body; a spiculated one has spikes and less body, for the spikes add to it."""
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    axes = np.exp(rng.uniform(-OBLONG, OBLONG, 3))
    stretch = turn @ np.diag(axes / np.prod(axes) ** (1 / 3)) @ turn.T
    spikes = int(8 + 10 * spiculation) if spiculation >= SPIKES_FROM else 0
    bumps = rng.standard_normal((LOBES + spikes, 3))
    bumps /= np.linalg.norm(bumps, axis=1, keepdims=True)
    heights = np.concatenate([rng.uniform(-0.14, LOBE_HEIGHT, LOBES), spiculation * rng.uniform(0.5, 1.1, spikes)])
    widths = np.concatenate([np.full(LOBES, 3.0), rng.uniform(22, 55, spikes)])
    return Shape(radius_mm / (1.0 + 0.3 * spiculation * (spikes > 0)), stretch, bumps, heights, widths)


@dataclass(frozen=True, eq=False)
class Canvas:
    """What a nodule is drawn into.

    Attributes:
        hu: (Z, Y, X) float32, changed in place.
        labels: (Z, Y, X) uint8, changed in place.
        lattice, lung: signed distance to the lungs' surface, on the lattice.
    """

    hu: Float32
    labels: NDArray[np.uint8]
    lattice: Lattice
    lung: Float32


def draw_nodule_at(
    canvas: Canvas, draw: NoduleDraw, center_lps_mm: FloatArray, label: int, rng: np.random.Generator
) -> tuple[Triple, Triple] | None:
    """Draw a nodule, label its voxels, and return its box's centre and size in world mm; None if it covers no voxel.

    The truth is the voxels whose centre lies in the body and in the lung, in one piece with the centre: what a reader
    could see of it. The box spans those voxels to their outer edges.
    """
    grid = canvas.lattice.grid
    shape = draw_shape(rng, draw.diameter_mm / 2, draw.spiculation)
    where, index_xyz = _window(grid, center_lps_mm, reach_mm(draw) + 2.0)
    offset = grid.to_world(index_xyz) - center_lps_mm
    depth = shape.depth_mm(offset)
    lung = canvas.lattice.at(canvas.lung, index_xyz.reshape(-1, 3)).reshape(depth.shape)
    mask = _one_piece((depth >= 0) & (lung >= 0), depth)
    if not mask.any():
        return None
    edge_mm = 0.5 * (grid.spacing_mm_zyx[0] + grid.spacing_mm_zyx[2])
    _paint(canvas.hu[where], draw, depth, np.clip(lung / edge_mm + 0.5, 0, 1), edge_mm, rng)
    if draw.kind == "part-solid":
        _paint_core(canvas.hu[where], draw, offset, np.clip(depth / edge_mm, 0, 1), edge_mm, rng)
    canvas.labels[where][mask] = label
    return world_box(grid, index_xyz[mask])


def world_box(grid: Grid, index_xyz: FloatArray) -> tuple[Triple, Triple]:
    """Centre and full size, along world x y z in mm, of the box around whole voxels at (N, 3) indices."""
    world = grid.to_world(index_xyz)
    half = 0.5 * np.abs(grid.affine_lps[:3, :3]).sum(axis=1)
    low, high = world.min(axis=0) - half, world.max(axis=0) + half
    # a nanometre is enough, and keeps the digits free of the order in which a BLAS adds
    (a, b, c), (w, h, d) = np.round((low + high) / 2, 6).tolist(), np.round(high - low, 6).tolist()
    return (a, b, c), (w, h, d)


def _window(grid: Grid, center_lps_mm: FloatArray, reach_mm: float) -> tuple[tuple[slice, ...], FloatArray]:
    center = grid.to_index(center_lps_mm)[::-1]
    parts = []
    for at, count, mm in zip(center, grid.shape_zyx, grid.spacing_mm_zyx, strict=True):
        low, high = int(np.floor(at - reach_mm / mm)), int(np.ceil(at + reach_mm / mm)) + 1
        parts.append(slice(max(low, 0), min(high, count)))
    axes = np.meshgrid(*(np.arange(one.start, one.stop) for one in parts), indexing="ij")
    return tuple(parts), np.stack(axes[::-1], axis=-1).astype(np.float64)


def _one_piece(mask: BoolArray, depth: FloatArray) -> BoolArray:
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    deepest = np.unravel_index(int(np.argmax(np.where(mask, depth, -np.inf))), mask.shape)
    return np.asarray(pieces == pieces[deepest])


def _paint(
    hu: Float32, draw: NoduleDraw, depth: FloatArray, in_lung: FloatArray, edge_mm: float, rng: np.random.Generator
) -> None:
    hazy = draw.kind != "solid"
    cover = np.clip(depth / (edge_mm + (1.2 if hazy else 0.0)) + 0.5, 0, 1) * in_lung
    target = np.full(hu.shape, draw.hu)
    if hazy:
        grain = ndimage.gaussian_filter(rng.standard_normal(hu.shape), 1.0)
        target += 35.0 * grain / max(float(grain.std()), 1e-6)
    np.maximum(hu, hu + cover * (target - hu), out=hu, casting="same_kind")


def _paint_core(
    hu: Float32, draw: NoduleDraw, offset: FloatArray, cover: FloatArray, edge_mm: float, rng: np.random.Generator
) -> None:
    radius = draw.diameter_mm / 2 * rng.uniform(0.35, 0.6)
    core = draw_shape(rng, radius, 0.0)
    aside = rng.standard_normal(3)
    aside *= 0.2 * draw.diameter_mm / 2 / np.linalg.norm(aside)
    cover = cover * np.clip(core.depth_mm(offset - aside) / edge_mm + 0.5, 0, 1)
    np.maximum(hu, hu + cover * (draw.core_hu - hu), out=hu, casting="same_kind")
