"""Maps that explain nothing, and that every explanation must beat: uniform noise, a constant, edges, a Gaussian.

None looks at the network. The Gaussian sits on the predicted box, so it wins every score that asks only *where* a map
is bright: a reminder that localisation alone proves nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lungct import registry
from lungct.types import FloatArray

if TYPE_CHECKING:
    from lungct.explain.base import Explanation, Method, MethodOptions, Subject


def control_map(
    name: str, image_hu: NDArray[np.int16], box_xyxy_px: FloatArray, *, image_id: int | str, seed: int
) -> FloatArray:
    """(Y, X) float32 in 0..1 of one control for one detection.

    Args:
        name: one of ``registry.CONTROLS``.
        image_hu: (Y, X) the slice, read by ``edges`` only.
        box_xyxy_px: (4,) predicted box, read by ``gaussian`` and, as part of the seed, by ``uniform``.
        image_id: with ``seed`` and the box what the random map follows from.
        seed: of the random map.
    """
    if name == "uniform":
        return uniform(image_hu.shape, (seed, zlib.crc32(f"{image_id} {np.round(box_xyxy_px, 2).tolist()}".encode())))
    if name == "constant":
        return np.full(image_hu.shape, 0.5, dtype=np.float32)
    if name == "edges":
        return edges(image_hu)
    return gaussian(image_hu.shape, box_xyxy_px)


def uniform(shape_yx: tuple[int, ...], seed: tuple[int, int]) -> FloatArray:
    """Independent uniform noise."""
    noise: FloatArray = np.random.default_rng(seed).random(shape_yx, dtype=np.float32)
    return noise


def edges(image_hu: NDArray[np.int16]) -> FloatArray:
    """Gradient magnitude of the slice, clipped to the HU range that is stored anyway, scaled to 0..1."""
    low, high = registry.HU_CLIP
    rows, columns = np.gradient(np.clip(image_hu.astype(np.float32), low, high))
    steepness = np.hypot(rows, columns)
    largest = float(steepness.max())
    scaled: FloatArray = steepness / largest if largest else steepness
    return scaled


def gaussian(shape_yx: tuple[int, ...], box_xyxy_px: FloatArray) -> FloatArray:
    """exp(-((x - cx) / w)^2 x 2 - ((y - cy) / h)^2 x 2): along each axis the box's half extent is one sigma."""
    x1, y1, x2, y2 = (float(value) for value in box_xyxy_px)
    along = []
    for size, low, high in ((shape_yx[0], y1, y2), (shape_yx[1], x1, x2)):
        sigma = max(high - low, 1.0) / 2
        along.append(np.exp(-0.5 * ((np.arange(size) + 0.5 - (low + high) / 2) / sigma) ** 2))
    bump: FloatArray = np.outer(*along).astype(np.float32)
    return bump


def _explain(name: str, subject: Subject, options: MethodOptions) -> Explanation:
    from lungct.explain.base import Explanation

    middle = subject.image_hu[len(subject.image_hu) // 2]
    boxes, image_id = subject.detections.boxes_xyxy_px, subject.detections.image_id
    raw = [control_map(name, middle, box, image_id=image_id, seed=options.seed) for box in boxes]
    return Explanation(raw, ["none"] * len(raw), on_slice=True, may_be_constant=name == "constant")


METHODS: Mapping[str, Method] = {name: partial(_explain, name) for name in registry.CONTROLS}
