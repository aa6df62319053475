"""The smooth geometry of a chest on a coarse lattice: signed distances of body, lungs and bones, and soft-tissue HU.

The patient frame: mm, x to the left, y to the back, z to the head, origin between the hila. Distances are positive
inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lungct.phantom.lattice import Float32, Lattice
from lungct.phantom.sampling import Body
from lungct.phantom.skeleton import bones, spine_y
from lungct.types import FloatArray

MUSCLE_HU, FAT_HU, BLOOD_HU, LIVER_HU, SPLEEN_HU, GAS_HU = 50.0, -100.0, 42.0, 60.0, 50.0, -900.0


@dataclass(frozen=True, eq=False)
class Chest:
    """Lattice fields, each (Z, Y, X) float32.

    Attributes:
        body, lung, bone: signed distance to the surface, mm, positive inside.
        soft_hu: HU of what is neither lung nor bone.
        lung_hu: HU of the parenchyma.
    """

    body: Float32
    lung: Float32
    bone: Float32
    soft_hu: Float32
    lung_hu: Float32


def build_chest(body: Body, lattice: Lattice, offset_lps_mm: np.ndarray, rng: np.random.Generator) -> Chest:
    """Evaluate the anatomy at every lattice point."""
    x, y, z = lattice.points_lps_mm(offset_lps_mm)
    cage = _cage(body, lattice, x, y, z)
    skin = _skin(body, lattice, x, y, z)
    organs = _organs(body, x, y, z)
    dome = _diaphragm(body, x, y, z)
    mediastinum = np.maximum.reduce([organs["heart"] + 3.0, *_mediastinum(body, x, y, z)])
    lung = _soft_min(_soft_min(cage, -dome, 5.0), -mediastinum, 6.0)
    soft = _soft_tissue(body, lattice, rng, {"skin": skin, "cage": cage, "dome": dome, **organs}, (x, y, z))
    table = 11.0 - np.abs(y - (body.half_depth + 15.0 - 0.0006 * x * x))
    table = np.minimum(table, 1.6 * (205.0 - np.abs(x)))
    table = 1.6 - np.abs(table - 1.6)
    bone = bones(body, cage, x, y, z)
    return Chest(np.maximum(skin, table), lung, bone, soft, _parenchyma(body, lattice, rng, y, z))


def _ellipsoid(x: FloatArray, y: FloatArray, z: FloatArray, radii: tuple[float, float, float]) -> Float32:
    """About the signed distance to an ellipsoid: k (1 - k) / |gradient of k|."""
    a, b, c = radii
    k = np.sqrt(np.square(x / a) + np.square(y / b) + np.square(z / c))
    slope = np.sqrt(np.square(x / a**2) + np.square(y / b**2) + np.square(z / c**2))
    return np.asarray(k * (1.0 - k) / np.maximum(slope, 1e-4), dtype=np.float32)


def _soft_min(a: Float32, b: Float32, width_mm: float) -> Float32:
    blend = np.clip(0.5 + 0.5 * (b - a) / width_mm, 0.0, 1.0)
    return np.asarray(b + (a - b) * blend - width_mm * blend * (1.0 - blend), dtype=np.float32)


def _cage(body: Body, lattice: Lattice, x: Float32, y: Float32, z: Float32) -> Float32:
    width, depth = body.half_width - body.wall, body.half_depth - 0.85 * body.wall
    up = np.maximum(z + 50.0, 0.0) / (body.apex_z + 50.0)
    ahead = y - 6.0 - 0.10 * np.maximum(z, 0.0)
    in_plane = np.abs(x / width) ** 2.3 + np.abs(ahead / depth) ** 2.3
    return lattice.distance_like((1.0 - (in_plane + up**2.5) ** (1 / 2.4)).astype(np.float32))


def _skin(body: Body, lattice: Lattice, x: Float32, y: Float32, z: Float32) -> Float32:
    width = body.half_width * (1.0 - 0.10 * np.clip((z - 60.0) / 80.0, 0.0, 1.5))
    back = np.where(y > 0, 1.0, 1.0 + 0.03 * np.cos(x / 45.0))
    level = np.abs(x / width) ** 2.5 + np.abs(y / (body.half_depth * back)) ** 2.5
    return lattice.distance_like((1.0 - level ** (1 / 2.5)).astype(np.float32))


def _diaphragm(body: Body, x: Float32, y: Float32, z: Float32) -> Float32:
    top = np.where(x < 0, body.right_dome_z, body.left_dome_z)
    aside = np.abs(x) - 62.0
    drop = np.square(aside) / 105.0 + np.square(y + 18.0) / 115.0
    slope = np.sqrt(1.0 + np.square(2 * aside / 105.0) + np.square(2 * (y + 18.0) / 115.0))
    return np.asarray((top - drop - z) / slope, dtype=np.float32)


def _organs(body: Body, x: Float32, y: Float32, z: Float32) -> dict[str, Float32]:
    back = spine_y(body, z)
    lean = x - 18.0 + 0.25 * (z + 45.0)
    heart = _ellipsoid(lean, y + 0.30 * body.half_depth, z + 48.0, (58 * body.heart, 44 * body.heart, 60 * body.heart))
    descending = _aorta(12.5, x, y - back, z)
    along = np.clip((y + 20.0) / 55.0, 0.0, 1.0)
    arch = 13.0 - np.sqrt(np.square(x - 2.0 - 17.0 * along) + np.square(np.hypot(y - 9.0, z - 18.0) - 29.0))
    arch = np.where(z > 14.0, arch, -20.0)
    ascending = np.minimum(15.5 - np.hypot(x + 8.0, y + 22.0), np.minimum(22.0 - z, z + 40.0))
    trunk = _ellipsoid(x - 16.0, y + 20.0, z + 4.0, (15.0, 17.0, 16.0))
    cava = np.minimum(9.5 - np.hypot(x + 26.0, y + 12.0), z + 45.0)
    neck = np.minimum(7.0 - np.hypot(np.abs(x + 2.0) - 20.0, y + 8.0 - 0.1 * z), z - 48.0)
    oesophagus = 7.0 - np.hypot(x - 6.0, y - back + 24.0)
    vessels = np.maximum.reduce([descending, arch, ascending, trunk, cava, neck, oesophagus])
    return {"heart": heart, "vessels": vessels.astype(np.float32)}


def _mediastinum(body: Body, x: Float32, y: Float32, z: Float32) -> list[Float32]:
    back = spine_y(body, z)
    hilum = np.exp(-np.square((z + 6.0) / 30.0))
    plate = 9.0 + 9.0 * hilum + 10.0 * np.clip(np.abs(y + 50.0) / 60.0 - 0.4, 0.0, 1.0) - np.abs(x - 2.0)
    great = _ellipsoid(x - 1.0, y + 4.0, z - 15.0, (38.0, 44.0, 62.0))
    upper = np.minimum(33.0 - np.hypot(x, (y + 2.0) * 0.9), z - 12.0)
    hila = _ellipsoid(np.abs(x) - 30.0, y - 6.0, z + 8.0, (17.0, 20.0, 24.0))
    column = 27.0 - np.hypot(x * 1.0, y - back - 4.0)
    behind = np.minimum(24.0 - np.abs(x), y - back)
    every = (plate, great, upper, hila, column, behind, _aorta(15.0, x, y - back, z))
    return [np.asarray(one, dtype=np.float32) for one in every]


def _aorta(radius: float, x: Float32, y: Float32, z: Float32) -> Float32:
    beyond = np.maximum(z - 30.0, 0.0)
    return np.asarray(radius - np.sqrt(np.square(x - 21.0) + np.square(y + 12.0) + np.square(beyond)), dtype=np.float32)


def _soft_tissue(
    body: Body,
    lattice: Lattice,
    rng: np.random.Generator,
    depth: dict[str, Float32],
    points: tuple[Float32, Float32, Float32],
) -> Float32:
    x, y, z = points
    streaks = _smooth_noise(rng, lattice, 9.0)
    hu = np.full_like(x, MUSCLE_HU)
    wall = -depth["cage"]
    hu[np.abs(wall - 17.0 - 3.0 * streaks) < 2.2] = FAT_HU + 30.0
    hu[(depth["skin"] < body.fat + 3.0 * streaks) & (wall > 6.0)] = FAT_HU
    within = (depth["cage"] > 0.0) & (depth["dome"] < 0.0)
    hu[within] = FAT_HU + 18.0
    hu[within & (streaks > 1.1)] = 10.0
    hu[within & (np.hypot(x, y - spine_y(body, z) - 2.0) < 25.0)] = MUSCLE_HU - 5.0
    for name in ("heart", "vessels"):
        hu[within & (depth[name] > 0.0)] = BLOOD_HU
    below = (depth["dome"] >= 0.0) & (depth["cage"] > 0.0)
    hu[below] = FAT_HU
    hu[below & (x < 25.0 - 0.25 * (y + 60.0)) & (depth["dome"] > 1.5)] = LIVER_HU
    hu[below & (_ellipsoid(x - 88.0, y - 34.0, z - body.left_dome_z + 44.0, (40.0, 50.0, 46.0)) > 0.0)] = SPLEEN_HU
    stomach = _ellipsoid(x - 60.0, y + 22.0, z - body.left_dome_z + 44.0, (42.0, 44.0, 42.0))
    hu[below & (stomach > 0.0)] = 30.0
    hu[below & (stomach > 5.0) & (y < -25.0)] = GAS_HU
    hu[below & (np.hypot(x - 21.0, y - spine_y(body, z) + 12.0) < 12.5)] = BLOOD_HU
    return np.asarray(ndimage.gaussian_filter(hu, 0.5) + 6.0 * streaks, dtype=np.float32)


def _parenchyma(body: Body, lattice: Lattice, rng: np.random.Generator, y: Float32, z: Float32) -> Float32:
    """Denser at the back, as the patient lies on it; patchy; with holes at the top in emphysema."""
    hu = body.lung_hu + 0.28 * y + 14.0 * _smooth_noise(rng, lattice, 6.0) + 10.0 * _smooth_noise(rng, lattice, 22.0)
    holes = np.clip(_smooth_noise(rng, lattice, 5.0) - 0.9, 0.0, 1.0) * np.clip((z + 30.0) / 80.0, 0.1, 1.0)
    return np.asarray(np.maximum(hu - 110.0 * body.emphysema * holes, -985.0), dtype=np.float32)


def _smooth_noise(rng: np.random.Generator, lattice: Lattice, width_mm: float) -> Float32:
    """Gaussian random field of zero mean and unit variance, correlated over ``width_mm``."""
    white = rng.standard_normal(lattice.shape_zyx, dtype=np.float32)
    smooth = ndimage.gaussian_filter(white, [0.5 * width_mm / mm for mm in lattice.spacing_mm_zyx], mode="wrap")
    return np.asarray((smooth - smooth.mean()) / max(float(smooth.std()), 1e-6), dtype=np.float32)
