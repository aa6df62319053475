"""A drawn chest of known lungs: body, table, trachea, bowel gas, spine; x grows to the patient's left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lungct.types import Grid, Volume

SIZE_MM_ZYX = (180.0, 240.0, 330.0)


@dataclass(frozen=True)
class Chest:
    """``lungs`` has 1 right and 2 left; the others are masks on the same grid."""

    volume: Volume
    lungs: np.ndarray
    trachea: np.ndarray
    gas: np.ndarray
    table: np.ndarray
    nodule: np.ndarray


def draw_chest(
    spacing_mm_zyx: tuple[float, float, float] = (2.8, 2.8, 2.8),
    *,
    joined: bool = False,
    sides: tuple[int, ...] = (1, 2),
    noise_hu: float = 30.0,
    table: str = "hollow",
) -> Chest:
    """Half ellipsoids of -850 HU in a body of 40 HU, joined by airways; a nodule of 16 mm sits on the right one's wall.

    The table has a rail on either side of the body; it is ``hollow``, ``solid`` or there is ``none``.

    ``joined`` lets a strip of lung run in front of the heart from one to the other.
    """
    shape = tuple(round(size / step) for size, step in zip(SIZE_MM_ZYX, spacing_mm_zyx, strict=True))
    z, y, x = (
        (np.arange(n) + 0.5) * step - size / 2
        for n, step, size in zip(shape, spacing_mm_zyx, (0.0, *SIZE_MM_ZYX[1:]), strict=True)
    )
    z, y, x = z[:, None, None], y[None, :, None] + 15, x[None, None, :]
    body = (x / 150) ** 2 + (y / 95) ** 2 <= 1
    body = np.broadcast_to(body, shape)
    lungs = np.zeros(shape, np.uint8)
    for side, middle in ((1, -65.0), (2, 65.0)):
        inside = ((x - middle) / 50) ** 2 + (y / 70) ** 2 + ((z - 30) / 135) ** 2 <= 1
        if side in sides:
            lungs[inside & (z > 30)] = side
    if joined:
        strip = (np.abs(x) < 40) & (np.abs(y + 30) < 4) & (np.abs(z - 90) < 30)
        lungs[np.broadcast_to(strip, shape) & (lungs == 0)] = 3
    trachea = np.broadcast_to((x**2 + (y - 10) ** 2 <= 9**2) & (z > 70), shape)
    bronchi = np.broadcast_to(((z - 73) ** 2 + (y - 10) ** 2 <= 6**2) & (np.abs(x) < 25), shape) & (lungs == 0)
    gas = np.broadcast_to((x - 40) ** 2 + (y + 30) ** 2 + (z - 2) ** 2 <= 22**2, shape) & (lungs == 0)
    shell = (np.abs(y - 112) < 12) & (np.abs(x) < 145)
    rail = (np.abs(np.abs(x) - 130) < 12) & (np.abs(y - 75) < 15)
    hollow = (np.abs(y - 112) < 8) & (np.abs(x) < 140) | (np.abs(np.abs(x) - 130) < 8) & (np.abs(y - 75) < 11)
    hollow = np.broadcast_to(hollow, shape)
    nodule = (x + 109) ** 2 + y**2 + (z - 80) ** 2 <= 8**2
    nodule = np.broadcast_to(nodule, shape) & (lungs == 1)
    hu = np.full(shape, -1000.0)
    hu[body] = 40
    hu[np.broadcast_to((shell | rail) & (table != "none"), shape)] = 60
    hu[hollow & (table == "hollow")] = -930
    hu[np.broadcast_to(x**2 + (y - 75) ** 2 <= 14**2, shape)] = 400
    hu[lungs > 0] = -850
    hu[trachea | gas | bronchi] = -990
    hu[nodule] = 30
    hu += np.random.default_rng(5).normal(0, noise_hu, shape)
    lungs[trachea] = 0
    grid = Grid((shape[0], shape[1], shape[2]), spacing_mm_zyx, (-120.0, 35.0, -400.0))
    return Chest(Volume(np.rint(hu).astype(np.int16), grid), lungs, trachea, gas, hollow, nodule)
