"""Ribs, spine, sternum, shoulder blades and collar bones as one signed-distance field on a lattice."""

from __future__ import annotations

import numpy as np

from lungct.phantom.lattice import Float32
from lungct.phantom.sampling import Body

VERTEBRA_MM = 23.0


def spine_y(body: Body, z: Float32) -> Float32:
    """Front-to-back place of the centre of the vertebral bodies: a gentle kyphosis."""
    return np.asarray(0.50 * body.half_depth - 0.0012 * np.square(z + 10.0), dtype=np.float32)


def bones(body: Body, cage: Float32, x: Float32, y: Float32, z: Float32) -> Float32:
    """Signed distance to the nearest bone surface, mm, positive inside; (Z, Y, X) float32.

    Args:
        cage: signed distance to the inside of the rib cage.
        x, y, z: points in the patient frame, mm.
    """
    back = spine_y(body, z)
    every = [_ribs(body, cage, x, y, z), *_spine(x, y - back, z), *_shoulders(body, x, y, z)]
    front = -body.half_depth + 0.62 * body.wall + 0.06 * z
    every.append(np.minimum.reduce([17.0 - np.abs(x), 5.5 - np.abs(y - front), 75.0 - z, z + 75.0]))
    return np.asarray(np.maximum.reduce(every), dtype=np.float32)


def _ribs(body: Body, cage: Float32, x: Float32, y: Float32, z: Float32) -> Float32:
    """Shells outside the cage, cut into bands that run down from back to front."""
    fall = z - 0.42 * y
    band = fall / body.rib_pitch + body.rib_phase + 0.05 * (x > 0)
    height = 5.8 - np.abs(band - np.round(band)) * body.rib_pitch
    rib = np.minimum(3.7 - np.abs(cage + 6.0), height * 0.92)
    front = np.where((y < -0.35 * body.half_depth) & (np.abs(x) < 62.0), -3.0, 0.0)
    return np.asarray(rib + front, dtype=np.float32)


def _spine(x: Float32, y: Float32, z: Float32) -> list[Float32]:
    level = z / VERTEBRA_MM
    from_disc = (0.5 - np.abs(level - np.round(level))) * VERTEBRA_MM
    bodies = np.minimum(1.0 - np.sqrt(np.square(x / 17.0) + np.square(y / 13.5)), 0.2) * 14.0
    bodies = np.minimum(bodies, from_disc - 2.2)
    canal = np.hypot(x / 1.15, y - 21.0)
    arch = np.minimum(np.minimum(13.5 - canal, canal - 8.0), from_disc - 1.5)
    process = np.minimum.reduce([3.6 - np.abs(x), y - 30.0, 54.0 - y - 0.5 * from_disc, from_disc - 3.0])
    across = np.minimum.reduce(
        [5.0 - np.abs(y - 20.0 - 0.22 * np.abs(x)), 33.0 - np.abs(x), from_disc - 5.5, canal - 8.0]
    )
    return [bodies, arch, process, across]


def _shoulders(body: Body, x: Float32, y: Float32, z: Float32) -> list[Float32]:
    aside = np.abs(x) - 0.60 * body.half_width
    rear = y - 0.62 * body.half_depth
    along, across = 0.80 * aside - 0.60 * rear, 0.60 * aside + 0.80 * rear
    blade = np.minimum.reduce([3.2 - np.abs(across - 0.004 * along * along), 40.0 - np.abs(along), z - 5.0, 108.0 - z])
    height = z - 88.0 - 0.10 * np.abs(x)
    collar = np.minimum(
        6.0 - np.hypot(height, y + 40.0 - 0.18 * np.abs(x)), np.minimum(np.abs(x) - 18.0, 120.0 - np.abs(x))
    )
    return [blade, collar]
