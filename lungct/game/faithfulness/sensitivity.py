"""Max-sensitivity: how much a map changes where the slice only gets the noise that the scanner gave it already.

    max over draws of |H(x + e) - H(x)| / |H(x)|,  e white noise of the slice's own level; 0 at best

Maps are min-max scaled and compared on the slice, so a change of scale alone does not count. The level is estimated
where the slice is neither clipped nor structured: 1.4826 median |r| of the residual r that the sum of a 3 x 3 second
difference leaves of white noise, over 6 (Immerkaer's operator), and at least 1 HU.

Source: Yeh 2019, On the (in)fidelity and sensitivity of explanations, definition 3; Immerkaer 1996, Fast noise variance
estimation, with the median in place of the mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.signal import convolve2d

from lungct import registry
from lungct.game.faithfulness.again import can_be_made, made_again
from lungct.game.faithfulness.base import Case

LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])


def sensitivity(case: Case) -> Mapping[str, float]:
    """The largest relative change over the draws."""
    if not can_be_made(case):
        return {"max-sensitivity": float("nan")}
    start = case.heatmap.astype(np.float32)
    size = float(np.linalg.norm(start))
    image_hu, changes = case.subject.image_hu, [0.0]
    level = noise_hu(image_hu[len(image_hu) // 2])
    for draw in range(case.settings.draws):
        noise = np.random.default_rng((case.settings.seed, draw)).normal(0, level, image_hu.shape)
        noisy = np.clip(np.round(image_hu + noise), *registry.HU_CLIP).astype(np.int16)
        again = made_again(case, case.network, noisy, ("noise", draw))
        changes.append(float(np.linalg.norm(again - start)) / max(size, 1e-12))
    return {"max-sensitivity": max(changes)}


def noise_hu(plane_hu: NDArray[np.int16]) -> float:
    """Standard deviation, HU, of the white noise of a (Y, X) slice."""
    residual = convolve2d(plane_hu.astype(np.float64), LAPLACIANS, mode="valid")
    low, high = registry.HU_CLIP
    inside = (plane_hu[1:-1, 1:-1] > low) & (plane_hu[1:-1, 1:-1] < high)
    if not inside.any():
        return 1.0
    return max(1.0, 1.4826 * float(np.median(np.abs(residual[inside]))) / 6)


MEASURE = sensitivity
