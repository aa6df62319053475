"""Whether blood is bright with contrast agent: HU of the heart and the great vessels between the lungs.

Plain blood has 30 to 60 HU, enhanced blood 120 and more. In each slice the window between the lungs from the sternum's
back to the vertebra's front is smoothed over 7 mm, against noise; of what is soft tissue there the upper quartile
counts, so that fat and muscle do not. Of 763 LUNA16 slices 400 lie from 20 to 60 HU, 60 from 60 to 120, the others
above.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungct.audit.finding import Finding
from lungct.ct.lung import COARSE_STEP_ZYX
from lungct.types import BoolArray, Volume

LIMIT_HU = 90.0
SLICES = 24
FEWEST_SLICES = 3
SMOOTH_MM = 7.0
TISSUE_HU = -30.0
CLIP_HU = (-200, 400)
LEAST_LUNG_MM2 = 3000.0
LEAST_TISSUE_MM2 = 300.0
WINDOW_X, WINDOW_Y = (0.30, 0.70), (0.15, 0.65)
"""Of the lungs' extent from right to left and from front to back."""


def measure(volume: Volume, mask: BoolArray) -> dict[str, float]:
    """Median over slices of the HU of blood; nothing where fewer than three slices show enough of it.

    Args:
        mask: what :func:`lungct.ct.lung.coarse_lungs` makes of the scan.
    """
    _, y_mm, x_mm = volume.grid.spacing_mm_zyx
    found = []
    for z in np.unique(np.linspace(0, len(volume.hu) - 1, min(SLICES, len(volume.hu))).astype(int)):
        value = _blood_hu(volume.hu[z], mask[z // COARSE_STEP_ZYX[0]], (y_mm, x_mm))
        if value is not None:
            found.append(value)
    return {"blood_hu": float(np.median(found))} if len(found) >= FEWEST_SLICES else {}


def _blood_hu(plane: NDArray[Any], lungs: BoolArray, spacing_mm_yx: tuple[float, float]) -> float | None:
    pixel_mm2 = spacing_mm_yx[0] * spacing_mm_yx[1]
    _, step_y, step_x = COARSE_STEP_ZYX
    rows, columns = np.nonzero(lungs)
    if len(rows) * pixel_mm2 * step_y * step_x < LEAST_LUNG_MM2:
        return None
    window = (_part(rows, WINDOW_Y, step_y), _part(columns, WINDOW_X, step_x))
    part = np.clip(plane[window].astype(np.float32), *CLIP_HU)
    smooth = ndimage.uniform_filter(part, [max(1, round(SMOOTH_MM / one)) for one in spacing_mm_yx])
    tissue = smooth[smooth > TISSUE_HU]
    return float(np.quantile(tissue, 0.75)) if len(tissue) * pixel_mm2 >= LEAST_TISSUE_MM2 else None


def _part(places: NDArray[Any], shares: tuple[float, float], step: int) -> slice:
    low, high = np.quantile(places, (0.02, 0.98))
    return slice(*(int((low + share * (high - low)) * step) for share in shares))


def judge(name: str, facts: Mapping[str, float]) -> Iterator[Finding]:
    """A note where blood is bright."""
    if facts.get("blood_hu", 0.0) > LIMIT_HU:
        yield Finding("contrast", name, "blood between the lungs, HU", facts["blood_hu"], LIMIT_HU)
