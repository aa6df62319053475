"""Whether a scan shows the lungs, both of them, and whole from base to apex."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from lungct.audit.finding import Finding
from lungct.ct.lung import COARSE_STEP_ZYX
from lungct.types import BoolArray, Volume

TISSUE_HU = -300
NO_LUNG_L = 0.3
LITTLE_LUNG_L = 1.0
"""Adult lungs hold 2 to 8 litres at the inspiration of a scan, and 1 to 2 at full expiration."""
LEAST_SIDE = 0.1
"""Of the larger lung's volume in the smaller."""
LARGEST_END = 0.4
"""Of the widest slice's lung area in the first or the last: apex and base taper off within two centimetres."""


def measure(volume: Volume, mask: BoolArray) -> dict[str, float]:
    """Volume in litres, smaller over larger side, and lung area at both ends over that of the widest slice.

    Left and right are told apart at the column that has half of the body's tissue on either side.

    Args:
        mask: what :func:`lungct.ct.lung.coarse_lungs` makes of the scan.
    """
    voxel_l = float(np.prod(np.multiply(volume.grid.spacing_mm_zyx, COARSE_STEP_ZYX))) * 1e-6
    columns, area = mask.sum(axis=(0, 1)), mask.sum(axis=(1, 2))
    if not area.any():
        return {"lung_l": 0.0, "lung_sides": 0.0, "lung_at_bottom": 0.0, "lung_at_top": 0.0}
    tissue = (volume.hu[tuple(slice(None, None, step) for step in COARSE_STEP_ZYX)] > TISSUE_HU).sum(axis=(0, 1))
    middle = int(np.searchsorted(np.cumsum(tissue), tissue.sum() / 2)) + 1
    sides = sorted((float(columns[:middle].sum()), float(columns[middle:].sum())))
    return {
        "lung_l": float(area.sum()) * voxel_l,
        "lung_sides": sides[0] / sides[1],
        "lung_at_bottom": float(area[0] / area.max()),
        "lung_at_top": float(area[-1] / area.max()),
    }


def judge(name: str, facts: Mapping[str, float]) -> Iterator[Finding]:
    """Findings of one scan."""
    litres = facts["lung_l"]
    if litres < NO_LUNG_L:
        yield Finding("no-lung", name, "lung, litres", litres, NO_LUNG_L)
        return
    if litres < LITTLE_LUNG_L:
        yield Finding("little-lung", name, "lung, litres", litres, LITTLE_LUNG_L)
    if facts["lung_sides"] < LEAST_SIDE:
        yield Finding("little-lung", name, "smaller over larger lung", facts["lung_sides"], LEAST_SIDE)
    for end in ("bottom", "top"):
        share = facts[f"lung_at_{end}"]
        if share > LARGEST_END:
            yield Finding("cut-lung", name, f"lung area at the {end} over the widest", share, LARGEST_END)
